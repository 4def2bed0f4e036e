// The official `openai` package by its Responses API: whole answers, events, its helper for streams, tools.

import assert from "node:assert/strict";

import OpenAI from "openai";

import * as common from "./_common.mjs";

const { model } = common;
const { name, description, schema: parameters, result } = common.WEATHER;
const tools = [{ type: "function", name, description, parameters, strict: false }];

// Nothing is tried again here, so that what fails is seen and what survives was saved by the gateway.
const connect = (apiKey = common.key) => new OpenAI({ baseURL: `${common.root}/v1`, apiKey, maxRetries: 0 });
const client = connect();

const question = { role: "user", content: common.QUESTION };
const plain = { model, input: common.QUESTION, instructions: "Be short.", max_output_tokens: common.MAX_TOKENS };
const streamed = { ...plain, stream: true };
const piecesOf = (events) => events.flatMap((e) => (e.type === "response.output_text.delta" ? [e.delta] : []));

function assertAnswer(answer, pieces = undefined) {
  assert.equal(answer.object, "response");
  common.assertText(answer.output_text, pieces);
  // What a model did not finish for want of tokens is incomplete.
  common.assertFinish(answer.status, "completed", ["incomplete"]);
  common.assertUsage(answer.usage.input_tokens, answer.usage.output_tokens);
}

async function list() {
  const { items } = await common.collect(client.models.list());
  assert.ok(items.some((item) => item.id === model));
}

async function chat() {
  const answer = await client.responses.create(plain);
  assertAnswer(answer);
  common.assertRequestId(answer._request_id);
}

async function rawStream() {
  const { items: events, error } = await common.collect(await client.responses.create(streamed));
  assert.equal(error, undefined);
  const numbers = events.map((event) => event.sequence_number);
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => index),
  );
  assert.equal(events[0].type, "response.created");
  const { type, response } = events.at(-1);
  common.assertFinish(type, "response.completed", ["response.incomplete"]);
  const pieces = piecesOf(events);
  assertAnswer({ ...response, output_text: pieces.join("") }, pieces);
}

async function stream() {
  await rawStream();
  const pieces = [];
  const helper = client.responses.stream(plain).on("response.output_text.delta", (event) => pieces.push(event.delta));
  assertAnswer(await helper.finalResponse(), pieces);
}

async function useTools() {
  const asked = { ...plain, tools, store: false, input: [question] };
  for (const first of [await client.responses.create(asked), await client.responses.stream(asked).finalResponse()]) {
    const calls = first.output.filter((item) => item.type === "function_call");
    const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: result }));
    const second = await client.responses.create({ ...asked, input: [question, ...first.output, ...results] });
    const cities = calls.map((call) => JSON.parse(call.arguments).city);
    common.assertWeather(second.output_text, cities);
  }
}

async function structured() {
  const format = { type: "json_schema", name: "person", schema: common.PERSON_SCHEMA, strict: true };
  const asked = { ...plain, max_output_tokens: common.MAX_OBJECT_TOKENS, text: { format } };
  const answer = await client.responses.parse(asked);
  common.assertPerson(JSON.parse(answer.output_text));
}

async function image() {
  const image_url = `data:image/png;base64,${common.PNG}`;
  const content = [
    { type: "input_text", text: "What do you see?" },
    { type: "input_image", image_url, detail: "auto" },
  ];
  common.assertSeen((await client.responses.create({ ...plain, input: [{ role: "user", content }] })).output_text);
}

async function embeddings() {
  throw new common.NotApplicable("The Responses API has no embeddings.");
}

async function failsAs(kind, status, code, promise) {
  const error = await common.failureOf(promise);
  assert.ok(error instanceof kind, String(error));
  assert.deepEqual([error.status, error.code], [status, code]);
  common.assertRequestId(error.requestID);
}

async function error() {
  for (const asked of [plain, streamed]) {
    const refused = connect(common.WRONG_KEY).responses.create(asked);
    await failsAs(OpenAI.AuthenticationError, 401, "invalid_api_key", refused);
    const unknown = client.responses.create({ ...asked, model: common.UNKNOWN_MODEL });
    await failsAs(OpenAI.NotFoundError, 404, "model_not_found", unknown);
  }
}

async function abort() {
  for await (const event of await client.responses.create(streamed)) if (piecesOf([event]).length > 0) break;

  const helper = client.responses.stream(plain);
  helper.on("response.output_text.delta", () => helper.abort());
  const stopped = await common.failureOf(helper.finalResponse());
  assert.ok(stopped instanceof OpenAI.APIUserAbortError);
}

async function failover() {
  await rawStream();
  assertAnswer(await client.responses.create(plain));
}

// The response that failed comes first, for whoever reads events; then what the package raises.
async function cut() {
  const { items: events, error: broken } = await common.collect(await client.responses.create(streamed));
  common.assertCutText(piecesOf(events).join(""));
  const { type, response } = events.at(-1);
  assert.deepEqual([type, response.status, response.error.code], ["response.failed", "failed", "server_error"]);
  assert.ok(broken instanceof OpenAI.APIError, String(broken));
  assert.equal(broken.code, "stream_interrupted");
  common.assertRequestId(broken.requestID);
  const failed = await common.failureOf(client.responses.stream(plain).finalResponse());
  assert.ok(failed instanceof OpenAI.OpenAIError, String(failed));
}

const cases = { list, chat, stream, tools: useTools, structured, image, embeddings, error, abort, failover, cut };
await common.main("openai", cases);
