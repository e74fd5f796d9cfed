"""What is agreed on with other implementations of permessage-deflate, and that both mean the same.

Their offers are random. Each has to accept our answer by its own rules, has to understand it as we
do, and then reads a message that refers back as far as the agreed windows allow.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from handy_ws import (
    CompressionConfig,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketHandler,
)
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request, TextMessage
from wsproto.extensions import PerMessageDeflate as WsprotoDeflate

from tests.http.raw_http import RawClient
from tests.websocket.recorder import Echo, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIGS = {
    f"/{takeover}/{bits}": CompressionConfig(
        threshold=0, context_takeover=takeover, window_bits=bits
    )
    for takeover, bits in itertools.product((False, True), range(9, 16))
}

# What can be referred to lies up to 32 KiB behind, and there is something in every window.
_RANDOM = random.Random(1)
_BLOCKS = [_RANDOM.randbytes(50).hex() for _ in range(320)]
TEXT = "".join(_BLOCKS + _BLOCKS)


class Agreed(NamedTuple):
    """The parameters of a connection, as one side understands them."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int


class Peer(NamedTuple):
    """What a client has made of the handshake, and what it makes of a message."""

    agreed: Agreed | None
    send: Callable[[str], bytes]
    receive: Callable[[bytes], str | None]


def understood_by_us(extensions: str, offered_client_bits: int) -> Agreed | None:
    """Read what a connection says was agreed on.

    A client that has offered a window of a size never uses a larger one, whether or not the answer
    says so: RFC 7692 section 7.1.2.2.
    """
    if extensions == "":
        return None
    name, *parameters = extensions.split("; ")
    assert name == "permessage-deflate"
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    assert len(values) == len(parameters), "each comes once"
    agreed = Agreed(
        values.pop("server_no_context_takeover", None) == "",
        values.pop("client_no_context_takeover", None) == "",
        int(values.pop("server_max_window_bits", "15")),
        int(values.pop("client_max_window_bits", offered_client_bits)),
    )
    assert values == {}
    return agreed


class RecordingEcho(Echo, Recorder):
    """Answers every message with itself, and notes who comes."""


@pytest.fixture(scope="module")
def recorder() -> RecordingEcho:
    return RecordingEcho()


@pytest.fixture(scope="module")
def server(recorder: RecordingEcho) -> Iterator[HttpServer]:
    handler = PathHandler()
    for path, compression in CONFIGS.items():
        handler.add(path, WebSocketHandler(recorder, compression=compression))
    with HttpServer(handler, ServerConfig(port=0, workers=2)) as server:
        yield server


def extensions_of(recorder: RecordingEcho, client: RawClient) -> str:
    """Return what the connection that this client has made says."""
    while (connection := recorder.wait_for("established")).remote_address != (
        client.sock.getsockname()
    ):
        pass  # a connection of an example that has failed
    extensions: str = connection.extensions
    return extensions


def check_echo(client: RawClient, peer: Peer) -> None:
    """Send a message twice, so that the second one may refer to the first, and have it back."""
    for _ in range(2):
        client.send(peer.send(TEXT))
        data = receive(client)
        assert (data[0] & 0x40 == 0x40) == (peer.agreed is not None), "RSV1: compressed"
        while (text := peer.receive(data)) is None:
            data = receive(client)
        assert text == TEXT


def receive(client: RawClient) -> bytes:
    data = client.sock.recv(65536)
    assert data, "the server has closed the connection"
    return data


paths = st.sampled_from(sorted(CONFIGS))

factories = st.builds(
    ClientPerMessageDeflateFactory,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.none() | st.integers(8, 15),
    client_max_window_bits=st.none() | st.just(True) | st.integers(9, 15),
)


@given(path=paths, offers=st.lists(factories, min_size=1, max_size=3))
def test_websockets_agrees(
    server: HttpServer,
    recorder: RecordingEcho,
    path: str,
    offers: list[ClientPerMessageDeflateFactory],
) -> None:
    protocol = ClientProtocol(parse_uri(f"ws://localhost{path}"), extensions=offers)
    protocol.send_request(protocol.connect())
    with RawClient(server.address) as client:
        client.send(b"".join(protocol.data_to_send()))
        protocol.receive_data(client.until(b"\r\n\r\n"))
        assert protocol.handshake_exc is None
        protocol.events_received()
        peer = websockets_peer(protocol)
        # We compress, and zlib has no window of 8 bits for that.
        accepted = next((offer for offer in offers if offer.server_max_window_bits != 8), None)
        assert (peer.agreed is None) == (accepted is None)
        offered_bits = 15 if accepted is None else accepted.client_max_window_bits
        client_bits = 15 if offered_bits is None or offered_bits is True else offered_bits
        assert peer.agreed == understood_by_us(extensions_of(recorder, client), client_bits)
        check_echo(client, peer)


def websockets_peer(protocol: ClientProtocol) -> Peer:
    agreed = None
    if protocol.extensions:
        (extension,) = protocol.extensions
        assert isinstance(extension, PerMessageDeflate)
        agreed = Agreed(
            extension.remote_no_context_takeover,
            extension.local_no_context_takeover,
            extension.remote_max_window_bits,
            extension.local_max_window_bits,
        )

    def send(text: str) -> bytes:
        protocol.send_text(text.encode())
        return b"".join(protocol.data_to_send())

    def receive(data: bytes) -> str | None:
        protocol.receive_data(data)
        assert protocol.parser_exc is None
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            assert event.opcode is Opcode.TEXT
            assert event.fin
            return bytes(event.data).decode()
        return None

    return Peer(agreed, send, receive)


wsproto_offers = st.builds(
    WsprotoDeflate,
    client_no_context_takeover=st.booleans(),
    client_max_window_bits=st.integers(9, 15),
    server_no_context_takeover=st.booleans(),
    server_max_window_bits=st.integers(9, 15),
)


@given(path=paths, offer=wsproto_offers)
def test_wsproto_agrees(
    server: HttpServer, recorder: RecordingEcho, path: str, offer: WsprotoDeflate
) -> None:
    offered_client_bits = offer.client_max_window_bits
    protocol = WSConnection(ConnectionType.CLIENT)
    request = Request(host="localhost", target=path, extensions=[offer])
    with RawClient(server.address) as client:
        client.send(protocol.send(request))
        protocol.receive_data(client.until(b"\r\n\r\n"))
        (accepted,) = protocol.events()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.extensions == [offer]
        assert offer.enabled()
        peer = wsproto_peer(protocol, offer)
        extensions = extensions_of(recorder, client)
        assert peer.agreed == understood_by_us(extensions, offered_client_bits)
        check_echo(client, peer)


def wsproto_peer(protocol: WSConnection, extension: WsprotoDeflate) -> Peer:
    agreed = Agreed(
        extension.server_no_context_takeover,
        extension.client_no_context_takeover,
        extension.server_max_window_bits,
        extension.client_max_window_bits,
    )
    parts = []

    def send(text: str) -> bytes:
        return protocol.send(TextMessage(text))

    def receive(data: bytes) -> str | None:
        protocol.receive_data(data)
        for event in protocol.events():
            assert isinstance(event, TextMessage)
            parts.append(event.data)
            if event.message_finished:
                text = "".join(parts)
                parts.clear()
                return text
        return None

    return Peer(agreed, send, receive)
