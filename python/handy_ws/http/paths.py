"""Paths as settings: what is one."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["path_of"]


def path_of(value: Any) -> str | None:
    """Return a path as a string; None if it is no path that a file can have."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    return path if isinstance(path, str) and path and "\0" not in path else None
