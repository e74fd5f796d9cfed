"""Run Autobahn|Testsuite against an echo server, and be strict about the result.

The suite's "fuzzing client" plays its cases against the server and writes an HTML report. Each case
has two verdicts: on the server's behaviour, and on how it closed the connection. Here both must be
OK, or INFORMATIONAL where the suite only takes note. Its NON-STRICT, which forgives a wrong order
or a late failure, is a failure; so is its UNIMPLEMENTED, which is the suite's word for a server
that does not compress, and a case that did not run.

    python tests/conformance/run.py --wstest .cache/autobahn/wstest --report reports/autobahn

That plays all 517 cases twice: without context takeover and with it, each against a server of its
own and with its own report. Groups 12 and 13, compression, take nearly all of the time. `--sample`
plays only the short cases of these two, though some of every family.

A case can be OK although the server has compressed nothing, or with other parameters than it was
told. So for groups 12 and 13 the handshake and the sizes of the echoes are checked as well.

Exit status: 0 if all is well, 1 if a case failed or is missing, or if the server did not start,
end cleanly, or stay silent on stderr. 2 for wrong arguments.
"""

import argparse
import contextlib
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

# How many cases each family has; they are numbered from 1. The suite's own list is not good enough:
# it says nothing about what a pattern missed, and its patterns match more than one thinks.
FAMILIES = """
    1.1:8 1.2:8 2:11 3:7 4.1:5 4.2:5 5:20
    6.1:3 6.2:4 6.3:2 6.4:4 6.5:5 6.6:11 6.7:4 6.8:2 6.9:4 6.10:3 6.11:5 6.12:8 6.13:5 6.14:10
    6.15:1 6.16:3 6.17:5 6.18:5 6.19:5 6.20:7 6.21:8 6.22:34 6.23:7
    7.1:6 7.3:6 7.5:1 7.7:13 7.9:9 7.13:2
    9.1:6 9.2:6 9.3:9 9.4:9 9.5:6 9.6:6 9.7:6 9.8:6 10.1:1
    12.1:18 12.2:18 12.3:18 12.4:18 12.5:18
    13.1:18 13.2:18 13.3:18 13.4:18 13.5:18 13.6:18 13.7:18
"""
CASES = [
    f"{family}.{number}"
    for family, _, count in (word.partition(":") for word in FAMILIES.split())
    for number in range(1, int(count) + 1)
]
GROUPS = sorted({int(case.partition(".")[0]) for case in CASES})
COMPRESSION = ("12.*", "13.*")
# A thousand messages each: of 16 bytes, 1 KiB, 16 KiB, 8 KiB in fragments of 256 bytes, and for one
# family of each group 64 KiB, which is more than the largest window.
SAMPLE = ("1[23].*.1", "1[23].*.4", "1[23].*.7", "1[23].*.11", "1[23].1.9")

MODES = ("none", "no-takeover", "takeover")
EXTENSION = "permessage-deflate"
NO_TAKEOVER = {"server_no_context_takeover", "client_no_context_takeover"}
ASKED_OF_THE_SERVER = {"server_no_context_takeover", "server_max_window_bits"}
GOOD = {"OK", "INFORMATIONAL"}
# Whoever compresses makes messages from this size on smaller: with all data but 12.2's picture and
# 12.5's PDF, for which a server may be right to send a message as it is.
WORTH_COMPRESSING = 1024
HARD_TO_COMPRESS = ("12.2.*", "12.5.*")
# The suite waits a second for an answer to its CLOSE, and another for the end of TCP.
# A machine that others use, too, may stand still for longer, and that is no fault of a server.
PATIENT = ("closeHandshakeTimeout", "serverConnectionDropTimeout")
PATIENCE = 10.0
START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0

Verdicts = Mapping[str, Mapping[str, Any]]


class Failure(Exception):  # noqa: N818 - the result of a run, not an error in this program
    """The run has failed, and why: one line each."""


@dataclass(frozen=True)
class Options:
    """What to run, and against what."""

    wstest: Path
    report: Path
    server: Sequence[str]
    agent: str
    scheme: str
    compression: str
    cases: Sequence[str]
    timeout: float


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


def play(options: Options, port: int) -> Verdicts:
    """Play the cases, and return the suite's verdicts by the number of the case.

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
                "options": dict.fromkeys(PATIENT, PATIENCE),
                "servers": [
                    {"agent": options.agent, "url": f"{options.scheme}://127.0.0.1:{port}"}
                ],
                "cases": list(options.cases),
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
    verdicts: Verdicts = json.loads(index.read_text()).get(options.agent, {})
    return verdicts


def judge(options: Options, verdicts: Verdicts) -> list[str]:
    """Return what is wrong, a line each."""
    complaints = []
    if missing := [case for case in options.cases if case not in verdicts]:
        count = f"{len(missing)} of {len(options.cases)}"
        complaints.append(f"{count} cases did not run: {', '.join(missing)}")
    complaints += [f"case {case} was not asked for" for case in verdicts.keys() - options.cases]
    for case, verdict in verdicts.items():
        behavior, close = verdict["behavior"], verdict["behaviorClose"]
        if not {behavior, close} <= GOOD:
            complaints.append(f"case {case}: {behavior}, close: {close}")
        elif matches(case, COMPRESSION):
            report = json.loads((options.report / verdict["reportfile"]).read_text())
            complaints += judge_compression(options.compression, case, report)
    return complaints


def judge_compression(mode: str, case: str, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a case of groups 12 and 13 that the suite thinks good."""
    offers, (agreed, *_) = extensions(report["httpRequest"]), extensions(report["httpResponse"])
    if EXTENSION not in agreed:
        yield f"case {case}: compression was not agreed on"
        return
    answer = f"case {case}: the answer {'; '.join(sorted(agreed))}"
    if not any(offer & ASKED_OF_THE_SERVER <= agreed for offer in offers):
        yield f"{answer} leaves out what was asked for"
    # Whether the client may take over its context is the server's choice in the mode with
    # takeover, since the suite's client always offers to go without.
    broken = NO_TAKEOVER - agreed if mode == "no-takeover" else agreed - set().union(*offers)
    if broken & NO_TAKEOVER:
        yield f"{answer} is not {mode}"
    traffic = report["trafficStats"]
    size, on_the_wire = traffic["incomingOctetsAppLevel"], traffic["incomingOctetsWebSocketLevel"]
    large = size >= WORTH_COMPRESSING * traffic["incomingWebSocketMessages"]
    if large and on_the_wire >= size and not matches(case, HARD_TO_COMPRESS):
        yield f"case {case}: {size} bytes were sent as {on_the_wire}, which is not compressed"


def extensions(head: str) -> list[set[str]]:
    """Return the name and the parameters, without values, of each extension in a head of HTTP."""
    lines = ",".join(re.findall(r"(?im)^sec-websocket-extensions:(.*)$", head))
    return [
        {word.partition("=")[0].strip() for word in extension.split(";")}
        for extension in lines.split(",")
    ]


def run_once(options: Options) -> str:
    """Start the server, play the cases, and return a line about the result.

    Raises:
        Failure: something is wrong; with the line, if there is a result.
    """
    options.report.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    command = [
        part.replace("{scheme}", options.scheme).replace("{compression}", options.compression)
        for part in options.server
    ]
    text, complaints = [], []
    try:
        with running_server(command, options.report / "server.log") as port:
            verdicts = play(options, port)
            text = [f"{summary(verdicts)}; {time.monotonic() - start:.0f} s"]
            complaints = judge(options, verdicts)
    except Failure as failure:  # the cases may tell why the server is not well
        complaints.append(str(failure))
    if complaints:
        raise Failure("\n".join(text + complaints))
    return text[0]


def summary(verdicts: Verdicts) -> str:
    """Count the cases and the verdicts on their behaviour."""
    counts = Counter(verdict["behavior"] for verdict in verdicts.values())
    words = [f"{count} {behavior}" for behavior, count in sorted(counts.items(), reverse=True)]
    return f"{len(verdicts)} cases: {', '.join(words)}"


def run_and_tell(title: str, options: Options) -> bool:
    """Run once, print how it went and where the report is, and return whether all is well."""
    over = "" if options.scheme == "ws" else f" over {options.scheme}"
    title = f"{title}{over}, {options.compression}"
    try:
        text, good = f"{title}: {run_once(options)}", True
    except Failure as failure:
        text, good = f"{title} FAILED:\n{failure}", False
    # In one piece, since another run may be printing too.
    print(f"{text}\nThe report: {options.report / 'index.html'}", flush=True)
    return good


def matches(case: str, patterns: Sequence[str]) -> bool:
    """Tell whether a case is one of these."""
    return any(fnmatchcase(case, pattern) for pattern in patterns)


def pattern(text: str) -> str:
    """Check that there are such cases."""
    if not any(fnmatchcase(case, text) for case in CASES):
        raise argparse.ArgumentTypeError(f"there is no case {text!r}")
    return text


def positive(text: str) -> int:
    """Read a number of things, at least one."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def select(arguments: argparse.Namespace) -> list[str]:
    """Return the cases that the arguments ask for."""
    groups = [f"{group}.*" for group in arguments.groups]
    return [
        case
        for case in CASES
        if matches(case, groups)
        and matches(case, arguments.cases)
        and not matches(case, arguments.exclude)
        and not (arguments.sample and matches(case, COMPRESSION) and not matches(case, SAMPLE))
    ]


def parse(command_line: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; the cases of the result are those to run."""
    parser = argparse.ArgumentParser(description="Run the WebSocket conformance suite, strictly.")
    add = parser.add_argument
    add("--wstest", type=Path, required=True, help="made by ./install")
    add("--report", type=Path, required=True, help="directory for the reports, one per mode")
    add("--scheme", choices=("ws", "wss"), default="ws", help="wss is by TLS")
    add("--compression", choices=MODES, nargs="+", default=MODES[1:], help="modes, one run each")
    add("--jobs", type=positive, default=1, metavar="N", help="run N modes at the same time")
    add("--groups", type=int, choices=GROUPS, nargs="+", default=GROUPS, metavar="N")
    add("--cases", type=pattern, nargs="+", default=["*"], metavar="PATTERN", help="like '12.1.*'")
    add("--exclude", type=pattern, nargs="+", default=[], metavar="PATTERN")
    add("--sample", action="store_true", help="only the sample of groups 12 and 13")
    add("--repeat", type=positive, default=1, metavar="N", help="run N times in a row")
    add("--timeout", type=float, default=3600.0, help="seconds for one run")
    add("--agent", default="handy_ws", help="the server's name in the reports")
    add(
        "--server",
        type=shlex.split,
        default=[
            *(sys.executable, str(Path(__file__).with_name("server.py"))),
            *("--scheme", "{scheme}", "--compression", "{compression}"),
        ],
        help="another server's command, in which {scheme} and {compression} stand for those; "
        "it prints its port first and ends at SIGINT",
    )
    arguments = parser.parse_args(command_line)
    arguments.cases = select(arguments)
    if not arguments.cases:
        parser.error("no cases are left")
    return arguments


def main(command_line: Sequence[str] | None = None) -> int:
    """Run it as often as asked, until it fails."""
    arguments = parse(command_line)
    all_options = [
        Options(
            wstest=arguments.wstest,
            report=arguments.report / mode,
            server=arguments.server,
            agent=arguments.agent,
            scheme=arguments.scheme,
            compression=mode,
            cases=arguments.cases,
            timeout=arguments.timeout,
        )
        for mode in dict.fromkeys(arguments.compression)
    ]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for number in range(1, arguments.repeat + 1):
            title = f"conformance run {number} of {arguments.repeat}"
            if not all(list(pool.map(partial(run_and_tell, title), all_options))):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
