// Vercel's `ai` package with `@ai-sdk/anthropic`.

import { createAnthropic } from "@ai-sdk/anthropic";

import { run } from "./_ai.mjs";
import * as common from "./_common.mjs";

const connect = (apiKey) => createAnthropic({ baseURL: `${common.root}/v1`, apiKey });

// Unless told otherwise it asks for an object by a tool, of which the small real model knows nothing.
const anthropic = { structuredOutputMode: common.isReal ? "outputFormat" : "auto" };

await run("@ai-sdk/anthropic", connect, {
  unknownModel: "not_found_error",
  wrongKey: "authentication_error",
  providerOptions: { anthropic },
});
