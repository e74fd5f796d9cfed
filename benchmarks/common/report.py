"""What a program prints: Markdown for people, then all of it as one line of JSON.

Figures without the machine and the versions mean nothing, so these are part of every report.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import inspect
import json
import os
import platform
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Report",
    "Table",
    "Verdict",
    "add_loops",
    "add_servers",
    "parser",
    "progress",
    "whole_number",
]


@dataclasses.dataclass
class Table:
    """A table: its heading, the names of its columns, and rows of texts."""

    heading: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = dataclasses.field(default_factory=list)

    def markdown(self) -> str:
        """Return it as Markdown; columns of numbers are aligned to the right."""
        rule = ["---:" if self._has_numbers(i) else "---" for i in range(len(self.columns))]
        lines = [self.columns, rule, *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"### {self.heading}\n\n{table}\n"

    def _has_numbers(self, column: int) -> bool:
        return all(row[column][:1].isdigit() for row in self.rows if row[column])


class Verdict(NamedTuple):
    """A goal, what was measured, and whether that is good enough; `goals` collects them."""

    goal: str
    figure: str
    is_met: bool


@dataclasses.dataclass
class Report:
    """All that a program has found out.

    Attributes:
        program: its name.
        settings: how it was called.
        packages: those whose versions matter.
        tables: for people.
        notes: what must be known to read the tables, a paragraph each.
        data: every single measurement, for programs.
        goals: those that it has a figure for.
    """

    program: str
    settings: dict[str, Any]
    packages: Sequence[str] = ("handy-ws",)
    tables: list[Table] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    data: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    goals: list[Verdict] = dataclasses.field(default_factory=list)

    def publish(self, folder: Path | None = None) -> None:
        """Print it on the standard output, and write it to a folder if there is one."""
        machine = _machine()
        versions = _versions(self.packages)
        named = ", ".join(f"{name} {version}" for name, version in versions.items())
        text = "\n".join(
            [
                f"## {self.program}\n",
                *(table.markdown() for table in self.tables),
                *(f"{note}\n" for note in self.notes),
                f"{named}; {', '.join(str(value) for value in machine.values())}.\n",
            ]
        )
        everything = {
            "program": self.program,
            "machine": machine,
            "versions": versions,
            # Where it was written to is nobody's business.
            "settings": {key: value for key, value in self.settings.items() if key != "report"},
            "measurements": self.data,
            "goals": [goal._asdict() for goal in self.goals],
        }
        data = json.dumps(everything)
        print(text)
        print(data)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            name = self.program.lower().replace(" ", "-")
            (folder / f"{name}.md").write_text(text)
            (folder / f"{name}.json").write_text(data + "\n")


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Return those of the packages that are installed; not every run needs all of them."""
    installed = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def _machine() -> dict[str, Any]:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "python": f"CPython {platform.python_version()}",
        "zlib": f"Python's zlib {zlib.ZLIB_RUNTIME_VERSION}",
        "kernel": f"Linux {platform.release()}",
        "processor": names[0] if names else platform.machine(),
        "cores": f"{os.cpu_count()} cores",
        "load": f"load average {os.getloadavg()[0]:.1f} at the end",
    }


def parser(documentation: str | None, *, reports: bool = True) -> argparse.ArgumentParser:
    """Return a parser whose `--help` begins with the program's documentation.

    It knows `--report`, for `Report.publish`, unless the program has no such report.
    """
    arguments = argparse.ArgumentParser(
        description=inspect.cleandoc(documentation or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if reports:
        arguments.add_argument("--report", type=Path, help="a folder to write everything to")
    return arguments


def add_servers(
    arguments: argparse.ArgumentParser,
    names: Iterable[str],
    default: Sequence[str] | None = None,
) -> None:
    """Let the command line choose those that are measured beside handy_ws."""
    everybody = list(names)
    chosen = everybody if default is None else list(default)
    arguments.add_argument(
        "--servers",
        nargs="*",
        choices=everybody,
        default=chosen,
        metavar="NAME",
        help=f"which, beside handy_ws: {', '.join(everybody)};"
        f" default {'all' if chosen == everybody else ', '.join(chosen) or 'none'}",
    )


def add_loops(arguments: argparse.ArgumentParser) -> None:
    """Let the command line choose what servers on asyncio run on."""
    loops = ("asyncio", "uvloop")
    arguments.add_argument("--loops", nargs="+", choices=loops, default=list(loops))


def whole_number(text: str) -> int:
    """Read a number that is at least 1, for `argparse`."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def progress(text: str) -> None:
    """Say on the standard error what is going on."""
    print(text, file=sys.stderr, flush=True)
