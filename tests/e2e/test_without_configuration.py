"""A newcomer's gateway: with no provider configured LM Studio answers if it is where it usually is, and echo if not."""

from __future__ import annotations

import pytest

from providers import lmstudio as lmstudio_provider
from tests.architecture.installation import free_port
from tests.e2e.client import MODES, Mode, ask, assert_whole
from tests.e2e.conftest import Start
from tests.upstream import Script, Upstream

QUESTION = [{"role": "user", "content": "Is anybody there?"}]


@pytest.fixture
def usual_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Take a free port for LM Studio's: other gateways of this machine ask at the real one, and one may be there."""
    port = free_port()
    monkeypatch.setattr(lmstudio_provider, "DEFAULT_ORIGIN", f"http://localhost:{port}")
    return port


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_an_lm_studio_on_its_usual_port_answers_by_itself(start: Start, mode: Mode, usual_port: int) -> None:
    """Whoever has a model running sees it answer without any set-up, and never an echo."""
    async with Upstream(port=usual_port) as lmstudio:
        lmstudio.models = ["local-model"]
        lmstudio.default = Script.text("from the local model")
        gateway = await start({})
        seen = await ask(gateway, mode, model=None, messages=QUESTION)
        assert_whole(seen, "from the local model", "lmstudio", 1)
        assert [call.model for call in lmstudio.chat_requests] == ["local-model"]


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_without_an_lm_studio_echo_answers(start: Start, mode: Mode, usual_port: int) -> None:
    """The first stream works on a machine without any model."""
    gateway = await start({})
    seen = await ask(gateway, mode, model=None, messages=QUESTION)
    assert_whole(seen, "Is anybody there?", "echo", 1)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_echo_is_no_failover_for_an_lm_studio_that_breaks(start: Start, mode: Mode, usual_port: int) -> None:
    """An error that is told is better than an answer that only repeats the question."""
    async with Upstream(port=usual_port) as lmstudio:
        lmstudio.models = ["local-model"]
        lmstudio.default = Script.status(500)
        gateway = await start({})
        seen = await ask(gateway, mode, model=None, messages=QUESTION)
    assert seen.status == 502
    assert "x-lunarbit-provider" not in seen.headers
