"""Many connections from one process of their own: `python swarm.py HOST PORT COUNT KIND`.

Prints ``ready`` when all are there, then does what its standard input says, a line at a time:

* ``read N``: read N WebSocket frames on every connection, and print all of them as JSON: how many
  connections have received which payloads;
* ``quit``: end all connections, as the end of the input does.

Kinds: ``websocket`` makes WebSocket connections; ``idle`` sends nothing; ``dribble`` has begun a
request head that never ends, and adds a byte to it now and then.
"""

from __future__ import annotations

import collections
import json
import resource
import select
import socket
import sys
import threading

HEAD = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PATIENCE = 60.0
SMALL = 126  # lengths below stand in the frame header's second byte


class Connection:
    """One socket and what it has received."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=PATIENCE)
        self.received = b""
        self.is_open = False
        self.payloads: list[str] = []

    def feed(self, data: bytes) -> None:
        """Take bytes of a 101 response and then of small frames."""
        self.received += data
        if not self.is_open:
            head, end_mark, rest = self.received.partition(b"\r\n\r\n")
            if not end_mark:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                sys.exit(f"refused: {head!r}")
            self.is_open, self.received = True, rest
        while len(self.received) >= 2 and len(self.received) >= 2 + self.received[1]:
            if self.received[1] >= SMALL:
                sys.exit("the frame is too large for this client")
            end = 2 + self.received[1]
            self.payloads.append(self.received[2:end].decode())
            self.received = self.received[end:]


class Swarm:
    """All the connections."""

    def __init__(self, address: tuple[str, int], count: int, kind: str) -> None:
        self.poll = select.epoll()
        self.connections: dict[int, Connection] = {}
        self.kind = kind
        for _ in range(count):
            connection = Connection(address)
            if kind == "websocket":
                connection.socket.sendall(HEAD)
            elif kind == "dribble":
                connection.socket.sendall(b"GET / HTTP/1.1\r\nHost: l")
            self.connections[connection.socket.fileno()] = connection
            self.poll.register(connection.socket, select.EPOLLIN)
        if kind == "websocket":
            self.read_until(lambda connection: connection.is_open)

    def read_until(self, done: object) -> None:
        """Read until ``done(connection)`` is true for each."""
        assert callable(done)
        waiting = {fd for fd, connection in self.connections.items() if not done(connection)}
        while waiting:
            events = self.poll.poll(PATIENCE)
            if not events:
                sys.exit(f"{len(waiting)} connections have waited too long")
            for fd, _ in events:
                connection = self.connections[fd]
                data = connection.socket.recv(65536)
                if not data:
                    sys.exit("the server closed a connection")
                connection.feed(data)
                if done(connection):
                    waiting.discard(fd)

    def dribble(self, stop: threading.Event) -> None:
        """Send one more byte on every connection, again and again."""
        while not stop.wait(0.5):
            for connection in self.connections.values():
                try:
                    connection.socket.sendall(b"x")
                except OSError:  # its deadline has come
                    continue


def main() -> None:
    """Do what the command line and the standard input say."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    host, port, count, kind = sys.argv[1:]
    swarm = Swarm((host, int(port)), int(count), kind)
    stop = threading.Event()
    if kind == "dribble":
        threading.Thread(target=swarm.dribble, args=(stop,), daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "quit":
            break
        wanted = int(rest[0])
        swarm.read_until(lambda connection, wanted=wanted: len(connection.payloads) >= wanted)
        seen = collections.Counter(
            json.dumps(connection.payloads) for connection in swarm.connections.values()
        )
        print(json.dumps(seen), flush=True)
    stop.set()


if __name__ == "__main__":
    main()
