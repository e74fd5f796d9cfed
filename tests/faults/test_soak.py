"""The soak: a short one, and how it judges."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.faults.soak import plot
from tests.faults.soak.samples import Bound, Sample, check_flat, write_csv
from tests.slowness import without_slow_callbacks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    arguments = ["--minutes=0.1", "--connections=100", "--faults=30", "--interval=1"]
    program = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", *arguments, f"--report={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(program.stdout)
    assert (program.returncode, without_slow_callbacks(program.stderr)) == (0, "")
    assert "BROKEN" not in program.stdout
    assert len((tmp_path / "samples.csv").read_text().splitlines()) > 3
    assert ET.parse(tmp_path / "soak.svg").getroot().tag.endswith("svg")  # noqa: S314 - it is ours


def sample(minute: float, **values: float) -> Sample:
    zero = Sample(*([0] * len(dataclasses.fields(Sample))))
    return dataclasses.replace(zero, minute=minute, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "is_flat"),
    [
        ([50.0] * 20, True),
        ([50.0, 52.0] * 10, True),
        ([50.0] * 10 + [60.0] + [50.0] * 9, False),
        ([50.0 + number * 0.3 for number in range(20)], False),
        ([60.0 - number for number in range(20)], True),
    ],
)
def test_a_column_is_flat_if_it_neither_jumps_nor_climbs(
    values: list[float], is_flat: bool
) -> None:
    _, verdict = Bound("memory", values, 0.05, 4.0).check(list(range(len(values))))
    assert verdict is is_flat


def test_of_what_comes_and_goes_with_the_load_the_worst_minute_counts() -> None:
    minutes = [number / 4 for number in range(40)]
    for busy, is_flat in ((1, True), (2, True), (3, False)):
        values = [60.0 if 20 <= number < 20 + busy else 50.0 for number in range(40)]
        bound = Bound("memory in use", values, 0.05, 4.0, by_minute=True)
        assert bound.check(minutes)[1] is is_flat


def test_one_more_thread_is_too_many() -> None:
    samples = [sample(minute, threads=20 + (minute == 8)) for minute in range(10)]
    verdicts = dict(check_flat(samples, 2.0))
    assert [text.partition(":")[0] for text, good in verdicts.items() if not good] == ["threads"]


def test_what_comes_before_it_has_settled_does_not_count() -> None:
    samples = [sample(minute, memory_mib=10.0 * min(minute, 3)) for minute in range(20)]
    assert all(good for _, good in check_flat(samples, 3.0))
    assert not all(good for _, good in check_flat(samples, 0.0))


def test_the_picture_shows_every_column_of_every_panel(tmp_path: Path) -> None:
    samples = [sample(minute, memory_mib=40.0, pong_worst_ms=minute) for minute in range(5)]
    write_csv(samples, tmp_path / "samples.csv")
    plot.main(tmp_path / "samples.csv", tmp_path / "soak.svg")
    picture = ET.parse(tmp_path / "soak.svg").getroot()  # noqa: S314 - it is ours
    lines = list(picture.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == sum(len(panel.columns) for panel in plot.PANELS)
    assert all(len(line.attrib["points"].split()) == len(samples) for line in lines)
