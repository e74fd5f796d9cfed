"""What the programs make of their figures: tables, verdicts, pictures, and whose turn it is."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

import pytest

from benchmarks.common import plots
from benchmarks.common.native_load import Figures
from benchmarks.common.report import Report, Verdict
from benchmarks.common.turns import THREADED, Contender, in_turn, median_ratio, together
from benchmarks.common.works import GRID, Work, work_named
from benchmarks.goals import collect, summary

if TYPE_CHECKING:
    from pathlib import Path


def test_goals_are_told_in_the_order_in_which_they_were_measured(tmp_path: Path) -> None:
    reports = (("Second", "50 us", 2), ("First", "0.9 x floor", 1), ("No goals", "", 3))
    for program, figure, written in reports:
        goals = [Verdict(f"goal of {program}", figure, "floor" in figure)] if figure else []
        Report(program, {"report": tmp_path}, goals=goals).publish(tmp_path)
        os.utime(tmp_path / f"{program.lower().replace(' ', '-')}.json", (written, written))
    found = collect(tmp_path)
    assert [program for program, _ in found] == ["First", "Second"]
    text = summary(found)
    assert "| First | goal of First | 0.9 x floor | yes |" in text
    assert "| Second | goal of Second | 50 us | NO |" in text
    assert "1 of 2 goals are met." in text


def test_a_folder_without_reports_has_no_goals(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no reports"):
        collect(tmp_path)


def test_only_rounds_that_both_had_are_compared() -> None:
    assert median_ratio([2.0, 6.0, 100.0], [1.0, 2.0]) == 2.5


def test_parts_of_a_measurement_are_put_together() -> None:
    parts = [Figures(100, 1.0, 0.5, 0.1, p50, 0.0, 0.0, 0.0, 0.0) for p50 in (1.0, 2.0, 9.0)]
    whole = together(parts)
    assert (whole.messages, whole.seconds, whole.microseconds) == (300, 3.0, 5000.0)
    assert (whole.p50, whole.rate) == (2.0, 100.0)


def test_nobody_always_comes_after_the_same_one() -> None:
    assert "".join(in_turn("abc", rounds=3, peer_rounds=2)) == "abc" + "cba" + "ab"


def test_a_thread_only_broadcasts() -> None:
    works = [Work("echo", 1, 1, 1), Work("broadcast", 2, 1, 1), Work("all", 2, 1, 1)]
    assert Contender(THREADED).works(works) == works[1:2]
    assert Contender("handy_ws").works(works) == works


def test_a_work_is_read_as_it_is_called() -> None:
    work = work_named("echo:64:16:1024:mixed")
    assert work == Work("echo", 64, 16, 1024, "mixed")
    assert work.name == "echo, 64 x 16, 1 KiB, mixed"
    with pytest.raises(argparse.ArgumentTypeError):
        work_named("echo:0:16:1024:mixed")


def test_the_grid_is_drawn_with_all_its_rows_and_servers(tmp_path: Path) -> None:
    costs = {server: dict.fromkeys(GRID[:12], (1.0, 2.0, 3.0)) for server in ("handy_ws", "floor")}
    assert plots.draw(costs, GRID[:12], tmp_path)[0] == "beside.svg"
    picture = (tmp_path / "beside.svg").read_text()
    for text in (*costs, *(work.name for work in GRID[:12])):
        assert f"<!-- {text} -->" in picture
