"""Reads the parts of a Dockerfile that the tests check and use."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Stage:
    """One FROM with what follows it: `instructions` holds (name, argument) in the file's order."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def last(self, name: str) -> str:
        """Return the argument of the last instruction called `name`, the one that counts."""
        return [argument for instruction, argument in self.instructions if instruction == name][-1]

    def environment(self) -> dict[str, str]:
        """Return what ENV sets."""
        settings = [part for name, argument in self.instructions if name == "ENV" for part in shlex.split(argument)]
        return dict(setting.split("=", 1) for setting in settings)

    def command(self) -> list[str]:
        """Return CMD, which must be in the exec form so that the gateway itself gets the signals."""
        return _exec_form(self.last("CMD"))

    def health_check(self) -> list[str]:
        """Return the command of HEALTHCHECK."""
        return _exec_form(self.last("HEALTHCHECK").partition("CMD ")[2])


def stages(path: Path) -> list[Stage]:
    """Split a Dockerfile into its stages."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, argument = line.strip().partition(" ")
        if name == "FROM":
            found.append(Stage(argument.split()[0]))
        elif name:
            found[-1].instructions.append((name, argument.strip()))
    return found


def _exec_form(text: str) -> list[str]:
    command = json.loads(text)
    assert isinstance(command, list)
    return [str(part) for part in command]
