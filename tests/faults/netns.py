"""A network of its own for a client, whose link can be dropped.

A network namespace is joined to ours by a pair of virtual interfaces. When the one in there goes
down, whoever is in there has vanished: nothing arrives any more, neither a FIN nor a reset, as if a
cable had been pulled. That needs root, or a sudo that asks for no password, and the `ip` program of
iproute2; a test that has not got them fails, and says so.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

# 198.18.0.0/15 is for tests of networks (RFC 2544), so nobody lives there.
_NETWORKS = ipaddress.ip_network("198.18.0.0/15")
_NETWORK_SIZE = 4
_PER_PROCESS = 8
_NUMBERS = itertools.count()
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Namespace:
    """A network namespace, made for a ``with`` block and removed behind it.

    Attributes:
        address: our own address on the link, for a server to listen on.
        client_address: the address of whoever is in there.
    """

    def __init__(self) -> None:
        number = next(_NUMBERS)
        self._name = f"handy-ws-{os.getpid()}-{number}"
        self._ours, self._theirs = (f"hw{os.getpid()}{side}{number}" for side in "ab")
        place = (os.getpid() * _PER_PROCESS + number) * _NETWORK_SIZE % _NETWORKS.num_addresses
        self.address, self.client_address = (str(_NETWORKS[place + host]) for host in (1, 2))

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            self._join()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def popen(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a program in there, with pipes to its standard input and from its output.

        It may outlive the end of its input only if it does not read that: see to it that it ends.
        """
        return subprocess.Popen(
            [*_ip_program(), "netns", "exec", self._name, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def drop_link(self) -> None:
        """Let nothing through any more."""
        _ip("-n", self._name, "link", "set", self._theirs, "down")

    def restore_link(self) -> None:
        """Let everything through again; what was lost is lost."""
        _ip("-n", self._name, "link", "set", self._theirs, "up")

    def _join(self) -> None:
        _ip(
            *("link", "add", self._ours, "type", "veth"),
            *("peer", "name", self._theirs, "netns", self._name),
        )
        _ip("address", "add", f"{self.address}/30", "dev", self._ours)
        _ip("link", "set", self._ours, "up")
        _ip("-n", self._name, "address", "add", f"{self.client_address}/30", "dev", self._theirs)
        self.restore_link()

    def _remove(self) -> None:
        # Processes that are still in there keep the namespace, but not its place in our network.
        if Path(f"/sys/class/net/{self._ours}").exists():
            _ip("link", "delete", self._ours)
        _ip("netns", "delete", self._name)


def _ip_program() -> list[str]:
    program = shutil.which("ip", path=_PATH)
    if program is None:
        message = "this test needs the ip program, which Debian calls iproute2"
        raise RuntimeError(message)
    return [program] if os.geteuid() == 0 else ["sudo", "-n", program]


def _ip(*arguments: str) -> None:
    command = [*_ip_program(), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        message = f"{' '.join(command)}: {result.stderr.strip()} (network namespaces need root)"
        raise RuntimeError(message)
