"""`Script`: what the upstream does with one call."""

from __future__ import annotations

from typing import Self

from tests.upstream.answers import Answers
from tests.upstream.faults import Faults
from tests.upstream.steps import Hold, Sleep


class Script(Answers, Faults):
    """An immutable list of steps, made by the constructors of `Answers` and `Faults`.

    `Script.steps(...)` takes single steps (see `tests.upstream.steps`). Scripts add up:
    `Script.hold() + Script.text("ok")` waits for `release` and then answers.
    """

    @classmethod
    def hold(cls) -> Self:
        """Wait until the test sets the upstream's `release`; put it in front of another script."""
        return cls.steps(Hold())

    @classmethod
    def sleep(cls, seconds: float) -> Self:
        """Wait; put it in front of another script."""
        return cls.steps(Sleep(seconds))
