"""A process of clients of the soak: ``python -m tests.faults.soak.load PORT KIND COUNT``.

Prints ``ready`` when they are there, and then, every second, one line of JSON: what they have seen
since the last one. When its input ends, the clients leave; it ends with its last line when all are
gone.

There are ``healthy`` ones, ``hostile`` ones, and a few healthy ones that ping a lot, in a process
that has nothing else to do, so that the times that they measure are the server's: the ``probe``.
"""

from __future__ import annotations

import json
import random
import resource
import select
import sys

from tests.faults.loop import Loop, Task
from tests.faults.proxy import Proxy
from tests.faults.soak.healthy import Healthy, Pace, Scene
from tests.faults.soak.hostile import PATHS, Hostile
from tests.faults.stream import Stream

#: Half of the clients stay for long, half come and go.
STAYING = Pace(echo_interval=1.0, ping_interval=5.0, shortest_life=1e6, longest_life=1e6)
PASSING = Pace(echo_interval=1.0, ping_interval=5.0, shortest_life=5.0, longest_life=90.0)
PROBING = Pace(echo_interval=0.1, ping_interval=0.1, shortest_life=1e6, longest_life=1e6)
#: One of so many goes through a proxy that delays and chops what it passes on.
BEHIND_PROXY = 50


def healthy(scene: Scene, pace: Pace, address: tuple[str, int], path: str) -> Task[None]:
    """Be one healthy client after the other."""
    while not scene.is_over:
        yield from Healthy(scene, pace, address, path).live()


def arrive(scene: Scene, count: int, paces: list[Pace], slow: tuple[str, int]) -> Task[None]:
    """Let the healthy clients come, a few at a time.

    Fewer than `max_pending_handshakes` must come while a callback blocks, or some are refused.
    """
    for number in range(count):
        address = slow if number % BEHIND_PROXY == 1 else scene.address
        # Kinds alternate at different steps, so that there are all combinations of them.
        pace, path = paces[number % len(paces)], PATHS[number // 2 % len(PATHS)]
        scene.loop.spawn(healthy(scene, pace, address, path))
        if number % 20 == 0:
            yield from Stream.pause(0.05)


def report(scene: Scene, hostile: Hostile) -> Task[None]:
    """Print what was seen, every second; end the scene when the input ends."""
    while not scene.is_over:
        yield from Stream.pause(1.0)
        print(json.dumps(scene.take_report() | {"faults": hostile.counts}), flush=True)
        scene.is_over = bool(select.select([sys.stdin], [], [], 0)[0])


def main(port: int, kind: str, count: int) -> None:
    """Do what the command line says."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = ("127.0.0.1", port)
    rng = random.Random(port)
    scene = Scene(Loop(), server, rng)
    with (
        Proxy(server, delay=0.03, chunk=700) as slow,
        Proxy(server, delay=0.01, chunk=50, life=lambda: rng.uniform(0.05, 5.0)) as cutting,
    ):
        hostile = Hostile(scene, cutting.address)
        if kind == "hostile":
            for _ in range(count):
                scene.loop.spawn(hostile.go_on())
            scene.loop.spawn(hostile.block_now_and_then())
        else:
            is_probe = kind == "probe"
            paces = [PROBING] if is_probe else [STAYING, PASSING]
            scene.loop.spawn(arrive(scene, count, paces, server if is_probe else slow.address))
            scene.loop.run(until=lambda: scene.open >= count or bool(scene.complaints))
        print("ready", flush=True)
        scene.loop.spawn(report(scene, hostile))
        # Whoever misbehaves stays until this process ends.
        scene.loop.run(until=lambda: scene.is_over and scene.open == 0)
        print(json.dumps(scene.take_report() | {"faults": hostile.counts}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
