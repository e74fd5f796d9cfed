"""What was measured every few seconds, and whether it is flat."""

from __future__ import annotations

import csv
import dataclasses
import math
import statistics
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HEADINGS = (
    "minute   MiB   use queue blocks files thr conns   total cpu%   pong ms      echo ms     in/s"
    "   out/s dropped takeovers  faults wrong"
)


@dataclass(frozen=True)
class Sample:
    """One line of the table; rates are those of a second."""

    minute: float
    memory_mib: float
    in_use_mib: float
    queued_mib: float
    python_blocks: int
    descriptors: int
    threads: int
    connections: int
    established: int
    cpu_percent: float
    pong_median_ms: float
    pong_worst_ms: float
    echo_median_ms: float
    echo_worst_ms: float
    received_rate: float
    sent_rate: float
    dropped: int
    takeovers: int
    faults: int
    complaints: int

    def line(self) -> str:
        """Return a line of the table."""
        return (
            f"{self.minute:6.2f} {self.memory_mib:5.1f} {self.in_use_mib:5.1f}"
            f" {self.queued_mib:5.2f} {self.python_blocks:6} {self.descriptors:5} {self.threads:3}"
            f" {self.connections:5} {self.established:7} {self.cpu_percent:4.0f}"
            f" {self.pong_median_ms:5.2f} {self.pong_worst_ms:6.1f}"
            f" {self.echo_median_ms:5.2f} {self.echo_worst_ms:6.1f}"
            f" {self.received_rate:7.0f} {self.sent_rate:7.0f} {self.dropped:7}"
            f" {self.takeovers:9} {self.faults:7} {self.complaints:5}"
        )


@dataclass(frozen=True)
class Bound:
    """How flat a column has to be, once the soak has settled.

    The level is the median of the first tenth of the settled samples. Above it there may be
    `relative` of it plus `absolute`, at the worst moment; and the line that fits all settled
    samples best may rise by half of that. Of what comes and goes with the load, such as messages
    that wait while a callback blocks, the worst minute counts, by its median.
    """

    name: str
    values: Sequence[float]
    relative: float
    absolute: float
    by_minute: bool = False

    def check(self, minutes: Sequence[float]) -> tuple[str, bool]:
        """Return a line about it, and whether it holds."""
        level = statistics.median(self.values[: max(1, len(self.values) // 10)])
        room = level * self.relative + self.absolute
        worst = max(self._medians_of_minutes(minutes) if self.by_minute else self.values)
        rise = statistics.linear_regression(minutes, self.values).slope * (minutes[-1] - minutes[0])
        is_flat = worst <= level + room and rise <= room / 2
        verdict = "flat" if is_flat else "NOT FLAT"
        return (
            f"{self.name}: {verdict}, {level:.1f} when settled, worst {worst:.1f} of at most"
            f" {level + room:.1f}, trend {rise:+.1f} of at most +{room / 2:.1f}"
        ), is_flat

    def _medians_of_minutes(self, minutes: Sequence[float]) -> Iterator[float]:
        samples = zip(minutes, self.values, strict=True)
        for _, group in groupby(samples, key=lambda sample: math.floor(sample[0])):
            yield statistics.median(value for _, value in group)


def check_flat(samples: Sequence[Sample], settle: float) -> Iterator[tuple[str, bool]]:
    """Yield a line, and whether it is good, for each thing that must not grow after `settle`."""
    settled = [sample for sample in samples if sample.minute >= settle]
    minutes = [sample.minute for sample in settled]
    memory = [sample.memory_mib for sample in settled]
    # Those beyond the connections themselves: listeners, pollers, handshakes that are on their way.
    others = [float(sample.descriptors - sample.connections) for sample in settled]
    threads = [float(sample.threads) for sample in settled]
    # What clients do not read now is there now, and not if they all read.
    in_use = [sample.in_use_mib - sample.queued_mib for sample in settled]
    blocks = [float(sample.python_blocks) for sample in settled]
    yield Bound("memory in MiB", memory, 0.05, 4.0).check(minutes)
    yield Bound("memory in use beside queues, in MiB", in_use, 0.05, 2.0, by_minute=True).check(
        minutes
    )
    yield Bound("blocks of Python objects", blocks, 0.02, 0.0, by_minute=True).check(minutes)
    yield Bound("descriptors beside the connections'", others, 0.05, 60.0).check(minutes)
    yield Bound("threads", threads, 0.0, 0.0).check(minutes)


def write_csv(samples: Sequence[Sample], path: Path) -> None:
    """Write all samples to a file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in dataclasses.fields(Sample))
        writer.writerows(dataclasses.astuple(sample) for sample in samples)
