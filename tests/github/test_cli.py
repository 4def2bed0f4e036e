"""`lunarbit releases sync`: a look at GitHub by hand, and what it prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.program import lunarbit
from tests.github.fake_github import Clock, FakeGithub
from tests.github.scene import LINUX

if TYPE_CHECKING:
    from pathlib import Path

HOUR_S = 3600
PROJECT = """
[[projects]]
id = "app"
name = "App"
channels = [{ id = "stable" }]
[projects.github]
repository = "octo-org/app"

[[projects]]
id = "other"
name = "Other"
"""


async def test_a_look_by_hand_tells_what_it_did(tmp_path: Path) -> None:
    """People run it when a release does not appear, and scripts after they have published."""
    async with FakeGithub(Clock()) as github:
        github.publish("v1.0.0", LINUX)
        github.publish("latest", LINUX)
        github.clock.advance(2 * HOUR_S)
        environ = {"GATEWAY_GITHUB__API_URL": github.url}
        (tmp_path / "catalog.toml").write_text(PROJECT, encoding="utf-8")
        assert (await lunarbit(tmp_path, "releases", "import", "catalog.toml", **environ))[0] == 0
        code, out, _ = await lunarbit(tmp_path, "releases", "sync", **environ)
        assert code == 0
        assert out.splitlines() == [
            "app latest: skipped: 'latest' ends in no version of SemVer 2.0 such as 1.2.3",
            "app v1.0.0: published stable 1.0.0 (changed now)",
            "app: 2 release(s), 2 request(s).",
        ]
        code, out, _ = await lunarbit(tmp_path, "releases", "sync", "app", "--json", **environ)
        assert code == 0
        (row,) = json.loads(out)
        assert (row["requests"], row["problem"]) == (1, None)
        assert [(one["state"], one["changed"]) for one in row["releases"]] == [("skipped", False), ("published", False)]
        github.faults = ["500"]
        code, out, err = await lunarbit(tmp_path, "releases", "sync", "app", **environ)
        assert code == 1, err
        assert out.endswith("app: 2 release(s), 1 request(s). Problem: GitHub answered with 500.\n")
        for name, error in (("other", "follows no repository"), ("none", "PROJECT_NOT_FOUND")):
            code, _, err = await lunarbit(tmp_path, "releases", "sync", name, **environ)
            assert code == 1
            assert error in err
