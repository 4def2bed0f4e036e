// The cases of Vercel's `ai` package, which are the same for each of its providers.

import assert from "node:assert/strict";

import {
  APICallError,
  NoSuchModelError,
  Output,
  embed,
  embedMany,
  generateObject,
  generateText,
  jsonSchema,
  stepCountIs,
  streamText,
  tool,
} from "ai";

import * as common from "./_common.mjs";

const FINISHES = ["length"];
const SCHEMA = jsonSchema(common.PERSON_SCHEMA);

/**
 * Runs the case of the command line with the models of one of the package's providers.
 *
 * `connect` makes that provider for a key. `unknownModel` and `wrongKey` are the codes of those errors in its dialect;
 * `providerOptions` go with every question.
 */
export async function run(packageName, connect, { unknownModel, wrongKey, providerOptions = {} }) {
  const provider = connect(common.key);
  // Nothing is tried again here, so that what fails is seen and what survives was saved by the gateway.
  const settings = { maxRetries: 0, maxOutputTokens: common.MAX_TOKENS };
  const plain = { ...settings, model: provider(common.model), prompt: common.QUESTION, providerOptions };
  // What fails is looked at below, and not to be written to the error output as the package does by default.
  const streamed = { ...plain, onError() {} };

  async function list() {
    throw new common.NotApplicable("It has no list of models.");
  }

  async function chat() {
    const answer = await generateText(plain);
    common.assertText(answer.text);
    common.assertFinish(answer.finishReason, "stop", FINISHES);
    common.assertUsage(answer.usage.inputTokens, answer.usage.outputTokens);
    common.assertRequestId(answer.response.headers["x-request-id"]);
  }

  async function stream() {
    const answer = streamText({ ...plain, system: "Be short." });
    const { items: pieces, error } = await common.collect(answer.textStream);
    assert.equal(error, undefined);
    common.assertText(await answer.text, pieces);
    common.assertFinish(await answer.finishReason, "stop", FINISHES);
    const usage = await answer.totalUsage;
    common.assertUsage(usage.inputTokens, usage.outputTokens);
  }

  function weather(cities) {
    const execute = ({ city }) => {
      cities.push(city);
      return common.WEATHER.result;
    };
    const { name, description, schema } = common.WEATHER;
    return { [name]: tool({ description, inputSchema: jsonSchema(schema), execute }) };
  }

  async function tools() {
    for (const ask of [generateText, streamText]) {
      const cities = [];
      const answer = await ask({ ...plain, tools: weather(cities), stopWhen: stepCountIs(3) });
      common.assertWeather(await answer.text, cities);
      const steps = await answer.steps;
      assert.deepEqual(
        steps.map((step) => step.finishReason),
        ["tool-calls", "stop"],
      );
    }
  }

  async function structured() {
    const asked = { ...plain, maxOutputTokens: common.MAX_OBJECT_TOKENS };
    const whole = await generateText({ ...asked, output: Output.object({ schema: SCHEMA }) });
    common.assertPerson(whole.output);
    common.assertPerson((await generateObject({ ...asked, schema: SCHEMA })).object);
    const answer = streamText({ ...asked, output: Output.object({ schema: SCHEMA }) });
    const { items: partial, error } = await common.collect(answer.partialOutputStream);
    assert.equal(error, undefined);
    common.assertPerson(partial.at(-1));
    common.assertPerson(await answer.output);
  }

  async function image() {
    const content = [
      { type: "text", text: "What do you see?" },
      { type: "image", image: common.PNG, mediaType: "image/png" },
    ];
    const answer = await generateText({ ...plain, prompt: [{ role: "user", content }] });
    common.assertSeen(answer.text);
  }

  function embeddingModel() {
    try {
      return provider.embeddingModel(common.embeddingsModel);
    } catch (error) {
      throw NoSuchModelError.isInstance(error) ? new common.NotApplicable("It has no embeddings.") : error;
    }
  }

  async function embeddings() {
    const asked = { model: embeddingModel(), maxRetries: 0 };
    const many = await embedMany({ ...asked, values: common.INPUTS });
    common.assertVectors(many.embeddings);
    assert.ok(many.usage.tokens > 0);
    const one = await embed({ ...asked, value: common.INPUTS[0] });
    assert.equal(one.embedding.length, many.embeddings[0].length);
  }

  function assertRefused(error, status, code) {
    assert.ok(APICallError.isInstance(error), String(error));
    assert.equal(error.statusCode, status);
    assert.ok([error.data.error.code, error.data.error.type].includes(code), error.responseBody);
    assert.equal(error.message, error.data.error.message);
    common.assertRequestId(error.responseHeaders["x-request-id"]);
  }

  async function error() {
    const unknown = { model: provider(common.UNKNOWN_MODEL) };
    const refused = { model: connect(common.WRONG_KEY)(common.model) };
    for (const [changes, status, code] of [
      [unknown, 404, unknownModel],
      [refused, 401, wrongKey],
    ]) {
      assertRefused(await common.failureOf(generateText({ ...plain, ...changes })), status, code);
      const { items: parts } = await common.collect(streamText({ ...streamed, ...changes }).fullStream);
      assertRefused(parts.find((part) => part.type === "error").error, status, code);
    }
  }

  async function abort() {
    const controller = new AbortController();
    const parts = [];
    for await (const part of streamText({ ...streamed, abortSignal: controller.signal }).fullStream) {
      parts.push(part.type);
      if (part.type === "text-delta") controller.abort();
    }
    assert.equal(parts.at(-1), "abort");
  }

  async function failover() {
    await stream();
    await chat();
  }

  async function cut() {
    const answer = streamText(streamed);
    const { items: parts } = await common.collect(answer.fullStream);
    const said = parts.filter((part) => part.type === "text-delta").map((part) => part.text);
    common.assertCutText(said.join(""));
    const broken = parts.filter((part) => part.type === "error");
    assert.equal(broken.length, 1);
    assert.equal(parts.find((part) => part.type === "finish")?.finishReason, "error", JSON.stringify(parts));
    assert.equal(await answer.finishReason, "error");
  }

  const cases = { list, chat, stream, tools, structured, image, embeddings, error, abort, failover, cut };
  await common.main(packageName, cases);
}
