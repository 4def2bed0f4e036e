// The official `openai` package: chat completions, its helpers for streams and tools, models and embeddings.

import assert from "node:assert/strict";

import OpenAI from "openai";

import * as common from "./_common.mjs";

const { model } = common;
const messages = [{ role: "user", content: common.QUESTION }];
const { name, description, schema: parameters, result } = common.WEATHER;
const tools = [{ type: "function", function: { name, description, parameters } }];
const FINISHES = ["length"];

// Nothing is tried again here, so that what fails is seen and what survives was saved by the gateway.
const connect = (apiKey = common.key) => new OpenAI({ baseURL: `${common.root}/v1`, apiKey, maxRetries: 0 });
const client = connect();
const completions = client.chat.completions;

const plain = { model, messages, max_tokens: common.MAX_TOKENS };
const streamed = { ...plain, stream: true, stream_options: { include_usage: true } };
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

function assertAnswer(answer) {
  assert.equal(answer.object, "chat.completion");
  const [choice] = answer.choices;
  common.assertText(choice.message.content);
  common.assertFinish(choice.finish_reason, "stop", FINISHES);
  common.assertUsage(answer.usage.prompt_tokens, answer.usage.completion_tokens);
}

async function list() {
  const { items, error } = await common.collect(client.models.list());
  assert.equal(error, undefined);
  assert.ok(items.some((item) => item.id === model));
  const one = await client.models.retrieve(model);
  assert.deepEqual([one.id, one.object], [model, "model"]);
}

async function chat() {
  const { data, response, request_id } = await completions.create(plain).withResponse();
  assertAnswer(data);
  common.assertRequestId(request_id);
  assert.equal(response.headers.get("x-request-id"), request_id);
}

async function rawStream() {
  const { items: chunks, error } = await common.collect(await completions.create(streamed));
  assert.equal(error, undefined);
  const pieces = chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean);
  common.assertText(textOf(chunks), pieces);
  const reasons = chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean);
  assert.equal(reasons.length, 1);
  common.assertFinish(reasons[0], "stop", FINISHES);
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  common.assertUsage(last.usage.prompt_tokens, last.usage.completion_tokens);
}

async function stream() {
  await rawStream();
  const runner = completions.stream({ ...plain, stream_options: { include_usage: true } });
  const pieces = [];
  runner.on("content", (piece) => pieces.push(piece));
  const answer = await runner.finalChatCompletion();
  assertAnswer(answer);
  common.assertText(answer.choices[0].message.content, pieces);
}

async function toolsByHand() {
  const first = await completions.stream({ ...plain, tools }).finalChatCompletion();
  const { message, finish_reason } = first.choices[0];
  assert.equal(finish_reason, "tool_calls");
  const calls = message.tool_calls;
  const results = calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: result }));
  const second = await completions.create({ ...plain, tools, messages: [...messages, message, ...results] });
  const cities = calls.map((call) => JSON.parse(call.function.arguments).city);
  common.assertWeather(second.choices[0].message.content, cities);
}

// The package's own loop calls the function and sends the second turn itself.
async function toolsByRunner(extra) {
  const cities = [];
  const called = ({ city }) => {
    cities.push(city);
    return result;
  };
  const runnable = { name, description, parameters, parse: JSON.parse, function: called };
  const runner = completions.runTools({ ...plain, ...extra, tools: [{ type: "function", function: runnable }] });
  common.assertWeather(await runner.finalContent(), cities);
}

async function useTools() {
  await toolsByHand();
  await toolsByRunner({});
  await toolsByRunner({ stream: true });
}

async function structured() {
  const format = { type: "json_schema", json_schema: { name: "person", strict: true, schema: common.PERSON_SCHEMA } };
  const asked = { ...plain, max_tokens: common.MAX_OBJECT_TOKENS, response_format: format };
  const answer = await completions.parse(asked);
  common.assertPerson(JSON.parse(answer.choices[0].message.content));
  const final = await completions.stream(asked).finalChatCompletion();
  common.assertPerson(JSON.parse(final.choices[0].message.content));
}

async function image() {
  const url = `data:image/png;base64,${common.PNG}`;
  const content = [
    { type: "text", text: "What do you see?" },
    { type: "image_url", image_url: { url } },
  ];
  const answer = await completions.create({ ...plain, messages: [{ role: "user", content }] });
  common.assertSeen(answer.choices[0].message.content);
}

// Unless told otherwise the package asks for base64 and decodes whatever comes as such.
async function embeddings() {
  const asked = { model: common.embeddingsModel, input: common.INPUTS };
  const decoded = await client.embeddings.create(asked);
  const numbers = await client.embeddings.create({ ...asked, encoding_format: "float" });
  const written = await client.embeddings.create({ ...asked, encoding_format: "base64" });
  for (const answer of [decoded, numbers]) common.assertVectors(answer.data.map((item) => item.embedding));
  assert.ok(written.data.every((item) => typeof item.embedding === "string"));
  assert.ok(decoded.usage.total_tokens > 0);
  const differences = decoded.data.flatMap((item, i) => item.embedding.map((n, j) => n - numbers.data[i].embedding[j]));
  assert.ok(differences.every((difference) => Math.abs(difference) < 1e-6));
}

async function failsAs(kind, status, code, promise) {
  const error = await common.failureOf(promise);
  assert.ok(error instanceof kind, String(error));
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.ok(error.message.length > `${status} `.length);
  common.assertRequestId(error.requestID);
}

async function error() {
  const missing = { model: common.UNKNOWN_MODEL };
  for (const asked of [plain, streamed]) {
    const refused = connect(common.WRONG_KEY).chat.completions.create(asked);
    await failsAs(OpenAI.AuthenticationError, 401, "invalid_api_key", refused);
    const unknown = completions.create({ ...asked, ...missing });
    await failsAs(OpenAI.NotFoundError, 404, "model_not_found", unknown);
  }
  await failsAs(OpenAI.NotFoundError, 404, "model_not_found", client.models.retrieve(missing.model));
}

// Leaving the loop, the controller, a signal, the helper: users stop an answer in each of these ways.
async function abort() {
  for await (const chunk of await completions.create(streamed)) if (textOf([chunk])) break;

  const controlled = await completions.create(streamed);
  for await (const chunk of controlled) if (textOf([chunk])) controlled.controller.abort();

  const controller = new AbortController();
  const signalled = await completions.create(streamed, { signal: controller.signal });
  for await (const chunk of signalled) if (textOf([chunk])) controller.abort();

  const helper = completions.stream(plain);
  helper.on("chunk", () => helper.abort());
  const stopped = await common.failureOf(helper.finalChatCompletion());
  assert.ok(stopped instanceof OpenAI.APIUserAbortError);
}

async function failover() {
  await rawStream();
  await chat();
}

async function cut() {
  const { items: chunks, error: broken } = await common.collect(await completions.create(streamed));
  common.assertCutText(textOf(chunks));
  assert.ok(broken instanceof OpenAI.APIError, String(broken));
  assert.deepEqual([broken.type, broken.code], ["server_error", "stream_interrupted"]);
  common.assertRequestId(broken.requestID);
  const helper = completions.stream(plain);
  const failed = await common.failureOf(helper.finalChatCompletion());
  assert.ok(failed instanceof OpenAI.OpenAIError, String(failed));
}

const cases = { list, chat, stream, tools: useTools, structured, image, embeddings, error, abort, failover, cut };
await common.main("openai", cases);
