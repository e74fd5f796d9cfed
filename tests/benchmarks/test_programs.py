"""Every benchmark program runs, with as little to do as it can have, and prints what it should.

Nothing here looks at a time: what is measured on a busy machine says nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(program: str, *arguments: str) -> tuple[str, dict[str, Any]]:
    """Return the tables and the JSON that a program prints."""
    command = [sys.executable, "-m", f"benchmarks.{program}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tables, _, last_line = done.stdout.rstrip().rpartition("\n")
    return tables, json.loads(last_line)


def test_memory() -> None:
    tables, data = run("memory", "--connections", "10", "--earlier", "2", "--windows", "10")
    none, without, takeover = data["measurements"]
    assert (none["extensions"], without["name"]) == ("", "no takeover")
    assert "server_no_context_takeover" in without["extensions"]
    assert "server_max_window_bits=10" in takeover["extensions"]
    steps = ["open", "uncompressed", "received", "exchanged", "full"]
    assert list(takeover["bytes_per_connection"]) == steps
    assert "| takeover, 10 bits |" in tables


def test_broadcast() -> None:
    few = ("--connections", "5", "--rounds", "2", "--broadcasts", "3", "--warm-up", "1")
    tables, data = run("broadcast", *few)
    plain, without, takeover = data["measurements"]
    assert plain["wire_bytes"] == without["wire_bytes"] == takeover["wire_bytes"] < 1024
    for one in data["measurements"]:
        assert [cost > 0 for cost in one["microseconds"]] == [True, True]
    assert "| takeover (`permessage-deflate`) |" in tables


def test_levels() -> None:
    few = ("--levels", "1", "9", "--sizes", "300", "--rounds", "1", "--messages", "20")
    tables, data = run("levels", *few)
    none, fastest, _, smallest, takeover = data["measurements"]
    assert none["percent"] == 100
    assert fastest["percent"] > smallest["percent"] > takeover["percent"]
    assert [one["microseconds"][0] > 0 for one in data["measurements"]] == [True] * 5
    assert "| level 9, takeover |" in tables


def test_echo_of_handy_ws_alone() -> None:
    few = ("--connections", "3", "--rounds", "1", "--messages", "20", "--warm-up", "5")
    tables, data = run("echo", "--servers", "--depths", "1", "4", *few)
    names = [(one["server"], one["setting"]) for one in data["measurements"]]
    assert names[:2] == [("handy_ws", "no-takeover"), ("handy_ws", "takeover")]
    for one in data["measurements"]:
        assert one["compressed"]
        assert one["answer_sizes"] < 1024
        for depth in ("1", "4"):
            (figures,) = one["figures"][depth]
            assert figures["messages"] >= 20
            assert figures["server_cpu"] > 0
    assert "### 4 in flight on each connection" in tables


def test_bomb() -> None:
    tables, data = run("bomb", "--rounds", "1")
    codes = {one["attack"]: one["codes"] for one in data["measurements"]}
    assert codes == {
        "none": [],
        "whole": [1009],
        "fragments": [1009],
        "small": [1009],
        "legal": [None],
        "legal, 50": [None] * 50,
    }
    assert "| legal, 50 | all answered |" in tables


def test_blocked() -> None:
    few = ("--seconds", "1", "--clients", "10", "--servers")
    tables, data = run("blocked", "--modes", "none", "hold", *few)
    none, hold = data["measurements"]
    assert (none["mode"], hold["mode"]) == ("none", "hold")
    for one in (none, hold):
        assert len(one["pongs"]) >= 100
        assert one["unanswered"] == 0
        assert one["broadcasts"]
    assert "| hold |" in tables


def test_idle() -> None:
    few = ("--connections", "10", "--seconds", "1", "--crowds", "20", "40")
    tables, data = run("idle", "--servers", *few)
    quiet, default, memory = data["measurements"]
    assert memory["server"] == "handy_ws"
    assert set(memory["bytes_per_connection"]) == {"20", "40"}
    assert (quiet["ping_interval"], quiet["pings"]) == (1e6, 0)
    assert default["ping_interval"] == 20.0
    assert "| no PINGs |" in tables


def test_slow() -> None:
    few = ("--connections", "8", "--silent", "2", "--rounds", "2", "--broadcasts", "5")
    tables, data = run("slow", *few, "--limit", "65536")
    policies = [one["policy"] for one in data["measurements"]]
    assert policies == ["close", "drop_newest", "drop_oldest"]
    for one in data["measurements"]:
        assert [ratio > 0 for ratio in one["ratios"]] == [True, True]
        assert one["stats"]["messages_sent"] == one["received"]
        assert one["stats"]["messages_dropped"] > 0
        if one["policy"] != "close":
            lost = one["expected"] - one["received"]
            assert one["stats"]["messages_dropped"] == lost
    assert "| drop_oldest |" in tables


def test_requests() -> None:
    # wrk counts whole seconds: one of each server before those that count, and one that does.
    few = ("--connections", "4", "--rounds", "1", "--seconds", "1", "--modes", "close")
    tables, data = run("requests", "--servers", *few)
    names = [one["server"] for one in data["measurements"]]
    assert names == ["handy_ws, WSGI", "handy_ws, handler"]
    for one in data["measurements"]:
        (figures,) = one["figures"]["close"]
        assert figures["requests"] > 0
        assert figures["server_cpu"] > 0
        assert 0 < figures["p50"] <= figures["p99"]
    assert "### Connections: close" in tables


@pytest.mark.timeout(300)  # it compiles its client when that has changed
@pytest.mark.parametrize("end", ["reset", "close"])
def test_handshakes(end: str) -> None:
    few = ("--rounds", "1", "--count", "50", "--depth", "4", "--warm-up", "5", "--end", end)
    tables, data = run("handshakes", "--servers", *few)
    names = [(one["name"], one["scheme"]) for one in data["measurements"]]
    both = [(name, scheme) for scheme in ("ws", "wss") for name in ("handy_ws", "floor")]
    assert names == [*both, ("rustls as it comes", "wss")]
    for one in data["measurements"]:
        (figures,) = one["figures"]
        assert figures["handshakes"] == 50
        assert 0 < figures["p50"] <= figures["p99"]
    assert "| floor |" in tables


@pytest.mark.parametrize("tls", [(), ("--tls",)], ids=["plain", "TLS"])
def test_slow_clients(tls: tuple[str, ...]) -> None:
    tables, data = run("slow_clients", "--connections", "40", "--timeout", "2", *tls)
    (outcome,) = data["measurements"]
    gone = {name: len(lateness) for name, lateness in outcome["lateness"].items()}
    assert gone == {"silent": 10, "dribbling": 10, "half": 10, "idle": 10}
    assert {"before", "coming"} <= set(outcome["latencies"])
    assert outcome["descriptors_left"] == 0
    assert "### Gone after their deadlines" in tables


def test_beside_gunicorn() -> None:
    tables, data = run("beside_gunicorn", "--connections", "12", "--threads", "3", "--rounds", "20")
    alone, beside = data["measurements"]
    assert (alone["connections"], beside["connections"]) == (0, 12)
    assert [len(one["requests"]) for one in (alone, beside)] == [20, 20]
    assert len(beside["broadcasts"]) == 2
    assert "| 12 |" in tables


@pytest.mark.timeout(300)  # it compiles its client when that has changed
def test_compare_of_handy_ws_alone(tmp_path: Path) -> None:
    works = ["echo:3:2:70000:mixed", "broadcast:4:2:10:binary", "all:3:1:5:ascii"]
    works += [f"echo:{connections}:1:20:ascii" for connections in (1, 2, 3)]
    few = ("--works", *works, "--rounds", "2", "--peer-rounds", "1", "--seconds", "0.05")
    tables, data = run("compare", "--servers", *few, "--report", str(tmp_path))
    seen = {(one["server"], *one["work"].values()) for one in data["measurements"]}
    assert len(seen) == 2 * len(works) + 1
    assert ("handy_ws, from a thread", "broadcast", 4, 2, 10, "binary") in seen
    for one in data["measurements"]:
        assert len(one["figures"]) == (1 if "thread" in one["server"] else 2)
        for figures in one["figures"]:
            assert figures["messages"] > 0
            assert figures["server_cpu"] > 0
            assert figures["p50"] <= figures["p99"] <= figures["p999"]
    assert "### echo, 3 x 2, 70000 B, mixed" in tables
    assert (tmp_path / "messages.md").read_text() in tables + "\n"
    assert json.loads((tmp_path / "messages.json").read_text()) == data
    pictures = {path.name for path in tmp_path.glob("*.svg")}
    assert pictures == {"beside.svg", "echo-by-connections-20-bytes-x-1-ascii.svg"}


@pytest.mark.timeout(300)
def test_compare_says_which_goals_are_met() -> None:
    few = ("--rounds", "1", "--seconds", "0.02")
    tables, data = run("compare", "--servers", *few, "--works", "echo:64:1:32:binary")
    (line,) = [line for line in tables.splitlines() if line.endswith(("| yes |", "| NO |"))]
    assert line.startswith("| echo, 64 x 1, 32 B: CPU time at most 1.1 x floor |")
    (goal,) = data["goals"]
    assert goal["is_met"] == line.endswith("| yes |")


@pytest.mark.timeout(300)
def test_latency_of_handy_ws_alone() -> None:
    works = ("echo:2:1:32:binary", "broadcast:3:1:10:binary")
    few = ("--rounds", "1", "--seconds", "0.05", "--works", *works)
    tables, data = run("latency", "--servers", *few)
    measured = [(one["server"], one["work"]["kind"]) for one in data["measurements"]]
    for server, times in (("handy_ws", 1), ("floor", 2)):  # at its own half, and at ours
        assert measured.count((server, "echo")) == measured.count((server, "broadcast")) == times
    assert measured.count(("handy_ws, spinning", "echo")) == 1
    assert ("handy_ws, spinning", "broadcast") not in measured
    for one in data["measurements"]:
        (figures,) = one["figures"]
        assert one["rate"] > 0
        assert 0 < figures["p50"] <= figures["p99"] <= figures["p999"]
        assert 0 < figures["late_p99"] <= figures["late_p999"]
    assert "### broadcast, 3 x 1, 10 B: half of everybody's own most" in tables
    assert len(data["goals"]) == 2


@pytest.mark.timeout(300)
def test_growth_of_handy_ws_alone(tmp_path: Path) -> None:
    few = ("--rounds", "1", "--seconds", "0.02", "--connections", "4", "2")
    tables, data = run("growth", "--servers", *few, "--report", str(tmp_path))
    counts = [one["work"]["connections"] for one in data["measurements"]]
    assert counts == [2, 4] * 4
    assert "### broadcast, 128 B, by connections" in tables
    assert len(data["goals"]) == 2
    assert "report" not in data["settings"]


def test_wss_of_handy_ws_alone() -> None:
    few = ("--connections", "3", "--audience", "5", "--rounds", "2", "--messages", "50")
    fewer = ("--warm-up", "5", "--broadcasts", "3", "--warm-up-broadcasts", "1")
    tables, data = run("wss", "--servers", *few, *fewer)
    assert [one["scheme"] for one in data["measurements"]] == ["ws", "wss"]
    for one in data["measurements"]:
        assert list(one["costs"]) == ["echo, 1", "echo, 16", "broadcast"]
        for costs in one["costs"].values():
            assert [cost > 0 for cost in costs] == [True, True]
    assert "### broadcast" in tables
