"""Instructions of fixed works, which must not grow: `make counts`, a part of `make check`.

A time depends on what else the machine does; the number of instructions that callgrind counts does
not, and so a small step back can be seen on any machine, before it is merged. Each work (a program
in Rust, benchmarks/native/src/bin/counts) is done again and again under valgrind, and only the work
itself is counted: no preparations, no other threads, and of the system's calls nothing but the way
into the kernel. The program fails if a work takes more instructions than benchmarks/counts.json
says, beyond the tolerance, and tells if one takes fewer. `--update` writes that file anew: if the
work has become better, or has become dearer for a good reason, which belongs into the commit.

Fewer instructions are not always less time. This is a guard against steps back that nobody has
intended; what is faster, `benchmarks.compare` says.

Counts depend on the compiler, a little on the C library, and on the processor: programs choose
their vector instructions by what it has, and callgrind shows them what the real one has, up to
AVX2. The baseline says where it was made. On another kind of processor nothing is judged; with
other versions it is, and if that fails, the message says what is different.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.native import native
from benchmarks.common.report import Table, parser, progress, whole_number

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

BASELINE = Path(__file__).with_suffix(".json")
# The environment of what is counted, and all of it: the stack begins with it. memcpy is not to use
# `rep movsb`, of which each byte counts for one instruction, where some versions of glibc do so.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-ERMS"}
# The function in Rust in which it is counted.
COUNTED = "counts::counted"
# How often something is tried that has been interfered with; once should do.
ATTEMPTS = 3
NOTE = f"Instructions for each unit of a work, beside those in {BASELINE.name}."


class Verdict(enum.StrEnum):
    """What a comparison comes to."""

    SAME = "as before"
    MORE = "MORE"
    FEWER = "fewer: update the baseline"
    NEW = "NOT IN THE BASELINE"
    GONE = "NOT COUNTED"

    @property
    def is_failure(self) -> bool:
        """Whether it is to be looked at before anything is merged."""
        return self in {Verdict.MORE, Verdict.NEW, Verdict.GONE}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A work, and the instructions for each unit of it: in the baseline, and now."""

    work: str
    before: float | None
    now: float | None
    tolerance: float

    @property
    def change(self) -> float | None:
        """By how much it has grown, in percent of what it was."""
        if self.before is None or self.now is None:
            return None
        return (self.now / self.before - 1) * 100

    @property
    def verdict(self) -> Verdict:
        """What is to be thought of it."""
        if self.change is None:
            return Verdict.NEW if self.before is None else Verdict.GONE
        if abs(self.change) <= self.tolerance:
            return Verdict.SAME
        return Verdict.MORE if self.change > 0 else Verdict.FEWER

    def __str__(self) -> str:
        change = "" if self.change is None else f" {self.change:+.1f} %"
        return f"{self.work}{change}: {self.verdict}"


def compare(
    baseline: Mapping[str, float], counts: Mapping[str, float], tolerance: float
) -> list[Comparison]:
    """Compare the counts of all works that are in either; the tolerance is in percent."""
    return [
        Comparison(work, baseline.get(work), counts.get(work), tolerance)
        for work in {**counts, **baseline}
    ]


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Tell what is not as it was when the baseline was made; empty if everything is."""
    changed = [key for key in now if then.get(key) != now[key]]
    return "; ".join(f"{then.get(key, f'unknown {key}')} then, {now[key]} now" for key in changed)


def collected(profile: str) -> int:
    """Read how many instructions were counted from a file of callgrind's.

    Raises:
        ValueError: none was.
    """
    totals = [line for line in profile.splitlines() if line.startswith("totals:")]
    total = sum(int(line.split()[1]) for line in totals)
    if total == 0:
        raise ValueError(f"callgrind has seen no call of {COUNTED}")
    return total


@dataclasses.dataclass
class Counter:
    """Has works done under callgrind, and keeps what it writes in a folder."""

    program: Path
    folder: Path
    repetitions: int
    units: dict[str, str] = dataclasses.field(default_factory=dict)

    def works(self) -> list[str]:
        """Return the names of all works."""
        names: list[str] = json.loads(self._run())
        return names

    def count(self, work: str) -> float:
        """Return the instructions for each unit of a work."""
        for _ in range(ATTEMPTS):
            progress(f"counting {work}")
            if (count := self._attempt(work)) is not None:
                return count
        raise SystemExit(f"{work}: the machine is too busy, other threads have done a part of it")

    def _attempt(self, work: str) -> float | None:
        """Count once; `None` if it was not all done where it is counted."""
        profile = self.folder / f"callgrind.out.{work}"
        valgrind = ("valgrind", "--quiet", "--tool=callgrind", f"--toggle-collect={COUNTED}")
        command = (*valgrind, f"--callgrind-out-file={profile}")
        done = json.loads(self._run(*command, arguments=(work, str(self.repetitions))))
        self.units[work] = done["unit"]
        if done["takeovers"]:
            return None
        return round(collected(profile.read_text()) / int(done["units"]), 2)

    def _run(self, *command: str, arguments: Sequence[str] = ()) -> str:
        # By its name alone, since that is on the stack, too.
        call = [*command, f"./{self.program.name}", *arguments]
        done = subprocess.run(
            call,
            executable=shutil.which(command[0]) if command else None,
            cwd=self.program.parent,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(call)} has failed:\n{done.stderr}")
        return done.stdout


def surroundings() -> dict[str, str]:
    """Return what counts depend on, beside what is counted."""
    machine = platform.machine()
    flags = Path("/proc/cpuinfo").read_text().split()
    return {
        "machine": f"{machine} with AVX2" if "avx2" in flags else machine,
        "rustc": _version("rustc"),
        "valgrind": _version("valgrind"),
        "libc": " ".join(platform.libc_ver()),
    }


def _version(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is missing: `make counts` installs what can be installed")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def table(comparisons: Sequence[Comparison], units: Mapping[str, str]) -> Table:
    """Return a row for each work."""
    columns = ("work", "unit", "baseline", "now", "change", "")
    rows: list[Sequence[str]] = [
        (
            one.work,
            units.get(one.work, ""),
            "" if one.before is None else f"{one.before:,.1f}",
            "" if one.now is None else f"{one.now:,.1f}",
            "" if one.change is None else f"{one.change:+.1f} %",
            one.verdict,
        )
        for one in comparisons
    ]
    return Table("Instruction counts", columns, rows)


def judge(comparisons: Sequence[Comparison], different: str) -> None:
    """Say what is not as it was.

    Raises:
        SystemExit: some work takes too many instructions, or cannot be compared.
    """
    for one in comparisons:
        if one.verdict is Verdict.FEWER:
            progress(str(one))
    failed = [one for one in comparisons if one.verdict.is_failure]
    if not failed:
        return
    lines = ["", "The works do not take what they took:", *(f"  {one}" for one in failed)]
    if different:
        lines.append(f"The baseline was made elsewhere, which may be the reason: {different}.")
    lines.append("What has grown: --keep FOLDER, and callgrind_annotate on the files in it.")
    lines.append(f"If it is to be so: --update, and {BASELINE.name} belongs into the commit.")
    raise SystemExit("\n".join(lines))


def options() -> argparse.ArgumentParser:
    """Return what the command line can say."""
    arguments = parser(__doc__, reports=False)
    either = arguments.add_mutually_exclusive_group()
    either.add_argument("--update", action="store_true", help=f"write {BASELINE.name}")
    either.add_argument("--works", nargs="+", metavar="NAME", help="only these")
    arguments.add_argument("--tolerance", type=float, default=3.0, help="in percent; default 3")
    arguments.add_argument("--repetitions", type=whole_number, default=20, help="default 20")
    arguments.add_argument("--keep", type=Path, metavar="FOLDER", help="for callgrind's files")
    return arguments


def main() -> None:
    """Count, compare and report."""
    chosen = options().parse_args()
    here = surroundings()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        counter = Counter(Path(native("counts")), folder, chosen.repetitions)
        counts = {work: counter.count(work) for work in chosen.works or counter.works()}
    baseline: dict[str, Any] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    then, before = baseline.get("made_with", {}), baseline.get("instructions", {})
    if chosen.works:
        before = {work: count for work, count in before.items() if work in counts}
    comparisons = compare(before, counts, chosen.tolerance)
    data = {"made_with": here, "instructions": counts}
    print(table(comparisons, counter.units).markdown())
    print(f"{NOTE} Counted with {', '.join(here.values())}.\n")
    print(json.dumps(data), flush=True)
    if chosen.update:
        BASELINE.write_text(json.dumps(data, indent=4) + "\n")
        progress(f"{BASELINE.name} is written")
    elif then.get("machine", here["machine"]) != here["machine"]:
        progress(f"Nothing is judged: the baseline is of another machine, {then['machine']}.")
    else:
        judge(comparisons, differences(then, here))


if __name__ == "__main__":
    main()
