"""The runner of the conformance suite notices what it is there to notice."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.run import (
    CASES,
    COMPRESSION,
    FAMILIES,
    Failure,
    Options,
    judge,
    judge_compression,
    main,
    matches,
    parse,
    running_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_TAKEOVER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
WINDOW = "permessage-deflate; server_max_window_bits=9"

# Programs that stand in for a server: this one waits for SIGINT, and then does what follows.
WAIT = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print(1234, flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    """
DIE = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(1234, flush=True)
os._exit(3)
"""
# A server's stand-in that ends well if it was told one of the two modes.
TOLD = WAIT + "sys.exit(sys.argv[1:] not in (['no-takeover'], ['takeover']))"

# Stands in for the suite: it plays nothing, and finds what BEHAVIOR and AGREED say.
SUITE = """
import json, pathlib, sys
spec = json.loads(pathlib.Path(sys.argv[sys.argv.index("--spec") + 1]).read_text())
out, (server,) = pathlib.Path(spec["outdir"]), spec["servers"]
verdict = {"behavior": BEHAVIOR, "behaviorClose": "OK", "reportfile": "case.json"}
traffic = {"incomingWebSocketMessages": 1}
traffic |= {"incomingOctetsAppLevel": 1, "incomingOctetsWebSocketLevel": 2}
report = {"httpRequest": "", "httpResponse": AGREED, "trafficStats": traffic}
verdicts = {server["agent"]: dict.fromkeys(spec["cases"], verdict)}
(out / "index.json").write_text(json.dumps(verdicts))
(out / "case.json").write_text(json.dumps(report))
"""

Verdicts = dict[str, dict[str, Any]]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Groups 2 and 3."""
    return Options(
        wstest=tmp_path / "wstest",
        report=tmp_path,
        server=[],
        agent="server",
        scheme="ws",
        compression="takeover",
        cases=[case for case in CASES if case.startswith(("2.", "3."))],
        timeout=1.0,
    )


@pytest.fixture
def verdicts(options: Options) -> Verdicts:
    """All is well."""
    good = {"behavior": "OK", "behaviorClose": "OK"}
    return {case: dict(good) for case in options.cases}


def report(
    *, asked: str = "permessage-deflate", agreed: str, size: int = 2000, sent: int = 100
) -> dict[str, Any]:
    """Return the suite's report on a case of one message."""
    traffic = {
        "incomingWebSocketMessages": 1,
        "incomingOctetsAppLevel": size,
        "incomingOctetsWebSocketLevel": sent,
    }
    header = f"Upgrade: websocket\r\nSec-WebSocket-Extensions: {agreed}\r\n" if agreed else ""
    return {
        "httpRequest": f"GET / HTTP/1.1\r\nSEC-WEBSOCKET-EXTENSIONS: {asked}\r\nHost: a\r\n\r\n",
        "httpResponse": f"HTTP/1.1 101 Switching Protocols\r\n{header}Server: a\r\n\r\n",
        "trafficStats": traffic,
    }


def cases_for(*arguments: str) -> list[str]:
    cases: list[str] = parse(["--wstest", "wstest", "--report", "report", *arguments]).cases
    return cases


def test_there_are_517_cases() -> None:
    assert len(set(CASES)) == 517
    counts = Counter(int(case.partition(".")[0]) for case in CASES)
    assert list(counts) == [1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13]
    assert list(counts.values()) == [16, 11, 7, 10, 20, 145, 37, 54, 1, 90, 126]
    assert cases_for() == CASES


def test_the_sample_is_all_of_groups_1_to_10_and_some_of_every_family_of_12_and_13() -> None:
    sample = cases_for("--sample")
    short = [case for case in sample if matches(case, COMPRESSION)]
    assert [case for case in sample if case not in short] == CASES[:301]
    assert len(short) == 50
    families = [word.partition(":")[0] for word in FAMILIES.split()]
    for family in families[-12:]:
        assert {f"{family}.{number}" for number in (1, 4, 7, 11)} <= set(short)


def test_cases_are_chosen_by_group_and_pattern() -> None:
    assert cases_for("--groups", "3", "10") == [*(f"3.{n}" for n in range(1, 8)), "10.1.1"]
    assert cases_for("--cases", "13.*.1", "7.5.1") == ["7.5.1", *(f"13.{n}.1" for n in range(1, 8))]
    assert cases_for("--cases", "2.*", "--exclude", "2.1?", "2.[2-9]") == ["2.1"]
    assert cases_for("--groups", "13", "--cases", "*.9", "--sample") == ["13.1.9"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--groups", "8"],
        ["--cases", "12.6.*"],
        ["--exclude", "1"],
        ["--groups", "2", "--exclude", "2.*"],
        ["--compression", "brotli"],
        ["--repeat", "0"],
        ["--jobs", "0"],
    ],
    ids=" ".join,
)
def test_it_refuses_arguments_with_which_it_would_run_nothing(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cases_for(*arguments)


def test_it_is_content_when_all_is_well(options: Options, verdicts: Verdicts) -> None:
    verdicts["2.1"]["behavior"] = "INFORMATIONAL"
    assert judge(options, verdicts) == []


@pytest.mark.parametrize(
    "outcome", ["NON-STRICT", "FAILED", "UNIMPLEMENTED", "WRONG CODE", "UNCLEAN", "NEW"]
)
@pytest.mark.parametrize("which", ["behavior", "behaviorClose"])
def test_it_names_a_case_that_is_not_ok(
    options: Options, verdicts: Verdicts, which: str, outcome: str
) -> None:
    verdicts["3.2"][which] = outcome
    (complaint,) = judge(options, verdicts)
    assert complaint.startswith("case 3.2: ")
    assert outcome in complaint


def test_it_misses_a_case_that_did_not_run(options: Options, verdicts: Verdicts) -> None:
    del verdicts["2.11"], verdicts["3.7"]
    assert judge(options, verdicts) == ["2 of 18 cases did not run: 2.11, 3.7"]
    (complaint,) = judge(options, {})
    assert complaint.startswith("18 of 18 cases did not run: 2.1, ")


def test_it_notices_a_case_that_was_not_asked_for(options: Options, verdicts: Verdicts) -> None:
    verdicts["1.1.1"] = {"behavior": "OK", "behaviorClose": "OK"}
    assert judge(options, verdicts) == ["case 1.1.1 was not asked for"]


def test_it_reads_the_report_on_every_case_of_compression(options: Options) -> None:
    options = replace(options, cases=["10.1.1", "12.1.1", "13.7.18"])
    good = {"behavior": "OK", "behaviorClose": "OK"}
    verdicts = {case: {**good, "reportfile": f"{case}.json"} for case in options.cases}
    for case in ("12.1.1", "13.7.18"):
        (options.report / f"{case}.json").write_text(json.dumps(report(agreed="")))
    assert judge(options, verdicts) == [
        "case 12.1.1: compression was not agreed on",
        "case 13.7.18: compression was not agreed on",
    ]


@pytest.mark.parametrize(
    ("mode", "asked", "agreed"),
    [
        ("no-takeover", "permessage-deflate", NO_TAKEOVER),
        ("no-takeover", f"{WINDOW}, permessage-deflate", f"{NO_TAKEOVER}; {WINDOW}"),
        ("no-takeover", NO_TAKEOVER, f"{NO_TAKEOVER}; {WINDOW}"),
        ("takeover", "permessage-deflate", "permessage-deflate"),
        ("takeover", WINDOW, WINDOW.replace("9", "8")),
        ("takeover", NO_TAKEOVER, NO_TAKEOVER),
        ("takeover", f"{NO_TAKEOVER}, permessage-deflate", NO_TAKEOVER),
        ("takeover", f"{WINDOW}, {NO_TAKEOVER}, permessage-deflate", "permessage-deflate"),
    ],
)
def test_it_is_content_with_what_was_agreed_on(mode: str, asked: str, agreed: str) -> None:
    assert list(judge_compression(mode, "13.1.1", report(asked=asked, agreed=agreed))) == []


@pytest.mark.parametrize(
    ("mode", "asked", "agreed", "complaint"),
    [
        ("no-takeover", "permessage-deflate", "", "not agreed on"),
        ("no-takeover", "permessage-deflate", "x-deflate; permessage-deflates", "not agreed on"),
        ("no-takeover", "permessage-deflate", "permessage-deflate", "is not no-takeover"),
        ("no-takeover", NO_TAKEOVER, NO_TAKEOVER.partition("; client")[0], "is not no-takeover"),
        ("no-takeover", WINDOW, NO_TAKEOVER, "leaves out what was asked"),
        ("takeover", "permessage-deflate", NO_TAKEOVER, "is not takeover"),
        ("takeover", f"{WINDOW}, {WINDOW}; a", "permessage-deflate", "leaves out what was asked"),
        ("takeover", NO_TAKEOVER, "permessage-deflate", "leaves out what was asked"),
        ("takeover", WINDOW, "permessage-deflate", "leaves out what was asked"),
    ],
)
def test_it_notices_that_something_else_was_agreed_on(
    mode: str, asked: str, agreed: str, complaint: str
) -> None:
    (line,) = judge_compression(mode, "13.1.1", report(asked=asked, agreed=agreed))
    assert line.startswith("case 13.1.1: ")
    assert complaint in line


@pytest.mark.parametrize(
    ("case", "size", "sent", "good"),
    [
        ("12.1.4", 1024, 1023, True),
        ("12.1.4", 1024, 1024, False),
        ("13.7.18", 2000, 2005, False),
        ("12.3.1", 16, 18, True),
        ("12.2.4", 1024, 1024, True),
        ("12.5.18", 2000, 2005, True),
    ],
)
def test_it_notices_echoes_that_were_not_compressed(
    *, case: str, size: int, sent: int, good: bool
) -> None:
    agreed = report(agreed="permessage-deflate", size=size, sent=sent)
    complaints = list(judge_compression("takeover", case, agreed))
    expected = f"case {case}: {size} bytes were sent as {sent}, which is not compressed"
    assert complaints == ([] if good else [expected])


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("", "did not start"),
        ("print('hello')", "did not start"),
        (DIE, "(died|ended) with status 3"),
        (WAIT + "sys.exit(4)", "ended with status 4"),
        (WAIT + "sys.stderr.write('oh dear')", "complained:\noh dear"),
    ],
    ids=["no port", "no number", "dies", "bad end", "stderr"],
)
def test_it_notices_a_server_that_misbehaves(tmp_path: Path, program: str, complaint: str) -> None:
    with (
        pytest.raises(Failure, match=complaint),
        running_server([sys.executable, "-c", program], tmp_path / "server.log") as port,
    ):
        assert port == 1234


def test_a_server_that_behaves_is_stopped(tmp_path: Path) -> None:
    program = [sys.executable, "-c", WAIT + "pass"]
    with running_server(program, tmp_path / "server.log") as port:
        assert port == 1234


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """Run everything with a suite and a server that only pretend."""

    def run(suite: str, *arguments: str) -> int:
        (tmp_path / "server.py").write_text(TOLD)
        (tmp_path / "suite.py").write_text(suite)
        wstest = tmp_path / "wstest"
        wstest.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{tmp_path / 'suite.py'}' \"$@\"\n")
        wstest.chmod(0o755)
        server = f"'{sys.executable}' '{tmp_path / 'server.py'}' {{compression}}"
        files = ["--wstest", str(wstest), "--report", str(tmp_path / "report")]
        return main([*files, "--server", server, *arguments])

    return run


def suite(behavior: str = "OK", agreed: str = "permessage-deflate") -> str:
    head = f"HTTP/1.1 101 \r\nSec-WebSocket-Extensions: {agreed}\r\n\r\n"
    return SUITE.replace("BEHAVIOR", repr(behavior)).replace("AGREED", repr(head))


def test_every_mode_has_its_run_and_its_report(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--compression", "takeover", "no-takeover", "--groups", "1", "2", "--jobs", "2"]
    assert run(suite(), *arguments, "--repeat", "2") == 0
    output = capsys.readouterr().out
    for number in (1, 2):
        for mode in ("takeover", "no-takeover"):
            line = rf"run {number} of 2, {mode}: 27 cases: 27 OK; \d s\nThe report: .*/{mode}/index"
            assert re.search(line, output)
            assert (tmp_path / "report" / mode / "index.json").exists()


@pytest.mark.parametrize(
    ("suite", "complaint"),
    [
        (suite("UNIMPLEMENTED"), "2 UNIMPLEMENTED; . s\ncase 12.1.1: UNIMPLEMENTED, close: OK\n"),
        (suite(agreed=""), "2 OK; . s\ncase 12.1.1: compression was not agreed on\n"),
        (suite(agreed=NO_TAKEOVER), "is not takeover\n"),
        ("", "wstest wrote no report, see "),
        ("raise SystemExit(3)", "wstest ended with status 3, see "),
    ],
    ids=["unimplemented", "not agreed", "other mode", "no report", "bad end"],
)
def test_a_run_that_fails_says_why_and_is_the_last(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], suite: str, complaint: str
) -> None:
    arguments = ["--compression", "takeover", "--cases", "12.1.1", "13.1.1", "--repeat", "2"]
    assert run(suite, *arguments) == 1
    output = capsys.readouterr().out
    assert output.startswith("conformance run 1 of 2, takeover FAILED:\n")
    assert re.search(complaint, output)
    assert "run 2" not in output


def test_a_suite_that_hangs_is_given_up(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    suite = "import threading\nthreading.Event().wait()"
    assert run(suite, "--compression", "takeover", "--timeout", "0.5") == 1
    assert "not finished after 0.5 s, see " in capsys.readouterr().out


def test_it_tells_of_the_cases_and_of_the_server(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(suite("FAILED"), "--compression", "none", "--cases", "7.5.1") == 1
    output = capsys.readouterr().out
    assert re.search(
        "1 cases: 1 FAILED; . s\n"
        "case 7.5.1: FAILED, close: OK\n"
        "the server ended with status 1, see .*server.log\n",
        output,
    )


def test_one_mode_that_fails_is_a_failure(run: Callable[..., int]) -> None:
    assert run(suite(agreed=NO_TAKEOVER), "--groups", "13") == 1


def test_the_suite_and_the_server_are_told_the_scheme(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = f"'{sys.executable}' -c '{WAIT}sys.exit(sys.argv[1:] != [\"wss\"])' {{scheme}}"
    arguments = ["--scheme", "wss", "--compression", "takeover", "--groups", "2"]
    assert run(suite(), *arguments, "--server", server) == 0
    assert "conformance run 1 of 1 over wss, takeover: 11 cases" in capsys.readouterr().out
    spec = json.loads((tmp_path / "report" / "takeover" / "spec.json").read_text())
    assert spec["servers"][0]["url"] == "wss://127.0.0.1:1234"


def test_results_of_an_earlier_run_do_not_count(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--compression", "takeover", "--groups", "2"]
    assert run(suite(), *arguments) == 0
    assert run("", *arguments) == 1
    assert "wstest wrote no report" in capsys.readouterr().out
