"""The programs in Rust that `benchmarks/native` has, for what Python is too slow for."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path

from benchmarks.common.report import progress

__all__ = ["native"]

_ROOT = Path(__file__).parents[2]
_PACKAGE = "handy-ws-benchmarks"


@functools.cache
def native(name: str) -> str:
    """Return the path of a program, which is compiled if it has to be, with all the others.

    Together they take two processors, and half as long: each is linked by one.

    Raises:
        SystemExit: it cannot be compiled.
    """
    progress(f"compiling {name}, if it has changed")
    command = ["cargo", "build", "--locked", "--release", "--package", _PACKAGE, "--bins"]
    try:
        done = subprocess.run(
            [*command, "--message-format=json-render-diagnostics"],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{' '.join(command)} has failed: {error}") from error
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return str(message["executable"])
    raise SystemExit(f"{' '.join(command)} has made no program")
