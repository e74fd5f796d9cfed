"""Starting and stopping leaves nothing behind. `cycles.py` does it a thousand times."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.slowness import without_slow_callbacks

CYCLES = 600
#: What memory may grow by meanwhile, in megabytes: caches that fill up, not a leak of some
#: kilobytes in each cycle.
GROWTH = 1.0


# On a busy machine more threads are left for the next cycle, each with memory of its own.
@pytest.mark.alone
def test_threads_descriptors_and_memory_do_not_grow() -> None:
    program = [sys.executable, "-m", "tests.life.cycles"]
    program += ["--cycles", str(CYCLES), "--every", str(CYCLES // 3)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=55, check=True)
    assert without_slow_callbacks(done.stderr) == ""
    first, *_, last = (line.split() for line in done.stdout.splitlines())
    assert int(last[0]) == CYCLES
    assert int(last[2]) == int(first[2])
    assert int(last[4]) == int(first[4])
    assert float(last[6]) - float(first[6]) < GROWTH
