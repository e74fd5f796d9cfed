"""The settings of a server, as frozen dataclasses that cannot hold nonsense.

Every field has a default that is right for most programs. A wrong value is refused where it is
written down, by a `ValueError` that names the field, and not minutes later by whatever it breaks.
Times are in seconds and sizes in bytes, everywhere.

    ServerConfig(port=0, workers=8, websocket=WebSocketConfig(max_message_size=64 * 1024))
"""

from __future__ import annotations

import math
import os  # noqa: TC003 - the types of fields are read at run time, by cli/options.py
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from handy_ws.http.forwarded import checked_headers, checked_proxies
from handy_ws.http.listener import checked_descriptor
from handy_ws.http.syntax import is_field_value, is_token
from handy_ws.http.tls import TlsConfig
from handy_ws.http.unix_socket import checked_path

__all__ = ["CompressionConfig", "ServerConfig", "TlsConfig", "WebSocketConfig"]

_KIB = 1024
_MIB = 1024 * 1024
_MAX_PORT = 65535
_MAX_TIMEOUT = 1e6
_MAX_SIZE = 2**63 - 1
_MAX_RATE = 1e9
_POLICIES = ("close", "drop_newest", "drop_oldest")
_HOST = "127.0.0.1"
_PORT = 8080
_MODE = 0o600


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressionConfig:
    """Compression of messages: permessage-deflate (RFC 7692).

    A client that does not offer it is served without. What a client offers can make the numbers
    below smaller for its connection, never larger.

    Attributes:
        level: zlib's level for what is sent, 1 (fastest) to 9 (smallest). Default 1.
        threshold: messages of fewer bytes are sent as they are. Default 256.
        context_takeover: whether a message may refer to those before it. Small messages that
            resemble one another get much smaller, and each connection keeps a compressor and an
            inflater, as soon as it has compressed messages: see the documentation for the figures.
            Without it, which is the default, nothing is kept for a connection.
        window_bits: the base-2 logarithm of the window in bytes, 9 to 15: how far back a message
            may refer, and with takeover how much memory a connection takes. Default 15, 32 KiB.
    """

    level: int = 1
    threshold: int = 256
    context_takeover: bool = False
    window_bits: int = 15

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: a field has a wrong type or value; the message names the field.
        """
        _check_integer(self, "level", 1, 9)
        _check_integer(self, "threshold", 0, _MAX_SIZE)
        if not isinstance(self.context_takeover, bool):
            raise _wrong(self, "context_takeover", "must be True or False")
        _check_integer(self, "window_bits", 9, 15)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebSocketConfig:
    """The limits of every WebSocket connection of a server.

    Attributes:
        max_message_size: the largest message that is accepted, in bytes, after it was put
            together and inflated.
            A longer one closes the connection with 1009. Default 1 MiB.
        max_fragments: the most frames that one message may consist of. Default 131072.
        send_queue_limit: the most bytes that may wait to be sent to one connection. Default
            1 MiB. A message that alone is larger goes out if nothing else waits.
        slow_consumer: what happens beyond it. ``"close"``: the message is dropped, and the
            connection closed with 1008. ``"drop_newest"``: the message is dropped.
            ``"drop_oldest"``: the oldest messages are dropped that have not begun to go out; with
            context takeover all of them, since they refer to one another. Default ``"close"``.
        broadcast_queue_limit: the most bytes of broadcasts that may wait for the loop to take
            them, which it does many times a second; more are dropped for everybody. Default
            16 MiB.
        receive_queue_limit: what the messages of one connection may take, in bytes, that have come
            and wait because a callback takes its time; beyond it the socket is not read, so that
            TCP holds the client back. A message in the middle of arriving may exceed it. Default
            128 KiB.
        max_message_rate: text and binary messages per second that one client may send; a second's
            worth of them, one at least, may come at once. Beyond it the connection is closed with
            1008, behind the messages that were allowed. PINGs do not count. Default ``None``, no
            limit.
        max_connections: the most WebSocket connections, counted from the handshake to the end of
            the socket; more get 503. Default ``None``, no limit.
        max_connections_per_address: the most of them from one IPv4 address or one IPv6 network of
            64 bits (whoever has an IPv6 address has as many); more get 429. Behind a proxy all
            connections come from its address, unless `ServerConfig.trusted_proxies` has it. Default
            ``None``, no limit.
        max_pending_handshakes: the most of them that wait for their 101, because ``authorize``,
            the manager thread or ``on_connection_established`` takes its time; more get 503, where
            there is no ``authorize`` after a second. Default 1024.
        close_timeout: the longest time, in seconds, to wait for the peer's answer to our CLOSE
            frame and for the end of the TCP connection. Default 10.
        ping_interval: the time between two PINGs to each connection, in seconds. They keep it
            open in proxies, measure its `latency`, and find out whether the peer is still there.
            ``None`` sends none. Default 20.
        ping_timeout: how long, in seconds, to wait for a sign of life after a PING. Any byte is
            one, and so is a full socket that takes something again; beyond it the connection is
            ended without a CLOSE frame, with 1006. ``None`` waits for ever. Default 20.
        idle_timeout: a connection from which no text or binary message has come for so long, in
            seconds, is closed with 1000. PINGs and PONGs do not count. Default ``None``, never.
        write_timeout: how long a full socket may take no byte of what waits for it, in seconds;
            beyond it the connection is ended without a CLOSE frame, with 1006. ``None`` waits
            for ever. Default 30.
        slow_callback_warning: a callback on the manager thread that takes longer, in seconds, is
            logged and counted. Single callbacks are timed to within 10 milliseconds, which is the
            least that makes sense here. ``None`` warns never. Default 0.1.
        compression: what to agree on with clients that offer compression, unless a
            `WebSocketHandler` says otherwise for its own. Default ``None``, no compression.
    """

    max_message_size: int = _MIB
    max_fragments: int = 131072
    send_queue_limit: int = _MIB
    slow_consumer: Literal["close", "drop_newest", "drop_oldest"] = "close"
    broadcast_queue_limit: int = 16 * _MIB
    receive_queue_limit: int = 128 * _KIB
    max_message_rate: float | None = None
    max_connections: int | None = None
    max_connections_per_address: int | None = None
    max_pending_handshakes: int = 1024
    close_timeout: float = 10.0
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    idle_timeout: float | None = None
    write_timeout: float | None = 30.0
    slow_callback_warning: float | None = 0.1
    compression: CompressionConfig | None = None

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: a field has a wrong type or value; the message names the field.
        """
        _check_integer(self, "max_message_size", 1, _MAX_SIZE)
        _check_integer(self, "max_fragments", 1, 2**32 - 1)
        _check_integer(self, "send_queue_limit", 1, _MAX_SIZE)
        if self.slow_consumer not in _POLICIES:
            raise _wrong(self, "slow_consumer", f"must be one of {', '.join(_POLICIES)}")
        _check_integer(self, "broadcast_queue_limit", 1, _MAX_SIZE)
        _check_integer(self, "receive_queue_limit", 1, _MAX_SIZE)
        _check_rate(self, "max_message_rate")
        if self.max_connections is not None:
            _check_integer(self, "max_connections", 1, _MAX_SIZE)
        if self.max_connections_per_address is not None:
            _check_integer(self, "max_connections_per_address", 1, _MAX_SIZE)
        _check_integer(self, "max_pending_handshakes", 1, _MAX_SIZE)
        _check_timeout(self, "close_timeout")
        for name in ("ping_interval", "ping_timeout", "idle_timeout", "write_timeout"):
            _check_optional_timeout(self, name)
        _check_optional_timeout(self, "slow_callback_warning", least=0.01)
        if not isinstance(self.compression, CompressionConfig | None):
            raise _wrong(self, "compression", "must be a CompressionConfig or None")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """The settings of an `HttpServer`.

    Attributes:
        host: the address or name to listen on; IPv6 without brackets. Default ``127.0.0.1``,
            this machine only. ``0.0.0.0`` is every IPv4 address, ``::`` every address of both
            kinds. Of several addresses that a name has, the first.
        port: the TCP port; 0 takes a free one, see `HttpServer.address`. Default 8080.
        reuse_port: whether other processes may listen on the same port, if they say so, too: the
            system spreads new connections over them (SO_REUSEPORT, socket(7)). Default no.
        unix_socket: the path of a unix socket to listen on, instead of host and port. What a
            server that was killed has left there is replaced, and nothing else. Default ``None``.
        unix_socket_mode: the permissions of that file. Who may write to it may connect. Default
            ``0o600``, this user only.
        fd: the descriptor of a socket that listens already, instead of host and port, TCP or
            unix; or ``"systemd"`` for the one that systemd has passed by socket activation. It
            stays open when the server stops. Default ``None``.
        backlog: connections that the system holds until they are accepted; an inherited socket
            has its own. Default 1024.
        workers: threads that run handlers. Connections that wait, however many, hold none.
            Default 25.
        spare_workers: how many more threads may run handlers, in the place of workers that wait
            for clients: those take the streamed response of a WSGI application more slowly than
            it is made, or send a body more slowly than a handler reads it as a stream. Beyond it
            such a client holds a worker. Default 100.
        max_head_size: the largest request head (request line and header fields), in bytes.
            Beyond it: 431, or 414 if not even the request line fits. Default 64 KiB.
        max_header_count: the most header fields of a request. Beyond it: 431. Default 100.
        head_timeout: seconds for the whole request head, from the accept, so that it includes the
            TLS handshake, or on a kept-alive connection from its first byte. Beyond it: 408, or
            just the end of a handshake. Before that, as long again for a header of the PROXY
            protocol. Default 10.
        keep_alive_timeout: seconds that a connection may wait between requests. Default 5.
        max_body_size: the largest request body, in bytes, after the chunks are put together.
            Beyond it: 413. Default 16 MiB.
        body_timeout: the longest pause, in seconds, in which nothing comes of a request body, or
            nothing is taken of a response, for a client that was fast enough before. Beyond it:
            408, or the end of the connection. Default 30.
        min_body_rate: how fast a request body must come, in bytes per second. A client is looked
            at every `rate_grace` seconds: it must have kept the rate since the body began, where
            being fast makes up for `body_timeout` seconds at most. Beyond it: 408. Default 240;
            ``None`` for no minimum.
        min_send_rate: how fast a client must take a response that is too long to be sent at once,
            in bytes per second, in the same way. Beyond it the connection is closed. Default 240;
            ``None`` for no minimum.
        rate_grace: how often clients are looked at, in seconds. Default 5.
        default_headers: header fields for every response that does not set them itself.
            Default none.
        trusted_proxies: the proxies in front of the server whose word is taken for the client,
            the scheme and the host of a request: addresses and networks such as
            ``"10.0.0.0/8"``, and ``"unix"`` for whoever may connect to the unix socket. What
            others say about that is ignored. Default none.
        forwarded_headers: the header fields in which they say it, and which every one of them has
            to set or to add to. ``"X-Forwarded-For"``, ``"X-Forwarded-Proto"``,
            ``"X-Forwarded-Host"`` and ``"X-Forwarded-Port"``, or ``"Forwarded"`` alone (RFC
            7239). Default the first two.
        proxy_protocol: whether connections from trusted proxies begin with a header of the PROXY
            protocol, version 2 or 1. Those that do not are closed. From other peers no header is
            read. Default False.
        tls: a `TlsConfig` to speak https and wss, and nothing else. Default ``None``, http and
            ws.
        websocket: the limits of the WebSocket connections.
    """

    host: str = _HOST
    port: int = _PORT
    reuse_port: bool = False
    unix_socket: str | os.PathLike[str] | None = None
    unix_socket_mode: int = _MODE
    fd: int | Literal["systemd"] | None = None
    backlog: int = 1024
    workers: int = 25
    spare_workers: int = 100
    max_head_size: int = 64 * _KIB
    max_header_count: int = 100
    head_timeout: float = 10.0
    keep_alive_timeout: float = 5.0
    max_body_size: int = 16 * _MIB
    body_timeout: float = 30.0
    min_body_rate: float | None = 240.0
    min_send_rate: float | None = 240.0
    rate_grace: float = 5.0
    default_headers: Mapping[str, str] = field(default_factory=dict)
    trusted_proxies: Collection[str] = ()
    forwarded_headers: Collection[str] = ("X-Forwarded-For", "X-Forwarded-Proto")
    proxy_protocol: bool = False
    tls: TlsConfig | None = None
    websocket: WebSocketConfig = field(default_factory=WebSocketConfig)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: a field has a wrong type or value; the message names the field.
        """
        if not isinstance(self.host, str) or not self.host or "\0" in self.host:
            raise _wrong(self, "host", "must be a name or an address")
        _check_integer(self, "port", 0, _MAX_PORT)
        _check_place(self)
        _check_integer(self, "backlog", 1, 2**31 - 1)
        _check_integer(self, "workers", 1, 10_000)
        _check_integer(self, "spare_workers", 0, 10_000)
        _check_integer(self, "max_head_size", 1, _MAX_SIZE)
        _check_integer(self, "max_header_count", 1, _MAX_SIZE)
        _check_integer(self, "max_body_size", 0, _MAX_SIZE)
        _check_timeout(self, "head_timeout")
        _check_timeout(self, "keep_alive_timeout")
        _check_timeout(self, "body_timeout")
        _check_rate(self, "min_body_rate")
        _check_rate(self, "min_send_rate")
        _check_timeout(self, "rate_grace")
        _check_headers(self, "default_headers")
        _replace(self, "trusted_proxies", checked_proxies)
        _replace(self, "forwarded_headers", checked_headers)
        if not isinstance(self.proxy_protocol, bool):
            raise _wrong(self, "proxy_protocol", "must be True or False")
        if self.proxy_protocol and not self.trusted_proxies:
            raise _wrong(self, "proxy_protocol", "needs trusted_proxies, or nobody may speak it")
        if not isinstance(self.tls, TlsConfig | None):
            raise _wrong(self, "tls", "must be a TlsConfig or None")
        if not isinstance(self.websocket, WebSocketConfig):
            raise _wrong(self, "websocket", "must be a WebSocketConfig")
        # A copy, so that what was checked is what is used.
        object.__setattr__(self, "default_headers", MappingProxyType(dict(self.default_headers)))


def _wrong(config: object, name: str, rule: str) -> ValueError:
    return ValueError(f"{type(config).__name__}.{name} {rule}, not {getattr(config, name)!r}")


def _check_integer(config: object, name: str, least: int, most: int) -> None:
    value: Any = getattr(config, name)
    # A bool is an int to isinstance(), but workers=True is a slip, not a number.
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(config, name, f"must be an integer from {least} to {most}")


def _check_timeout(config: object, name: str) -> None:
    if not _is_timeout(getattr(config, name)):
        raise _wrong(config, name, "must be a positive, finite number of seconds")


def _check_optional_timeout(config: object, name: str, *, least: float = 0.0) -> None:
    value: Any = getattr(config, name)
    if value is not None and not (_is_timeout(value) and value >= least):
        from_least = f"of at least {least:g} " if least else ""
        raise _wrong(config, name, f"must be None or a finite number {from_least}of seconds")


def _is_timeout(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 < value <= _MAX_TIMEOUT


def _check_rate(config: object, name: str) -> None:
    value: Any = getattr(config, name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value <= _MAX_RATE):
        raise _wrong(config, name, f"must be a positive number up to {_MAX_RATE:g}, or None")


def _check_place(config: ServerConfig) -> None:
    """Check where to listen, and that it is said once."""
    if not isinstance(config.reuse_port, bool):
        raise _wrong(config, "reuse_port", "must be True or False")
    _check_integer(config, "unix_socket_mode", 0, 0o777)
    if config.unix_socket_mode != _MODE and config.unix_socket is None:
        raise _wrong(config, "unix_socket_mode", "goes with unix_socket only")
    others = [("host", _HOST), ("port", _PORT), ("reuse_port", False), ("fd", None)]
    for name, checked in (("unix_socket", checked_path), ("fd", checked_descriptor)):
        if getattr(config, name) is None:
            continue
        for other, default in others:
            if other != name and getattr(config, other) != default:
                raise _wrong(config, name, f"excludes {other}: a server listens in one place")
        _replace(config, name, checked)


def _check_headers(config: object, name: str) -> None:
    value: Any = getattr(config, name)
    if not isinstance(value, Mapping):
        raise _wrong(config, name, "must map header names to values")
    for key, text in value.items():
        if not isinstance(key, str) or not is_token(key):
            raise _wrong(config, name, f"has the invalid header name {key!r}")
        if not isinstance(text, str) or not is_field_value(text):
            raise _wrong(config, name, f"has an invalid value for {key!r}")
        if key.lower() in {"content-length", "transfer-encoding", "connection", "date"}:
            raise _wrong(config, name, f"sets {key!r}, which belongs to each response")


def _replace(config: object, name: str, checked: Callable[[Any], object]) -> None:
    """Have a field be what `checked` makes of it; its ValueError says what the field must be."""
    try:
        value = checked(getattr(config, name))
    except ValueError as error:
        raise _wrong(config, name, str(error)) from None
    object.__setattr__(config, name, value)
