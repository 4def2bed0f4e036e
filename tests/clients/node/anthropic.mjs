// The official `@anthropic-ai/sdk` package: messages, its helpers for streams, tools and structured answers, tokens.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { jsonSchemaOutputFormat } from "@anthropic-ai/sdk/helpers/json-schema";

import * as common from "./_common.mjs";

const { model } = common;
const messages = [{ role: "user", content: common.QUESTION }];
const { name, description, schema: input_schema, result } = common.WEATHER;
const tools = [{ name, description, input_schema }];
const FINISHES = ["max_tokens"];
const THINKING = { thinking: { type: "enabled", budget_tokens: 1024 }, max_tokens: 2048 };

// Nothing is tried again here, so that what fails is seen and what survives was saved by the gateway.
const connect = (apiKey = common.key) => new Anthropic({ baseURL: common.root, apiKey, maxRetries: 0 });
const client = connect();

const plain = { model, messages, max_tokens: common.MAX_TOKENS };
const streamed = { ...plain, stream: true };
const usesIn = (message) => message.content.filter((block) => block.type === "tool_use");
const textIn = (message) => message.content.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("");
const piecesOf = (events) => events.flatMap((event) => event.delta?.text ?? []);

function assertMessage(message, pieces = undefined) {
  assert.deepEqual([message.type, message.role], ["message", "assistant"]);
  common.assertText(textIn(message), pieces);
  common.assertFinish(message.stop_reason, "end_turn", FINISHES);
  common.assertUsage(message.usage.input_tokens, message.usage.output_tokens);
}

async function list() {
  const { items, error } = await common.collect(client.models.list());
  assert.equal(error, undefined);
  assert.ok(items.some((item) => item.id === model));
  const one = await client.models.retrieve(model);
  assert.deepEqual([one.id, one.type], [model, "model"]);
  assert.ok(one.display_name && Date.parse(one.created_at) > 0);
}

async function chat() {
  const { data, response } = await client.messages.create(plain).withResponse();
  assertMessage(data);
  common.assertRequestId(response.headers.get("x-request-id"));
  const counted = await client.messages.countTokens({ model, messages, system: "Be short.", tools });
  assert.ok(counted.input_tokens > 0);
}

async function rawStream() {
  const { items: events, error } = await common.collect(await client.messages.create(streamed));
  assert.equal(error, undefined);
  const pieces = piecesOf(events);
  common.assertText(pieces.join(""), pieces);
  assert.deepEqual([events[0].type, events.at(-1).type], ["message_start", "message_stop"]);
  const ending = events.at(-2);
  common.assertFinish(ending.delta.stop_reason, "end_turn", FINISHES);
  assert.ok(ending.usage.output_tokens > 0);
}

async function stream() {
  await rawStream();
  const pieces = [];
  const asked = { ...plain, system: "Be short.", ...(common.isReal ? {} : THINKING) };
  const helper = client.messages.stream(asked).on("text", (piece) => pieces.push(piece));
  assertMessage(await helper.finalMessage(), pieces);
}

async function toolsByHand() {
  const first = await client.messages.stream({ ...plain, tools }).finalMessage();
  assert.equal(first.stop_reason, "tool_use");
  const uses = usesIn(first);
  const results = uses.map((use) => ({ type: "tool_result", tool_use_id: use.id, content: result }));
  const history = [...messages, { role: "assistant", content: first.content }, { role: "user", content: results }];
  const second = await client.messages.create({ ...plain, tools, messages: history });
  common.assertWeather(
    textIn(second),
    uses.map((use) => use.input.city),
  );
}

// The package's own loop calls the function and sends the second turn itself.
async function toolsByRunner() {
  const cities = [];
  const run = ({ city }) => {
    cities.push(city);
    return result;
  };
  const runnable = betaTool({ name, description, inputSchema: input_schema, run });
  const final = await client.beta.messages.toolRunner({ ...plain, tools: [runnable] });
  common.assertWeather(textIn(final), cities);
}

async function useTools() {
  await toolsByHand();
  await toolsByRunner();
}

async function structured() {
  const asked = { ...plain, max_tokens: common.MAX_OBJECT_TOKENS };
  const output_config = { format: jsonSchemaOutputFormat(common.PERSON_SCHEMA) };
  const parsed = await client.messages.parse({ ...asked, output_config });
  common.assertPerson(parsed.parsed_output);

  // The small real model knows nothing of tools.
  if (common.isReal) return;
  const person = { name: "person", description: "Describe a person.", input_schema: common.PERSON_SCHEMA };
  const tool_choice = { type: "tool", name: person.name };
  const forced = await client.messages.create({ ...asked, tools: [person], tool_choice });
  common.assertPerson(usesIn(forced)[0].input);
}

async function image() {
  const source = { type: "base64", media_type: "image/png", data: common.PNG };
  const content = [
    { type: "text", text: "What do you see?" },
    { type: "image", source },
  ];
  common.assertSeen(textIn(await client.messages.create({ ...plain, messages: [{ role: "user", content }] })));
}

async function embeddings() {
  throw new common.NotApplicable("It has no embeddings.");
}

async function failsAs(kind, status, type, promise) {
  const error = await common.failureOf(promise);
  assert.ok(error instanceof kind, String(error));
  assert.deepEqual([error.status, error.type], [status, type]);
  assert.ok(error.apiMessage);
  common.assertRequestId(error.requestID);
}

async function error() {
  for (const asked of [plain, streamed]) {
    const refused = connect(common.WRONG_KEY).messages.create(asked);
    await failsAs(Anthropic.AuthenticationError, 401, "authentication_error", refused);
    const unknown = client.messages.create({ ...asked, model: common.UNKNOWN_MODEL });
    await failsAs(Anthropic.NotFoundError, 404, "not_found_error", unknown);
  }
}

// Leaving the loop, the controller, a signal, the helper: users stop an answer in each of these ways.
async function abort() {
  for await (const event of await client.messages.create(streamed)) if (piecesOf([event]).length > 0) break;

  const controlled = await client.messages.create(streamed);
  for await (const event of controlled) if (piecesOf([event]).length > 0) controlled.controller.abort();

  const controller = new AbortController();
  const signalled = await client.messages.create(streamed, { signal: controller.signal });
  for await (const event of signalled) if (piecesOf([event]).length > 0) controller.abort();

  const helper = client.messages.stream(plain);
  helper.on("text", () => helper.abort());
  const stopped = await common.failureOf(helper.finalMessage());
  assert.ok(stopped instanceof Anthropic.APIUserAbortError);
}

async function failover() {
  await rawStream();
  assertMessage(await client.messages.create(plain));
}

async function cut() {
  const { items: events, error: broken } = await common.collect(await client.messages.create(streamed));
  common.assertCutText(piecesOf(events).join(""));
  assert.ok(broken instanceof Anthropic.APIError, String(broken));
  assert.equal(broken.type, "api_error");
  common.assertRequestId(broken.requestID);
  const failed = await common.failureOf(client.messages.stream(plain).finalMessage());
  assert.ok(failed instanceof Anthropic.AnthropicError, String(failed));
}

const cases = { list, chat, stream, tools: useTools, structured, image, embeddings, error, abort, failover, cut };
await common.main("@anthropic-ai/sdk", cases);
