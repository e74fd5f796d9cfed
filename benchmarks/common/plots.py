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
    from matplotlib.axis import Axis

    from benchmarks.common.works import Work

    #: Microseconds for each message, round by round, by server and work.
    Costs = Mapping[str, Mapping[Work, Sequence[float]]]

__all__ = ["draw"]

_LEAST_POINTS = 3
_GROWING = ("connections", "size")
#: The part of a row's height that its dots are spread over.
_PART_OF_ROW = 0.8
#: Colours that can be told apart, also by whoever cannot see all of them; the marks help.
_COLORS = (
    "#d62728",
    "#000000",
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#9467bd",
    "#17becf",
    "#e377c2",
    "#8c564b",
    "#bcbd22",
)
_MARKERS = "osD^v<>Phd"

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
    """Draw a row for each work, and in it a dot for each server; a log axis has no bars."""
    _, axes = plt.subplots(
        figsize=(11, 1.6 + _row_height(costs) * len(works)), layout="constrained"
    )
    for number, (server, by_work) in enumerate(costs.items()):
        shift = _PART_OF_ROW * ((number + 0.5) / len(costs) - 0.5)
        places = [place + shift for place in range(len(works))]
        values = [by_work[work] for work in works]
        color = _COLORS[number % len(_COLORS)]
        least, most = [min(one) for one in values], [max(one) for one in values]
        axes.hlines(places, least, most, color=color, linewidth=1)
        middles = [statistics.median(one) for one in values]
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot(middles, places, marker, color=color, markersize=5, label=server)
    for place in range(0, len(works), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
    axes.set_yticks(range(len(works)), [work.name for work in works])
    axes.set_ylim(len(works) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.tick_params(axis="x", which="both", labeltop=True)
    _say_plainly(axes.xaxis)
    axes.set_xlabel("CPU time for each message, µs: median, and least to most of the rounds")
    axes.grid(visible=True, axis="x", which="major", alpha=0.5)
    axes.grid(visible=True, axis="x", which="minor", alpha=0.2)
    _finish(axes, path)


def _row_height(costs: Costs) -> float:
    """Return inches for a work, so that the dots of its servers do not hide each other."""
    return max(0.25, 0.09 * len(costs))


def _draw_growth(costs: Costs, growth: Growth, path: Path) -> None:
    """Draw a line for each server."""
    _, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    places = [getattr(work, growth.axis) for work in growth.works]
    for number, (server, by_work) in enumerate(costs.items()):
        values = [by_work[work] for work in growth.works]
        color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)]
        middles = [statistics.median(one) for one in values]
        axes.plot(places, middles, f"{marker}-", color=color, label=server)
        lowest, highest = [min(one) for one in values], [max(one) for one in values]
        axes.fill_between(places, lowest, highest, color=color, alpha=0.15)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("connections" if growth.axis == "connections" else "bytes of a message")
    axes.set_ylabel("CPU time for each message, µs")
    axes.set_title(growth.name.replace("-", " "))
    _say_plainly(axes.xaxis)
    _say_plainly(axes.yaxis)
    axes.grid(visible=True, which="major", alpha=0.3)
    _finish(axes, path)


def _say_plainly(axis: Axis) -> None:
    """Have it say 20 and not 2 x 10^1, and some of what is between the powers of ten."""
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.set_minor_formatter(lambda value, _: f"{value:,g}" if f"{value:e}"[0] in "25" else "")
    axis.set_tick_params(which="minor", labelsize=7, labelcolor="0.4")


def _finish(axes: Axes, path: Path) -> None:
    # Outside of the axes, where it hides nothing.
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    plt.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
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
