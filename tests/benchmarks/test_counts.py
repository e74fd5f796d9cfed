"""What makes the instruction counts a guard: what is compared, and what fails.

Nothing is counted here; that is `make counts`.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from benchmarks.common.native import native
from benchmarks.counts import (
    BASELINE,
    Verdict,
    collected,
    compare,
    differences,
    judge,
    table,
)

BEFORE = {"mask": 1000.0}


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (1000.0, Verdict.SAME),
        (1029.9, Verdict.SAME),
        (1030.2, Verdict.MORE),
        (970.1, Verdict.SAME),
        (969.8, Verdict.FEWER),
    ],
)
def test_counts_within_the_tolerance_are_the_same(now: float, verdict: Verdict) -> None:
    (one,) = compare(BEFORE, {"mask": now}, 3.0)
    assert one.verdict is verdict


def test_more_instructions_fail_and_fewer_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    judge(compare(BEFORE, {"mask": 500.0}, 3.0), "")
    assert "mask -50.0 %: fewer: update the baseline" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"mask \+50.0 %: MORE") as failure:
        judge(compare(BEFORE, {"mask": 1500.0}, 3.0), "rustc 1 then, rustc 2 now")
    assert "rustc 1 then, rustc 2 now" in str(failure.value)


def test_a_work_that_only_one_side_has_fails() -> None:
    new, gone = compare(BEFORE, {"echo": 1.0}, 3.0)
    assert (new.work, new.verdict) == ("echo", Verdict.NEW)
    assert (gone.work, gone.verdict) == ("mask", Verdict.GONE)
    for one in (new, gone):
        assert one.change is None
        with pytest.raises(SystemExit):
            judge([one], "")


def test_the_table_has_a_row_for_each_work() -> None:
    rows = table(compare(BEFORE, {"mask": 1100.0, "echo": 1.0}, 3.0), {"mask": "16 KiB"}).rows
    assert rows == [
        ("mask", "16 KiB", "1,000.0", "1,100.0", "+10.0 %", "MORE"),
        ("echo", "", "", "1.0", "", "NOT IN THE BASELINE"),
    ]


def test_what_is_different_from_when_the_baseline_was_made() -> None:
    now = {"rustc": "rustc 2", "libc": "glibc 2.36"}
    assert differences(now, now) == ""
    then = {"rustc": "rustc 1"}
    assert differences(then, now) == "rustc 1 then, rustc 2 now; unknown libc then, glibc 2.36 now"


def test_the_total_of_a_profile() -> None:
    assert collected("events: Ir\nfn=(1) main\n0 7\n\ntotals: 12345\n") == 12_345
    for nothing in ("totals: 0\n", ""):
        with pytest.raises(ValueError, match="no call of counts::counted"):
            collected(nothing)


@pytest.mark.timeout(300)  # it compiles the program when that has changed
def test_each_work_of_the_baseline_can_be_done() -> None:
    def run(*arguments: str) -> str:
        command = [native("counts"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    works = json.loads(run())
    assert works == list(json.loads(BASELINE.read_text())["instructions"])
    for work in works:
        once, twice = (json.loads(run(work, repetitions)) for repetitions in ("1", "2"))
        assert once["unit"]
        assert twice["units"] == 2 * once["units"] > 0
