"""`lunarbit` and `python -m gateway`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. A plain `serve` starts without loading the libraries for commands and tables."""
    if sys.argv[1:] == ["serve"]:
        from gateway.start import serve

        serve()
        return
    from gateway.cli import app

    app()


if __name__ == "__main__":
    main()
