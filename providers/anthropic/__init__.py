"""Anthropic's Messages API: the adapter (`provider`), and what translates between it and the OpenAI dialect.

The translations are pure functions, so that a surface of the gateway may use them as well: `request` with `messages`,
`content`, `tools` and `reasoning` on the way there, `answer` and `stream` on the way back. What this dialect cannot
express is refused with the name of the field. Source: Anthropic's API reference ("Messages", "Streaming", "Errors").
"""
