"""The tests that the table of faults names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = Path(__file__).with_name("README.md")


def test_there_is_a_table_for_each_kind_of_fault() -> None:
    _, *sections = re.split(r"^### ", README.read_text(), flags=re.MULTILINE)
    rows = {
        text.partition("\n")[0]: len(re.findall(r"^\| [A-Z`]", text, re.MULTILINE))
        for text in sections
    }
    # As many as are known to have happened to others.
    assert rows["Of the server that it descends from"] >= 14
    assert rows["Of other WebSocket servers"] >= 15
    assert rows["Of other HTTP servers"] >= 12


def test_every_fault_of_the_table_is_shown_by_tests_that_exist() -> None:
    rows = re.findall(r"^\| (.+) \| (.+) \|$", README.read_text(), re.MULTILINE)
    table = {fault: re.findall(r"`(tests/[^`]+)`", tests) for fault, tests in rows}
    faults = {fault: tests for fault, tests in table.items() if not fault.startswith("`")}
    assert [fault for fault, tests in faults.items() if not tests and fault != "fault"] == []
    wanted = sorted({test for tests in faults.values() for test in tests})
    # A test that does not exist is an error of pytest's.
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", *wanted],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert collected.returncode == 0, collected.stdout + collected.stderr
