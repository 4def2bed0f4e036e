"""llama.cpp's own server with a small real model, as `scripts/test-real` puts them in place."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.architecture.installation import free_port

UPSTREAM_KEY = "sk-local"
MODEL = "smollm2"
EMBEDDING_MODEL = "smollm2-embed"
# One thread and a fixed seed: two equal calls give equal text.
SETTINGS = {"c": 8192, "t": 1, "poll": 0, "np": 4, "temp": 0, "seed": 1}
_LIMIT_S = 60.0


def in_place() -> bool:
    """Whether `scripts/test-real` said where server and model are."""
    return "LUNARBIT_REAL_SERVER" in os.environ and "LUNARBIT_REAL_MODEL" in os.environ


@dataclass
class ModelServer:
    """A running server, in a process group of its own because it starts one process for each model."""

    process: subprocess.Popen[bytes]
    origin: str

    def get(self, path: str) -> httpx.Response:
        """Fetch one of its pages."""
        headers = {"authorization": f"Bearer {UPSTREAM_KEY}"}
        return httpx.get(f"{self.origin}{path}", headers=headers, timeout=20.0, trust_env=False)

    def busy_slots(self, model: str = MODEL) -> int:
        """Return how many answers it is generating now."""
        return sum(slot["is_processing"] for slot in self.get(f"/slots?model={model}").json())

    def kill(self) -> None:
        """End it as a crash would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def both_models(folder: Path) -> list[str]:
    """Return arguments for a server that offers a chat model and an embedding model and loads them when asked."""
    model = os.environ["LUNARBIT_REAL_MODEL"]
    common = "\n".join(f"{name} = {value}" for name, value in SETTINGS.items())
    embedding = f"[{EMBEDDING_MODEL}]\nmodel = {model}\nembeddings = true\npooling = mean\n"
    preset = folder / "preset.ini"
    preset.write_text(f"[*]\n{common}\n\n[{MODEL}]\nmodel = {model}\n\n{embedding}")
    return ["--models-preset", str(preset)]


def one_model() -> list[str]:
    """Return arguments for a server that loads the chat model at once, and says 503 until it has."""
    settings = [part for name, value in SETTINGS.items() for part in (_option(name), str(value))]
    return ["--model", os.environ["LUNARBIT_REAL_MODEL"], "--alias", MODEL, *settings]


def _option(name: str) -> str:
    return f"-{name}" if len(name) <= 2 else f"--{name}"


@contextmanager
def serving(arguments: list[str], log: Path, *, port: int = 0, loaded: bool = True) -> Iterator[ModelServer]:
    """Start a server, on any free port for 0, and wait until it answers; with `loaded` False until it listens."""
    port = port or free_port()
    fixed = ["--host", "127.0.0.1", "--port", str(port), "--api-key", UPSTREAM_KEY, "--metrics", "--no-ui"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [os.environ["LUNARBIT_REAL_SERVER"], *arguments, *fixed],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = ModelServer(process, f"http://127.0.0.1:{port}")
    try:
        until(lambda: _answers(server, loaded=loaded), pause_s=0.002)
        yield server
    finally:
        if process.poll() is None:
            server.kill()


def _answers(server: ModelServer, *, loaded: bool) -> bool:
    assert server.process.poll() is None, "the model server ended"
    try:
        return server.get("/health").is_success or not loaded
    except httpx.TransportError:
        return False


def until(condition: Callable[[], object], *, pause_s: float = 0.02) -> None:
    """Return once `condition()` is true; raises TimeoutError after a minute."""
    give_up = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError
        time.sleep(pause_s)
