"""A soak: everything at once, for long. ``python -m tests.faults.soak --minutes 30``.

A server in its own process, thousands of healthy clients that come, talk, and go, and beside them
all the faults of `tests.faults.soak.hostile`. Prints what it measures every few seconds, and in the
end a verdict; writes a table and a picture into ``reports/soak``. The exit status is 1 if anything
was lost or out of order, or has grown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.soak import plot
from tests.faults.soak.processes import Clients, Program, Seen, Usage
from tests.faults.soak.samples import HEADINGS, Sample, check_flat, write_csv
from tests.faults.soak.vanish import Vanishing

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
SETTLING = 2.0  # minutes; half of a soak that is shorter than four
SHORTEST = 1.0  # minutes, to say whether anything grows
PROBES = 20
#: So many processes share the healthy clients: one that has too much to do is late with all.
SHARES = 2
PATIENCE = 120.0
#: In the middle, and at the end, of the lives of peers that vanish.
LONGEST_WAIT = 30.0


class Watch:
    """Takes a sample of a soak now and then."""

    def __init__(self, server: Program, clients: list[Clients], probe: Clients) -> None:
        self._server, self._clients, self._probe = server, clients, probe
        self._begin = self._last = time.monotonic()
        self._usage = Usage.of(server.pid)
        self._stats: dict[str, Any] = server.ask("stats")["stats"]
        self.complaints: list[str] = []

    def sample(self) -> Sample:
        """Measure what has happened since the last time."""
        now, usage = time.monotonic(), Usage.of(self._server.pid)
        state = self._server.ask("stats")
        stats = state["stats"]
        seconds = now - self._last
        probe = self._probe.take()
        seen = [probe, *(clients.take() for clients in self._clients)]
        for complaint in [text for each in seen for text in each.complaints]:
            print("WRONG:", complaint, flush=True)
            self.complaints.append(complaint)

        def rate(counter: str) -> float:
            return float(stats[counter] - self._stats[counter]) / seconds

        sample = Sample(
            minute=(now - self._begin) / 60,
            memory_mib=usage.memory / MIB,
            in_use_mib=state["memory_in_use"] / MIB,
            queued_mib=stats["queue_bytes"] / MIB,
            python_blocks=state["python_blocks"],
            descriptors=usage.descriptors,
            threads=usage.threads,
            connections=stats["connections"],
            established=stats["connections_total"],
            cpu_percent=(usage.cpu_time - self._usage.cpu_time) / seconds * 100,
            pong_median_ms=statistics.median(probe.pong_times or [0.0]) * 1000,
            pong_worst_ms=max(probe.pong_times, default=0.0) * 1000,
            echo_median_ms=statistics.median(probe.echo_times or [0.0]) * 1000,
            echo_worst_ms=max(probe.echo_times, default=0.0) * 1000,
            received_rate=rate("messages_received"),
            sent_rate=rate("messages_sent"),
            dropped=stats.get("messages_dropped", 0),
            takeovers=stats["takeovers"],
            faults=sum(count_faults(seen).values()),
            complaints=len(self.complaints),
        )
        self._last, self._usage, self._stats = now, usage, stats
        return sample


def count_faults(seen: list[Seen]) -> Counter[str]:
    """Return how often each fault was made."""
    return sum((Counter(each.last.get("faults", {})) for each in seen), Counter())


def watch(options: argparse.Namespace, watcher: Watch) -> list[Sample]:
    """Take samples until the time is over; print them and write them down as they come."""
    end = time.monotonic() + options.minutes * 60
    samples: list[Sample] = []
    print(HEADINGS)
    while time.monotonic() < end:
        time.sleep(min(options.interval, max(0.0, end - time.monotonic())))
        samples.append(watcher.sample())
        print(samples[-1].line(), flush=True)
        write_csv(samples, options.report / "samples.csv")
    return samples


def check_end(
    fresh: Usage, final: dict[str, Any], reports: list[dict[str, Any]]
) -> Iterator[tuple[str, bool]]:
    """Yield a line, and whether it is good, for each thing that must hold when all is over."""
    stats, causes, log = final["stats"], final["causes"], final["log"]
    established, closed = final["established"], final["closed"]
    got = {kind: sum(report[kind] for report in reports) for kind in ("echoes", "ticks", "words")}
    yield f"healthy clients got {got}", all(got.values())
    text = f"{established} connections established, {stats['connections_total']} counted"
    yield (
        f"{text}, {closed} closed: {causes}",
        (established == closed == stats["connections_total"] == sum(causes.values())),
    )
    received, sent = stats["messages_received"], stats["messages_sent"]
    text = f"{received} messages received, {final['messages']} delivered, {sent} sent"
    yield text, final["messages"] <= received and sum(got.values()) <= sent
    yield (
        f"{stats['connections']} connections and {stats['queue_bytes']} bytes are left",
        stats["connections"] == stats["queue_bytes"] == 0,
    )
    yield f"callbacks out of order: {final['wrong']}", not final["wrong"]
    # Exceptions that clients ask for, and callbacks that take long, as some are asked to.
    yield f"log: {log}", all(key == "Deliberate" or key.endswith(" took") for key in log)
    text = f"{final['descriptors']} descriptors at the end, {fresh.descriptors} at the beginning"
    yield text, final["descriptors"] <= fresh.descriptors


def run(options: argparse.Namespace) -> bool:
    """Run a soak; false if anything was wrong."""
    with ExitStack() as stack:
        server = stack.enter_context(Program("server"))
        port = json.loads(server.read())["port"]
        fresh = Usage.of(server.pid)
        share = options.connections // SHARES
        clients = [stack.enter_context(Clients(port, "healthy", share)) for _ in range(SHARES)]
        clients.append(stack.enter_context(Clients(port, "hostile", options.faults)))
        probe = stack.enter_context(Clients(port, "probe", PROBES))
        for process in (*clients, probe):
            process.wait_until_there()
        watcher = Watch(server, clients, probe)
        with Vanishing(port, LONGEST_WAIT) as vanishing:
            samples = watch(options, watcher)
        last = [process.leave(PATIENCE) for process in (*clients, probe)]
        final = server.ask("stop")
    complaints = watcher.complaints + [text for seen in last for text in seen.complaints]
    results = [(f"complaints: {complaints[:20]}", not complaints)]
    if options.minutes < SHORTEST:
        print("too short to say whether anything grows")
    else:
        results += check_flat(samples, min(SETTLING, options.minutes / 2))
    results += check_end(fresh, final, [seen.last for seen in last])
    print(f"faults: {dict(count_faults(last))}")
    print(f"peers that have vanished: {vanishing.vanished} {vanishing.trouble}")
    for text, is_good in results:
        print("good: " if is_good else "BROKEN:", text)
    plot.main(options.report / "samples.csv", options.report / "soak.svg")
    return all(is_good for _, is_good in results)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Run a server under load and faults.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=2000, help="healthy clients")
    parser.add_argument("--faults", type=int, default=100, help="clients that are not healthy")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--report", type=Path, default=Path("reports/soak"))
    options = parser.parse_args()
    options.report.mkdir(parents=True, exist_ok=True)
    return 0 if run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
