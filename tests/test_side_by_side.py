"""Tests that want the machine for themselves get it."""

from __future__ import annotations

import fcntl
import threading
import time
from typing import TYPE_CHECKING

from tests.side_by_side import turn

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 10.0  # seconds


def wait_until_locked(file: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with file.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_others_run_side_by_side(tmp_path: Path) -> None:
    with turn(tmp_path, alone=False), turn(tmp_path, alone=False):
        pass


def test_who_wants_to_be_alone_waits_for_others_and_goes_before_later_ones(tmp_path: Path) -> None:
    order = []

    def be_alone() -> None:
        with turn(tmp_path, alone=True):
            order.append("alone")

    with turn(tmp_path, alone=False):
        thread = threading.Thread(target=be_alone)
        thread.start()
        wait_until_locked(tmp_path / "door")
        order.append("earlier")
    with turn(tmp_path, alone=False):
        order.append("later")
    thread.join(PATIENCE)
    assert order == ["earlier", "alone", "later"]
