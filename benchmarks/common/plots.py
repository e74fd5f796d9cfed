"""Pictures of what messages cost: beside each other, and how it grows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.common.works import Work

    #: Microseconds for each message, round by round, by server and work.
    Costs = Mapping[str, Mapping[Work, Sequence[float]]]

__all__ = ["draw"]

_LEAST_POINTS = 3
_GROWING = ("connections", "size")

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "the same picture has the same bytes"


class Growth(NamedTuple):
    """Works that differ in one property only."""

    axis: str
    works: Sequence[Work]

    @property
    def name(self) -> str:
        """What the picture is called."""
        first = self.works[0]
        fixed = f"{first.size}-bytes" if self.axis == "connections" else f"{first.connections}"
        return f"{first.kind}-by-{self.axis}-{fixed}-x-{first.depth}-{first.payload}"


def draw(costs: Costs, works: Sequence[Work], folder: Path) -> list[str]:
    """Draw all pictures that there are to be drawn; return the names of the files."""
    names = ["beside.svg"]
    _draw_beside(costs, works, folder / names[0])
    for growth in _growths(works):
        names.append(f"{growth.name}.svg")
        _draw_growth(costs, growth, folder / names[-1])
    return names


def _draw_beside(costs: Costs, works: Sequence[Work], path: Path) -> None:
    """Draw one group of bars for each work, a bar for each server."""
    _, axes = plt.subplots(figsize=(10, 1 + 0.22 * len(works) * len(costs)))
    height = 0.8 / len(costs)
    for number, (server, by_work) in enumerate(costs.items()):
        places = [place + number * height for place in range(len(works))]
        middles = [statistics.median(by_work[work]) for work in works]
        spread = [
            [middle - min(by_work[work]) for middle, work in zip(middles, works, strict=True)],
            [max(by_work[work]) - middle for middle, work in zip(middles, works, strict=True)],
        ]
        axes.barh(places, middles, height, xerr=spread, label=server, error_kw={"linewidth": 0.7})
    axes.set_yticks(
        [place + 0.4 - height / 2 for place in range(len(works))], [work.name for work in works]
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("CPU time for each message, µs: median, least and most")
    _finish(axes, path)


def _draw_growth(costs: Costs, growth: Growth, path: Path) -> None:
    """Draw a line for each server."""
    _, axes = plt.subplots(figsize=(8, 5))
    places = [getattr(work, growth.axis) for work in growth.works]
    for server, by_work in costs.items():
        values = [by_work[work] for work in growth.works]
        (line,) = axes.plot(places, [statistics.median(one) for one in values], "o-", label=server)
        lowest, highest = [min(one) for one in values], [max(one) for one in values]
        axes.fill_between(places, lowest, highest, color=line.get_color(), alpha=0.15)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("connections" if growth.axis == "connections" else "bytes of a message")
    axes.set_ylabel("CPU time for each message, µs")
    axes.set_title(growth.name.replace("-", " "))
    _finish(axes, path)


def _finish(axes: Axes, path: Path) -> None:
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize="small")
    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})
    plt.close()


def _growths(works: Sequence[Work]) -> Iterator[Growth]:
    for axis in _GROWING:
        groups = defaultdict(list)
        for work in sorted(works):
            same = {**vars(work), axis: None}
            groups[tuple(same.values())].append(work)
        for group in groups.values():
            if len(group) >= _LEAST_POINTS:
                yield Growth(axis, sorted(group, key=lambda work: getattr(work, axis)))
