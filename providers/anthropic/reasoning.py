"""From OpenAI's `reasoning_effort` to Anthropic's thinking, whose form depends on the model.

Models from Claude 4.6 on decide for themselves how long to think, guided by `output_config.effort`; older ones are
given a budget of tokens (Anthropic's guides "Adaptive thinking" and "Extended thinking").
"""

from __future__ import annotations

import re
from typing import Any

from providers.anthropic.refusals import refuse

_FIRST_ADAPTIVE = (4, 6)
_SMALLEST_BUDGET = 1_024
_BUDGETS = {"low": 1_024, "medium": 4_096, "high": 16_384, "xhigh": 24_576, "max": 32_768}
# A date in a model's name has eight digits, a part of its version one or two.
_VERSION = re.compile(r"(?<![0-9])([0-9]{1,2})(?:[-.]([0-9]{1,2}))?(?![0-9])")


def thinking_fields(effort: Any, model: str, max_tokens: int) -> tuple[dict[str, Any], str | None]:
    """Return the `thinking` object for an effort and what `output_config.effort` has to be, if anything.

    A budget takes at most about half of `max_tokens`, so that there is room for an answer. Raises `NotExpressible`.
    """
    if effort == "none":
        return {"type": "disabled"}, None
    if effort == "minimal":
        effort = "low"
    if not isinstance(effort, str) or effort not in _BUDGETS:
        refuse("reasoning_effort", "must be none, minimal, low, medium, high, xhigh or max")
    if thinks_adaptively(model):
        return {"type": "adaptive"}, effort
    if max_tokens <= _SMALLEST_BUDGET:
        refuse("reasoning_effort", f"needs more than {_SMALLEST_BUDGET} tokens for the answer of this model")
    budget = min(_BUDGETS[effort], max(_SMALLEST_BUDGET, max_tokens // 2))
    return {"type": "enabled", "budget_tokens": budget}, None


def thinks_adaptively(model: str) -> bool:
    """Say from its name whether a model decides itself how long to think; unknown names are taken to be new ones."""
    found = _VERSION.search(model)
    return found is None or (int(found[1]), int(found[2] or 0)) >= _FIRST_ADAPTIVE
