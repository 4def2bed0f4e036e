"""Simon Willison's `llm`: its command line, with the gateway as an entry of `extra-openai-models.yaml`."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import _shared as shared

FOLDER = Path.home() / "llm"
ADDRESS = f"{shared.BASE_URL}/v1"
FUNCTION = f"""
def get_weather(city: str) -> str:
    "The weather of a city."
    return {shared.TOOL_RESULT!r} if city == "Paris" else "nothing"
"""


def entry(alias: str, name: str, key: str) -> str:
    """Return a model's entry, which is read as YAML."""
    abilities = dict.fromkeys(("supports_tools", "supports_schema", "vision"), True)
    values = {"model_id": alias, "model_name": name, "api_base": ADDRESS, "api_key_name": key, **abilities}
    return f"- {json.dumps(values)}\n"


def prepare() -> dict[str, str]:
    """Configure it as its user does, and return its variables."""
    FOLDER.mkdir(exist_ok=True)
    models = entry("moon", shared.MODEL, "lunarbit") + entry("unknown", shared.UNKNOWN_MODEL, "lunarbit")
    (FOLDER / "extra-openai-models.yaml").write_text(models + entry("stranger", shared.MODEL, "wrong"))
    (FOLDER / "keys.json").write_text(json.dumps({"lunarbit": shared.KEY, "wrong": "wrong"}))
    return {**os.environ, "LLM_USER_PATH": str(FOLDER)}


def start(*words: str) -> subprocess.Popen[str]:
    """Start the command line."""
    command = [sys.executable, "-m", "llm", *words]
    pipe = subprocess.PIPE
    # Without a standard input of its own it would read the harness's.
    return subprocess.Popen(
        command, env=prepare(), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, bufsize=1
    )


def llm(*words: str, fails: bool = False) -> tuple[str, str]:
    """Run the command line and return what it printed on both outputs."""
    process = start(*words)
    printed, said = process.communicate()
    shared.holds(bool(process.returncode) is fails, (process.returncode, printed, said))
    return printed.strip(), said


def ask(*words: str, model: str = "moon", fails: bool = False) -> tuple[str, str]:
    """Ask for an answer of at most so many tokens."""
    return llm("prompt", shared.HELLO, "-m", model, "-o", "max_tokens", str(shared.MAX_TOKENS), *words, fails=fails)


def list_models() -> None:
    """Let it ask the gateway."""
    printed, _ = llm("openai", "endpoint", ADDRESS, "--models", "--key", shared.KEY)
    shared.holds(shared.MODEL in printed, printed)


def chat() -> None:
    """Ask for a whole answer, and for the count of tokens."""
    printed, said = ask("--no-stream", "--usage")
    shared.text(printed)
    if not shared.REAL:
        shared.holds("7 input" in said and "5 output" in said, said)


def stream() -> None:
    """Ask as it does by default; it prints the pieces."""
    printed, said = ask("--usage")
    shared.text(printed)
    shared.holds("input" in said and "output" in said, said)


def tools() -> None:
    """Let it call a function and give the result back, streamed and whole."""
    for options in ([], ["--no-stream"]):
        printed, said = llm("prompt", shared.WEATHER, "-m", "moon", "--functions", FUNCTION, "--td", *options)
        shared.text(printed, shared.TOOL_TEXT)
        shared.holds("Paris" in said and shared.TOOL_RESULT in said, said)


def structured() -> None:
    """Give it a schema."""
    printed, _ = ask("--schema", "name, age int")
    answer = json.loads(printed)
    shared.person(answer["name"], answer["age"])


def image() -> None:
    """Attach a picture."""
    picture = Path("pixel.png")
    picture.write_bytes(base64.b64decode(shared.PNG))
    shared.text(ask("-a", str(picture))[0], shared.IMAGE_TEXT)


def error() -> None:
    """Meet an unknown model and a wrong key: it fails and says why."""
    for options in ([], ["--no-stream"]):
        shared.holds(shared.UNKNOWN_MODEL in ask(*options, model="unknown", fails=True)[1], "the model's name")
        shared.holds("401" in ask(*options, model="stranger", fails=True)[1], "the status")


def abort() -> None:
    """Press Ctrl-C after the first pieces."""
    process = start("prompt", shared.HELLO, "-m", "moon")
    shared.holds(process.stdout.read(4), "pieces")
    process.send_signal(signal.SIGINT)
    process.communicate()
    shared.holds(process.returncode, process.returncode)


def failover() -> None:
    """Notice nothing of a provider that fails."""
    for options in ([], ["--no-stream"]):
        shared.text(ask(*options)[0])


def cut() -> None:
    """Notice that an answer is not whole: it prints what came, and fails."""
    printed, said = ask(fails=True)
    shared.same(printed, "tok0 tok1")
    shared.holds("Error" in said, said)


shared.main(
    "llm",
    {
        "list": list_models,
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "structured": structured,
        "image": image,
        "embeddings": shared.refuse("Its models of embeddings are OpenAI's own, with fixed names."),
        "error": error,
        "abort": abort,
        "failover": failover,
        "cut": cut,
    },
)
