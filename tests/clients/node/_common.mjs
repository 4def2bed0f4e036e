// What the clients of this folder share: their surroundings, what they ask, what must come, and how they tell it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import process from "node:process";

const { env } = process;

export const root = env.LUNARBIT_BASE_URL;
export const key = env.LUNARBIT_KEY;
export const model = env.LUNARBIT_MODEL;
export const embeddingsModel = env.LUNARBIT_EMBEDDINGS_MODEL;
export const isReal = env.LUNARBIT_SERVER === "real";

export const QUESTION = "Say hello from the moon.";
export const UNKNOWN_MODEL = "no-such-model";
export const WRONG_KEY = "wrong";
export const MAX_TOKENS = 32;
export const MAX_OBJECT_TOKENS = 64;
export const WEATHER = {
  name: "get_weather",
  description: "Tell the weather of a city.",
  schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
  result: "15 degrees",
};
export const PERSON_SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const INPUTS = ["moon", "lunar"];

const TEXT = "Hello from the moon.";
const VECTORS = [
  [4, 0.5, -1],
  [5, 0.5, -1],
];

/** Says that the client itself cannot do such a thing; a case throws it. */
export class NotApplicable extends Error {}

/**
 * Runs the case that the command line names and prints its outcome as one line of JSON.
 *
 * `cases` maps the names of cases to asynchronous functions, which throw when the client saw something wrong. After
 * `abort` the program stays until standard input is closed, so that its end is not what ends the answer.
 */
export async function main(packageName, cases) {
  const name = process.argv[2];
  assert.ok(Object.hasOwn(cases, name), `there is no case ${name}`);
  const outcome = { status: "ok", version: await versionOf(packageName) };
  try {
    await cases[name]();
  } catch (error) {
    if (!(error instanceof NotApplicable)) throw error;
    Object.assign(outcome, { status: "not-applicable", reason: error.message });
  }
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
  if (name === "abort" && outcome.status === "ok") await once(process.stdin.resume(), "end");
}

/** Returns what an iterable yields until it ends or throws, and the error if it threw. */
export async function collect(iterable) {
  const items = [];
  try {
    for await (const item of iterable) items.push(item);
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}

/** Returns what a promise was rejected with; it is wrong if it was not. */
export async function failureOf(promise) {
  const outcome = await Promise.allSettled([promise]);
  assert.equal(outcome[0].status, "rejected", "the call did not fail");
  return outcome[0].reason;
}

/** Holds the text of `chat`, and the pieces it came in if it was streamed. */
export function assertText(text, pieces = undefined) {
  assert.notEqual(text.trim(), "");
  if (!isReal) assert.equal(text, TEXT);
  if (pieces === undefined) return;
  assert.equal(pieces.join(""), text);
  assert.ok(pieces.length > 1, "the text came in one piece");
}

/** Holds why an answer ended: `scriptedReason` for the scripted upstream, any known one for a real model. */
export function assertFinish(reason, scriptedReason, others) {
  if (isReal) assert.ok([scriptedReason, ...others].includes(reason), `ended with ${reason}`);
  else assert.equal(reason, scriptedReason);
}

/** Holds the tokens of `chat`. */
export function assertUsage(input, output) {
  if (isReal) assert.ok(input > 0 && output > 0, `counted ${input} and ${output}`);
  else assert.deepEqual([input, output], [7, 5]);
}

/** Holds the object of `structured`. */
export function assertPerson(person) {
  if (!isReal) return assert.deepEqual(person, { name: "Luna", age: 4 });
  assert.equal(typeof person.name, "string");
  assert.ok(Number.isInteger(person.age));
}

/** Holds the vectors of `embeddings`. */
export function assertVectors(vectors) {
  if (!isReal) return assert.deepEqual(vectors, VECTORS);
  assert.equal(vectors.length, INPUTS.length);
  for (const vector of vectors) assert.ok(vector.length > 1 && vector.every(Number.isFinite));
}

/** Holds the text of `tools` and the cities that the tool was asked about. */
export function assertWeather(text, cities) {
  assert.deepEqual(cities, ["Paris"]);
  assert.equal(text, "It is 15 degrees in Paris.");
}

/** Holds the text of `image`. */
export function assertSeen(text) {
  assert.equal(text, "I see the moon.");
}

/** Holds the text of `cut` to be only what came before the break. */
export function assertCutText(text) {
  assert.equal(text, "tok0 tok1 ");
}

/** Holds an id to be one that the gateway gives to requests. */
export function assertRequestId(id) {
  assert.match(String(id), /^req_[0-9a-z]{16}$/);
}

// Not every package lets its manifest be imported.
async function versionOf(packageName) {
  const [above] = import.meta.resolve(packageName).split(`/node_modules/${packageName}/`);
  const manifest = await readFile(new URL(`${above}/node_modules/${packageName}/package.json`), "utf8");
  return JSON.parse(manifest).version;
}
