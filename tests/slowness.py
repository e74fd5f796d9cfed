"""Warnings of slow callbacks, which are no fault where the machine itself stands still at times."""

from __future__ import annotations

import re

_SLOW_CALLBACK = re.compile(
    r"on_\w+ took [\d.]+ s for connection \d+"
    # asyncio says so, too, in Python's development mode: some servers use it inside.
    r"|Executing <.*> took [\d.]+ seconds"
)


def without_slow_callbacks(text: str) -> str:
    """Return what a program has written, without the lines that only say that it took long."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not _SLOW_CALLBACK.fullmatch(line.rstrip("\n")))
