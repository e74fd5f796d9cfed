"""Which goals are met, by all the reports that the other programs have written to a folder.

It reads the JSON of each report, prints one table, and writes it to `goals.md` in that folder. It
measures nothing itself: each of the other programs says what its goals are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common.report import Table, Verdict, parser

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "goals.md"


def collect(folder: Path) -> list[tuple[str, Verdict]]:
    """Return the goals of all reports, and the program of each, in the order they were written.

    Raises:
        SystemExit: there are no reports.
    """
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not files:
        raise SystemExit(f"{folder} has no reports: the programs write them with --report")
    reports = [json.loads(path.read_text()) for path in files]
    return [(one["program"], Verdict(**goal)) for one in reports for goal in one["goals"]]


def summary(goals: Sequence[tuple[str, Verdict]]) -> str:
    """Return the table, and how many of the goals are met."""
    table = Table("Goals", ("report", "goal", "figure", "met"))
    for program, goal in goals:
        table.rows.append((program, goal.goal, goal.figure, "yes" if goal.is_met else "NO"))
    met = sum(goal.is_met for _, goal in goals)
    return f"{table.markdown()}\n{met} of {len(goals)} goals are met.\n"


def main() -> None:
    """Read the reports, and print."""
    arguments = parser(__doc__, reports=False)
    arguments.add_argument("folder", type=Path, help="where the reports are")
    folder = arguments.parse_args().folder
    text = summary(collect(folder))
    (folder / NAME).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
