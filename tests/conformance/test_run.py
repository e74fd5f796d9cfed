"""The runner of the conformance suite notices what it is there to notice."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.run import CASES, Failure, Options, judge, running_server

if TYPE_CHECKING:
    from pathlib import Path

# Programs that stand in for a server: this one waits for SIGINT, and then does what follows.
WAIT = """
import sys, threading
try:
    print(1234, flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    """
DIE = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(1234, flush=True)
os._exit(3)
"""


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(
        wstest=tmp_path / "wstest", report=tmp_path, server=[], groups=[2, 3], timeout=1.0
    )


@pytest.fixture
def verdicts() -> dict[str, dict[str, Any]]:
    """All is well, in groups 2 and 3."""
    good = {"behavior": "OK", "behaviorClose": "OK"}
    cases = [f"{group}.{case}" for group in (2, 3) for case in range(1, CASES[group] + 1)]
    return {case: dict(good) for case in cases}


def test_there_are_301_cases() -> None:
    assert sum(CASES.values()) == 301


def test_it_is_content_when_all_is_well(
    options: Options, verdicts: dict[str, dict[str, Any]]
) -> None:
    verdicts["2.1"]["behavior"] = "INFORMATIONAL"
    assert judge(options, verdicts) == []


@pytest.mark.parametrize("outcome", ["NON-STRICT", "FAILED", "WRONG CODE", "UNCLEAN", "NEW"])
@pytest.mark.parametrize("which", ["behavior", "behaviorClose"])
def test_it_names_a_case_that_is_not_ok(
    options: Options, verdicts: dict[str, dict[str, Any]], which: str, outcome: str
) -> None:
    verdicts["3.2"][which] = outcome
    (complaint,) = judge(options, verdicts)
    assert complaint.startswith("case 3.2: ")
    assert outcome in complaint


def test_it_misses_a_case_that_did_not_run(
    options: Options, verdicts: dict[str, dict[str, Any]]
) -> None:
    del verdicts["3.7"]
    assert judge(options, verdicts) == ["group 3: 6 of 7 cases ran"]
    assert judge(options, {}) == ["group 2: 0 of 11 cases ran", "group 3: 0 of 7 cases ran"]


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("", "did not start"),
        ("print('hello')", "did not start"),
        (DIE, "(died|ended) with status 3"),
        (WAIT + "sys.exit(4)", "ended with status 4"),
        (WAIT + "sys.stderr.write('oh dear')", "complained:\noh dear"),
    ],
    ids=["no port", "no number", "dies", "bad end", "stderr"],
)
def test_it_notices_a_server_that_misbehaves(tmp_path: Path, program: str, complaint: str) -> None:
    with (
        pytest.raises(Failure, match=complaint),
        running_server([sys.executable, "-c", program], tmp_path / "server.log") as port,
    ):
        assert port == 1234


def test_a_server_that_behaves_is_stopped(tmp_path: Path) -> None:
    program = [sys.executable, "-c", WAIT + "pass"]
    with running_server(program, tmp_path / "server.log") as port:
        assert port == 1234
