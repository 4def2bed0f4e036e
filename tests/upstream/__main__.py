"""The upstream as a program: `python -m tests.upstream --script stall-after --after 2`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Literal

from tests.upstream import Script, Upstream

Options = argparse.Namespace

_EOLS: dict[str, Literal["\r\n", "\r", "\n"]] = {"crlf": "\r\n", "cr": "\r", "lf": "\n"}

# Each script's name with its constructor, whose docstring is the help, and the way to call it.
_TEXTS: dict[str, Callable[[str], Script]] = {
    "split-every-byte": Script.split_every_byte,
    "bom": Script.bom,
    "no-space-after-colon": Script.no_space_after_colon,
    "multi-line-data": Script.multi_line_data,
    "azure-stream": Script.azure_stream,
    "azure-late-filter": Script.azure_late_filter,
    "text-completion": Script.text_completion,
    "usage-on-every-chunk": Script.usage_on_every_chunk,
    "usage-on-finish-chunk": Script.usage_on_finish_chunk,
}
_PLAIN: dict[str, Callable[[], Script]] = {
    "tool-call-stream": Script.tool_call_stream,
    "azure-content-filter": Script.azure_content_filter,
    "azure-error-in-stream": Script.azure_error_in_stream,
    "embeddings": Script.embeddings,
    "invalid-json": Script.invalid_json,
    "reset": Script.reset,
    "close-before-headers": Script.close_before_headers,
    "headers-then-close": Script.headers_then_close,
    "hang": Script.hang,
    "hang-after-headers": Script.hang_after_headers,
    "role-frames-then-hang": Script.role_frames_then_hang,
}
_AFTER: dict[str, Callable[[int, float], Script]] = {
    "stall-after": Script.stall_after,
    "reset-after": Script.reset_after,
    "eof-after": Script.eof_after,
    "cut-after": Script.cut_after,
}
_OTHERS: dict[str, tuple[Callable[..., Script], Callable[[Options], Script]]] = {
    "text": (
        Script.text,
        lambda o: Script.text(o.text, o.pieces, delay_s=o.delay, first_token_delay_s=o.first_token_delay),
    ),
    "status": (Script.status, lambda o: Script.status(o.status, retry_after=o.retry_after)),
    "openai-error": (
        Script.openai_error,
        lambda o: Script.openai_error(o.error_code, o.error_type, status=o.status),
    ),
    "html": (Script.html, lambda _: Script.html()),
    "line-endings": (Script.line_endings, lambda o: Script.line_endings(o.text, _EOLS[o.eol])),
    "comments-only": (Script.comments_only, lambda o: Script.comments_only(o.delay or 1.0)),
    "malformed-event": (
        Script.malformed_event,
        lambda o: Script.malformed_event(before_content=o.after == 0, then_complete=o.then_complete),
    ),
    "error-event": (Script.error_event, lambda o: Script.error_event(o.after)),
    "huge-event": (Script.huge_event, lambda o: Script.huge_event(o.size, o.after)),
    "endless": (Script.endless, lambda o: Script.endless(interval_s=o.delay)),
}
_ALIASES = {"stall": "stall-after", "eof": "eof-after", "cut": "cut-after"}


def constructors() -> dict[str, Callable[..., Script]]:
    """Every script's name on the command line, with the constructor of `Script` that makes it."""
    others = {name: constructor for name, (constructor, _) in _OTHERS.items()}
    return {**others, **_TEXTS, **_PLAIN, **_AFTER}


def make_script(name: str, options: Options) -> Script:
    """Make the script called `name` with the options of the command line."""
    name = _ALIASES.get(name, name)
    if name in _OTHERS:
        return _OTHERS[name][1](options)
    if name in _TEXTS:
        return _TEXTS[name](options.text)
    if name in _AFTER:
        return _AFTER[name](options.after, options.delay)
    return _PLAIN[name]()


def _scripts_help() -> str:
    lines = ["scripts:"]
    for name, constructor in constructors().items():
        summary = (constructor.__doc__ or "").partition("\n")[0]
        lines.append(f"  {name:<24}{summary}")
    short = ", ".join(f"{alias} = {name}" for alias, name in _ALIASES.items())
    return "\n".join([*lines, "", f"short names: {short}"])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m tests.upstream",
        description="A model provider on 127.0.0.1 that misbehaves on request. It prints its base URL and "
        "serves until SIGTERM or SIGINT.",
        epilog=_scripts_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--port", type=int, default=0, help="port to listen on (0: any free one)")
    add(
        "--script",
        action="append",
        choices=[*constructors(), *_ALIASES],
        metavar="NAME",
        help="what chat calls get (default: text); given several times, the first calls get one each "
        "and all later ones the last",
    )
    add("--text", default="Hello world", help="the answer's text")
    add("--pieces", type=int, default=4, help="content events of the text")
    add("--delay", type=float, default=0.0, help="seconds between content events, or between comments")
    add("--first-token-delay", type=float, default=0.0, help="seconds before the first content event")
    add("--after", type=int, default=2, help="content events before the fault")
    add("--then-complete", action="store_true", help="finish the answer after a malformed event")
    add("--status", type=int, default=500, help="HTTP status code of `status` and `openai-error`")
    add("--error-code", help="the `code` of the script `openai-error`")
    add("--error-type", default="invalid_request_error", help="the `type` of the script `openai-error`")
    add("--retry-after", help="value of Retry-After for the script `status`")
    add("--size", type=int, default=2 * 1024 * 1024, help="bytes of text in the script `huge-event`")
    add("--eol", choices=_EOLS, default="crlf", help="line ending of the script `line-endings`")
    add("--model", action="append", help="a model for the list (repeatable)")
    add("--require-key", help="the key that requests must carry")
    add("--gzip", action="store_true", help="compress answers whose request asks for it")
    add("--set-cookie", action="store_true", help="set a cookie on every answer")
    return result


async def serve(options: Options) -> None:
    """Print the base URL and serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    *first, last = [make_script(name, options) for name in options.script or ["text"]]
    async with Upstream(port=options.port) as up:
        up.queue(*first)
        up.default = last
        up.models = options.model or up.models
        up.require_key = options.require_key
        up.gzip_if_asked = options.gzip
        up.set_cookie = options.set_cookie
        sys.stdout.write(up.base_url + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(parser().parse_args()))
