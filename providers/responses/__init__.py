"""OpenAI's Responses API: as it is for providers that speak it, and as chat completions for all others.

Pure functions: `request` with `items` on the way there, `answer` and `stream` on the way back, `binding` for what only
the provider that made it can read. Sources: OpenAI's API reference ("Responses", "Streaming events") and the types of
its official SDKs. Left out of a chat completion, because they change no answer of it: `store` and `metadata`, since
nothing is kept; hints about caches; how reasoning is summed up; reasoning of earlier turns other than of tool calls.
"""
