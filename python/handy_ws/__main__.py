"""``python -m handy_ws``: the same as ``handy-ws``."""

from __future__ import annotations

from handy_ws.cli import main

if __name__ == "__main__":
    main()
