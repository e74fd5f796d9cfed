"""Peers that vanish: a few dozen at a time, in a network of their own whose link is dropped."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from tests.faults.netns import Namespace

COUNT = 40
_PATIENCE = 30.0
_PROGRAM = Path(__file__).parents[1] / "answering_process.py"


class Vanishing:
    """Lets peers come and vanish, again and again, in a ``with`` block.

    Attributes:
        vanished: how many have.
        trouble: why there are none (any more), which is so where one may make no namespaces.
    """

    def __init__(self, port: int, longest_wait: float) -> None:
        self.vanished = 0
        self.trouble = ""
        self._port = port
        self._longest_wait = longest_wait
        self._rng = random.Random(port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vanishing")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set() and not self.trouble:
            try:
                self._vanish()
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
                self.trouble = str(error)

    def _vanish(self) -> None:
        with Namespace() as namespace:
            command = [sys.executable, str(_PROGRAM), namespace.address, str(self._port)]
            with namespace.popen([*command, str(COUNT)]) as process:
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise RuntimeError("the clients cannot reach the server")
                self._stop.wait(self._rng.uniform(0.0, self._longest_wait))
                namespace.drop_link()
                self.vanished += COUNT
                self._stop.wait(self._rng.uniform(0.0, self._longest_wait))
                process.communicate(timeout=_PATIENCE)
