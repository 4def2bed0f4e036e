"""What the documents take for GitHub: one repository with three releases, on a server in a thread."""

from __future__ import annotations

import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPOSITORY = "octo-org/octo-notes"
_NAMES = {
    "v1.2.0": ("octo-notes-1.2.0-windows-x64.exe", "octo-notes-1.2.0-macos-universal.zip"),
    "v1.3.0-beta.1": ("octo-notes-1.3.0-windows-x64.exe", "octo-notes-1.3.0-portable.zip"),
    "nightly-build": (),
}


def _releases() -> list[dict[str, Any]]:
    return [
        {
            "id": 101 + number,
            "tag_name": tag,
            "name": f"Octo Notes {tag}",
            "body": "",
            "draft": False,
            "prerelease": "-beta" in tag,
            "published_at": "2026-02-01T12:00:00Z",
            "assets": [
                {
                    "id": 1000 * number + place,
                    "name": name,
                    "state": "uploaded",
                    "size": 1000,
                    "digest": f"sha256:{'ab' * 32}",
                    "updated_at": "2026-02-01T12:00:00Z",
                    "browser_download_url": f"https://github.com/{REPOSITORY}/releases/download/{tag}/{name}",
                }
                for place, name in enumerate(names)
            ],
        }
        for number, (tag, names) in enumerate(_NAMES.items())
    ][::-1]


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the repository or its releases."""
        value = _releases() if "/releases" in self.path else {"id": 1, "full_name": REPOSITORY}
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name.
        """Say nothing."""


@cache
def api_url() -> str:
    """Return the address of the server, which runs as long as the tests do."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
