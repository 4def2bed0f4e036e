"""The other way round: a request in Anthropic's dialect for a provider of OpenAI's, and its answer back.

Pure functions: `request` with `turns`, `parts` and `tools` on the way there, `answer` and `stream` on the way back.
What OpenAI's dialect cannot express is refused with the name of the field. Three things are left out instead, because
they change no answer of another vendor's model: `cache_control`, which is a hint about costs; reasoning in the
history, which only the model that wrote it can read; and how reasoning is to be shown.
"""
