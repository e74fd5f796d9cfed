"""The config classes refuse nonsense by name."""

from __future__ import annotations

import dataclasses
import math
import threading
from typing import Any

import pytest
from handy_ws import CompressionConfig, HttpServer, ServerConfig, WebSocketConfig

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8080,
    "reuse_port": False,
    "unix_socket": None,
    "unix_socket_mode": 0o600,
    "fd": None,
    "backlog": 1024,
    "workers": 25,
    "spare_workers": 100,
    "max_head_size": 65536,
    "max_header_count": 100,
    "head_timeout": 10.0,
    "keep_alive_timeout": 5.0,
    "max_body_size": 16 * 1024 * 1024,
    "body_timeout": 30.0,
    "min_body_rate": 240.0,
    "min_send_rate": 240.0,
    "rate_grace": 5.0,
    "default_headers": {},
    "trusted_proxies": (),
    "forwarded_headers": ("X-Forwarded-For", "X-Forwarded-Proto"),
    "proxy_protocol": False,
    "tls": None,
    "websocket": WebSocketConfig(),
}
WEBSOCKET_DEFAULTS = {
    "max_message_size": 1024 * 1024,
    "max_fragments": 131072,
    "send_queue_limit": 1024 * 1024,
    "slow_consumer": "close",
    "broadcast_queue_limit": 16 * 1024 * 1024,
    "receive_queue_limit": 128 * 1024,
    "max_message_rate": None,
    "max_connections": None,
    "max_connections_per_address": None,
    "max_pending_handshakes": 1024,
    "close_timeout": 10.0,
    "ping_interval": 20.0,
    "ping_timeout": 20.0,
    "idle_timeout": None,
    "write_timeout": 30.0,
    "slow_callback_warning": 0.1,
    "compression": None,
}
COMPRESSION_DEFAULTS = {
    "level": 1,
    "threshold": 256,
    "context_takeover": False,
    "window_bits": 15,
}
NOT_INTEGERS = [None, True, 1.0, "1", -1]
NOT_TIMES = [None, True, "1", 0, -1, math.nan, math.inf, -math.inf, 1e300]

BAD: list[tuple[str, Any]] = [
    *[("host", value) for value in (None, "", 1, b"127.0.0.1", "a\0b")],
    *[("port", value) for value in (*NOT_INTEGERS, 65536)],
    *[("reuse_port", value) for value in (None, 1, "yes")],
    *[("unix_socket", value) for value in ("", 7, b"/bytes", "a\0b", "x" * 108, True)],
    *[("unix_socket_mode", value) for value in (*NOT_INTEGERS, 0o1000)],
    *[("fd", value) for value in (*NOT_INTEGERS[1:], "", "upstart")],
    *[
        (name, value)
        for name in ("backlog", "workers", "max_head_size", "max_header_count")
        for value in (*NOT_INTEGERS, 0)
    ],
    ("workers", 1_000_000),
    *[("spare_workers", value) for value in (*NOT_INTEGERS, 1_000_000)],
    *[("max_body_size", value) for value in NOT_INTEGERS],
    *[
        (name, value)
        for name in ("head_timeout", "keep_alive_timeout", "body_timeout", "rate_grace")
        for value in NOT_TIMES
    ],
    *[
        (name, value)
        for name in ("min_body_rate", "min_send_rate")
        for value in (True, "1", 0, -1, math.nan, math.inf, 1e300)
    ],
    *[
        ("default_headers", value)
        for value in (
            None,
            [("A", "b")],
            {"": "b"},
            {"A B": "c"},
            {"A:": "c"},
            {1: "a"},
            {"A": 1},
            {"A": "b\r\nC: d"},
            {"A": "\0"},
            {"A": "\u20ac"},
            {"Content-Length": "1"},
            {"transfer-encoding": "chunked"},
            {"Connection": "close"},
        )
    ],
    *[
        ("trusted_proxies", value)
        for value in (
            None,
            "127.0.0.1",
            b"127.0.0.1",
            [1],
            [b"127.0.0.1"],
            ["localhost"],
            [""],
            ["10.0.0.1/8"],
            ["10.0.0.0/33"],
            ["127.0.0.1", "UNIX"],
        )
    ],
    *[
        ("forwarded_headers", value)
        for value in (
            None,
            "Forwarded",
            [1],
            ["X-Real-IP"],
            ["Forwarded", "X-Forwarded-For"],
            [""],
        )
    ],
    *[("proxy_protocol", value) for value in (None, 0, 2, "v2")],
    ("proxy_protocol", True),  # without a trusted proxy
    ("websocket", None),
    ("websocket", {}),
    ("websocket", ServerConfig),
]
WEBSOCKET_BAD: list[tuple[str, Any]] = [
    *[
        (name, value)
        for name in (
            "max_message_size",
            "max_fragments",
            "send_queue_limit",
            "broadcast_queue_limit",
            "receive_queue_limit",
            "max_pending_handshakes",
        )
        for value in (*NOT_INTEGERS, 0)
    ],
    *[
        (name, value)
        for name in ("max_connections", "max_connections_per_address")
        for value in (True, 1.0, "1", -1, 0, 2**63)
    ],
    *[("slow_consumer", value) for value in (None, True, "", "Close", "drop", ["close"])],
    *[("max_message_rate", value) for value in NOT_TIMES if value is not None],
    *[("close_timeout", value) for value in NOT_TIMES],
    *[
        (name, value)
        for name in (
            "ping_interval",
            "ping_timeout",
            "idle_timeout",
            "write_timeout",
            "slow_callback_warning",
        )
        for value in NOT_TIMES
        if value is not None
    ],
    ("slow_callback_warning", 0.009),
    ("compression", True),
    ("compression", "deflate"),
    ("compression", {}),
    ("compression", CompressionConfig),
]
COMPRESSION_BAD: list[tuple[str, Any]] = [
    *[("level", value) for value in (*NOT_INTEGERS, 0, 10)],
    *[("threshold", value) for value in NOT_INTEGERS],
    *[("context_takeover", value) for value in (None, 0, 1, "yes")],
    # 8: raw DEFLATE cannot do it.
    *[("window_bits", value) for value in (*NOT_INTEGERS, 8, 16)],
]


@pytest.mark.parametrize(
    ("config_class", "defaults"),
    [
        (ServerConfig, DEFAULTS),
        (WebSocketConfig, WEBSOCKET_DEFAULTS),
        (CompressionConfig, COMPRESSION_DEFAULTS),
    ],
)
def test_the_fields_and_their_defaults(config_class: Any, defaults: dict[str, object]) -> None:
    config = config_class()
    assert {f.name: getattr(config, f.name) for f in dataclasses.fields(config)} == defaults


@pytest.mark.parametrize(
    ("config_class", "name", "value"),
    [
        *[(ServerConfig, *case) for case in BAD],
        *[(WebSocketConfig, *case) for case in WEBSOCKET_BAD],
        *[(CompressionConfig, *case) for case in COMPRESSION_BAD],
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value),
)
def test_nonsense_is_refused_by_name(config_class: Any, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{config_class.__name__}\.{name} "):
        config_class(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "::"),
        ("port", 0),
        ("port", 65535),
        ("workers", 1),
        ("spare_workers", 0),
        ("max_body_size", 0),
        ("head_timeout", 1),
        ("head_timeout", 0.001),
        ("min_body_rate", None),
        ("min_body_rate", 1),
        ("min_send_rate", None),
        ("min_send_rate", 1e6),
        ("default_headers", {"X-Frame-Options": "DENY", "Server": ""}),
        ("trusted_proxies", ("127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "unix")),
        ("forwarded_headers", ()),
        ("forwarded_headers", ("forwarded",)),
        ("forwarded_headers", ("X-FORWARDED-HOST", "X-Forwarded-Port")),
    ],
)
def test_sense_is_accepted(name: str, value: object) -> None:
    assert getattr(ServerConfig(**{name: value}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [("level", 9), ("threshold", 0), ("context_takeover", True), ("window_bits", 9)],
)
def test_sensible_compression_is_accepted(name: str, value: object) -> None:
    compression = CompressionConfig(**{name: value})  # type: ignore[arg-type]
    assert getattr(compression, name) == value
    assert WebSocketConfig(compression=compression).compression is compression


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ping_interval", None),
        ("ping_timeout", 0.5),
        ("idle_timeout", 3600),
        ("write_timeout", None),
    ],
)
def test_sensible_deadlines_are_accepted(name: str, value: object) -> None:
    config = WebSocketConfig(**{name: value})  # type: ignore[arg-type]
    assert getattr(config, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_message_rate", 1),
        ("max_message_rate", 0.001),
        ("max_message_rate", None),
        ("max_connections", 1),
        ("max_connections", 2**63 - 1),
        ("max_connections_per_address", 1),
        ("max_connections_per_address", None),
        ("max_pending_handshakes", 1),
    ],
)
def test_sensible_limits_are_accepted(name: str, value: object) -> None:
    config = WebSocketConfig(**{name: value})  # type: ignore[arg-type]
    assert getattr(config, name) == value
    # The core takes them, too.
    assert len(HttpServer(lambda _: None, ServerConfig(websocket=config)).websocket_manager) == 0


def test_configs_are_frozen_and_keyword_only() -> None:
    config = ServerConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        ServerConfig("127.0.0.1")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        config.default_headers["A"] = "b"  # type: ignore[index]


def test_the_headers_are_a_copy() -> None:
    headers = {"A": "b"}
    config = ServerConfig(default_headers=headers)
    headers["A"] = "c\r\n"
    assert config.default_headers == {"A": "b"}


def test_a_config_can_be_changed_by_replace() -> None:
    config = dataclasses.replace(ServerConfig(port=1), workers=3)
    assert (config.port, config.workers) == (1, 3)
    with pytest.raises(ValueError, match="workers"):
        dataclasses.replace(config, workers=0)


# Another config for a server


def test_a_server_that_does_not_run_takes_another_config() -> None:
    server = HttpServer(lambda _: None, ServerConfig(port=0, workers=1))
    for workers in (2, 3):
        server.config = dataclasses.replace(server.config, workers=workers)
        assert server.config.workers == workers
        with server:
            names = [thread.name for thread in threading.enumerate()]
            assert sum(name.startswith("handy-ws-http-") for name in names) == workers


def test_a_server_that_runs_does_not() -> None:
    config = ServerConfig(port=0, workers=1)
    with HttpServer(lambda _: None, config) as server:
        with pytest.raises(RuntimeError, match="cannot be replaced while it is running"):
            server.config = ServerConfig(port=0, workers=2)
        assert server.config is config


def test_the_manager_keeps_its_config() -> None:
    server = HttpServer(lambda _: None)
    with pytest.raises(ValueError, match="the websocket config of a server cannot be replaced"):
        server.config = ServerConfig(websocket=WebSocketConfig(max_message_size=1))
    with pytest.raises(TypeError, match="config must be a ServerConfig, not dict"):
        server.config = {"port": 1}  # type: ignore[assignment]
    assert server.config == ServerConfig()
