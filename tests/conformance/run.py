"""Run Autobahn|Testsuite against an echo server, and be strict about the result.

The suite's "fuzzing client" plays every case of the groups below against the server and writes an
HTML report. Each case has two verdicts: on the server's behaviour, and on how it closed the
connection. Here both must be OK, or INFORMATIONAL where the suite only takes note; its NON-STRICT,
which forgives a wrong order or a late failure, is a failure. So is a case that did not run.

    python tests/conformance/run.py --wstest .cache/autobahn/wstest --report reports/autobahn

Exit status: 0 if all is well, 1 if a case failed or is missing, or if the server did not start,
end cleanly, or stay silent on stderr. 2 for wrong arguments.
"""

import argparse
import contextlib
import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# How many cases each group has. The suite's own count is not good enough: it says nothing about
# cases that a pattern missed.
CASES = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1}
GOOD = {"OK", "INFORMATIONAL"}
AGENT = "handy_ws"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0


class Failure(Exception):  # noqa: N818 - the result of a run, not an error in this program
    """The run has failed, and why: one line each."""


@dataclass(frozen=True)
class Options:
    """What to run, and against what."""

    wstest: Path
    report: Path
    server: Sequence[str]
    groups: Sequence[int]
    timeout: float

    @property
    def expected(self) -> int:
        """The number of cases."""
        return sum(CASES[group] for group in self.groups)


@contextlib.contextmanager
def running_server(command: Sequence[str], log: Path) -> Iterator[int]:
    """Start a server, yield the port that it prints first, and stop it with SIGINT.

    Raises:
        Failure: it did not start, did not end cleanly, or wrote something to stderr.
    """
    with log.open("wb") as errors:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    watchdog = threading.Timer(START_TIMEOUT, server.kill)
    try:
        watchdog.start()
        line = server.stdout.readline() if server.stdout else b""
        watchdog.cancel()
        if not line.strip().isdigit():
            raise Failure(f"the server did not start: {line!r}, see {log}")
        yield int(line)
        if server.poll() is not None:
            raise Failure(f"the server died with status {server.returncode}, see {log}")
        server.send_signal(signal.SIGINT)
        if server.wait(STOP_TIMEOUT) != 0:
            raise Failure(f"the server ended with status {server.returncode}, see {log}")
    except subprocess.TimeoutExpired:
        raise Failure(f"the server did not stop within {STOP_TIMEOUT:g} s") from None
    finally:
        watchdog.cancel()
        server.kill()
        server.communicate()
    if log.stat().st_size:
        raise Failure(f"the server complained:\n{log.read_text(errors='replace')[-2000:]}")


def play(options: Options, port: int) -> dict[str, dict[str, Any]]:
    """Play all cases, and return the suite's verdicts by the number of the case.

    Raises:
        Failure: it takes too long, or leaves no report.
    """
    report = options.report.resolve()
    index = report / "index.json"
    index.unlink(missing_ok=True)  # or the results of another run might pass for this one's
    spec = report / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "outdir": str(report),
                "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}],
                "cases": [f"{group}.*" for group in options.groups],
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    log = report / "wstest.log"
    command = [str(options.wstest.resolve()), "--mode", "fuzzingclient", "--spec", str(spec)]
    with log.open("wb") as output:
        try:
            subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=report,
                timeout=options.timeout,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"not finished after {options.timeout:g} s, see {log}") from None
        except subprocess.CalledProcessError as error:
            raise Failure(f"wstest ended with status {error.returncode}, see {log}") from None
    if not index.exists():
        raise Failure(f"wstest wrote no report, see {log}")
    verdicts: dict[str, dict[str, Any]] = json.loads(index.read_text()).get(AGENT, {})
    return verdicts


def judge(options: Options, verdicts: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is wrong, a line each."""
    ran = Counter(int(case.partition(".")[0]) for case in verdicts)
    complaints = [
        f"group {group}: {ran[group]} of {CASES[group]} cases ran"
        for group in options.groups
        if ran[group] != CASES[group]
    ]
    for case, verdict in verdicts.items():
        behavior, close = verdict["behavior"], verdict["behaviorClose"]
        if not {behavior, close} <= GOOD:
            complaints.append(f"case {case}: {behavior}, close: {close}")
    return complaints


def run_once(options: Options) -> str:
    """Start the server, play all cases, and return a line about the result.

    Raises:
        Failure: something is wrong.
    """
    options.report.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with running_server(options.server, options.report / "server.log") as port:
        verdicts = play(options, port)
    if complaints := judge(options, verdicts):
        raise Failure("\n".join(complaints))
    counts = Counter(verdict["behavior"] for verdict in verdicts.values())
    summary = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), reverse=True))
    return f"{options.expected} cases: {summary}; {time.monotonic() - start:.0f} s"


def group_number(text: str) -> int:
    """Read the number of a group that exists."""
    if not text.isdigit() or int(text) not in CASES:
        raise argparse.ArgumentTypeError(f"there is no group {text!r}, only {sorted(CASES)}")
    return int(text)


def main() -> int:
    """Run it as often as asked, until it fails."""
    parser = argparse.ArgumentParser(description="Run the WebSocket conformance suite, strictly.")
    parser.add_argument("--wstest", type=Path, required=True, help="made by ./install")
    parser.add_argument("--report", type=Path, required=True, help="directory for the report")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run N times in a row")
    parser.add_argument("--groups", type=group_number, nargs="+", default=list(CASES), metavar="N")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one run")
    parser.add_argument(
        "--server",
        type=shlex.split,
        default=[sys.executable, str(Path(__file__).with_name("server.py"))],
        help="another server's command; it prints its port first and ends at SIGINT",
    )
    arguments = vars(parser.parse_args())
    repeat = arguments.pop("repeat")
    options = Options(**arguments)
    for number in range(1, repeat + 1):
        try:
            print(f"conformance run {number} of {repeat}: {run_once(options)}", flush=True)
        except Failure as failure:
            print(f"conformance run {number} of {repeat} FAILED:\n{failure}", flush=True)
            print(f"The report: {options.report / 'index.html'}")
            return 1
    print(f"The report: {options.report / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
