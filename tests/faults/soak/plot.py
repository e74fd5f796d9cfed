"""A picture of a soak: one panel above the other, as a small SVG that needs no library.

python -m tests.faults.soak.plot reports/soak/samples.csv reports/soak/soak.svg
"""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDTH, _HEIGHT = 900, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 34, 24
_COLOURS = ("#1f77b4", "#d95f02", "#2ca02c", "#7570b3")


@dataclass(frozen=True)
class Panel:
    """Some columns over the time."""

    title: str
    columns: tuple[tuple[str, str], ...]
    """Names in the table, and in the picture."""
    is_logarithmic: bool = False


PANELS = (
    Panel("memory of the server, MiB", (("memory_mib", "resident"), ("in_use_mib", "in use"))),
    Panel(
        "connections and descriptors",
        (("connections", "connections"), ("descriptors", "descriptors")),
    ),
    Panel("threads", (("threads", "server"),)),
    Panel(
        "latency of healthy connections, ms",
        (
            ("pong_median_ms", "pong, median"),
            ("pong_worst_ms", "pong, worst"),
            ("echo_median_ms", "echo, median"),
            ("echo_worst_ms", "echo, worst"),
        ),
        is_logarithmic=True,
    ),
    Panel(
        "messages a second",
        (("received_rate", "received"), ("sent_rate", "sent")),
    ),
)


def draw(rows: Sequence[dict[str, float]]) -> str:
    """Return the picture."""
    height = _HEIGHT * len(PANELS) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
        '     font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(PANELS):
        parts.append(f'<g transform="translate(0 {number * _HEIGHT})">')
        parts += _draw_panel(panel, rows)
        parts.append("</g>")
    parts.append(f'<text x="{_WIDTH / 2}" y="{height - 6}" text-anchor="middle">minutes</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)


def _draw_panel(panel: Panel, rows: Sequence[dict[str, float]]) -> Iterator[str]:
    values = [row[name] for row in rows for name, _ in panel.columns]
    scale = _log_scale(values) if panel.is_logarithmic else _linear_scale(values)
    last = max(row["minute"] for row in rows)
    across = (_WIDTH - _LEFT - _RIGHT) / last
    down = _HEIGHT - _TOP - _BOTTOM

    def place(value: float) -> float:
        low, high = scale[0], scale[-1]
        if panel.is_logarithmic:
            value, low, high = (math.log(max(each, low)) for each in (value, low, high))
        return _TOP + down * (1 - (value - low) / (high - low))

    yield f'<text x="{_LEFT}" y="{_TOP - 14}" font-weight="bold">{panel.title}</text>'
    for mark in scale:
        y = place(mark)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{mark:g}</text>'
    for minute in _linear_scale([0.0, last])[:-1]:
        x, y = _LEFT + minute * across, _HEIGHT - 8
        yield f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{minute:g}</text>'
    for number, (name, label) in enumerate(panel.columns):
        points = " ".join(
            f"{_LEFT + row['minute'] * across:.1f},{place(row[name]):.1f}" for row in rows
        )
        colour = _COLOURS[number]
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
        x = _WIDTH - _RIGHT - 110 * (len(panel.columns) - number)
        yield f'<text x="{x}" y="{_TOP - 14}" fill="{colour}">{label}</text>'


def _linear_scale(values: Sequence[float]) -> list[float]:
    """Return round marks from 0 to beyond the greatest value."""
    top = max(values) or 1.0
    step = _round_up(top / 4)
    return [step * number for number in range(math.ceil(top / step) + 1)]


def _log_scale(values: Sequence[float]) -> list[float]:
    """Return powers of ten around the values."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _round_up(value: float) -> float:
    """Return the next 1, 2, or 5 with zeros."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value * 0.999)


def main(table: str | Path, picture: str | Path) -> None:
    """Draw the picture of a table."""
    with Path(table).open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    Path(picture).write_text(draw(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
