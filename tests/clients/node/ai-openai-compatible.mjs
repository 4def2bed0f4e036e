// Vercel's `ai` package with `@ai-sdk/openai-compatible`.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

import { run } from "./_ai.mjs";
import * as common from "./_common.mjs";

const connect = (apiKey) =>
  createOpenAICompatible({
    name: "lunarbit",
    baseURL: `${common.root}/v1`,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });

await run("@ai-sdk/openai-compatible", connect, { unknownModel: "model_not_found", wrongKey: "invalid_api_key" });
