"""A real browser compresses, and reads what we compress (RFC 7692)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    CompressionConfig,
    HttpResponse,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Echoes texts of growing length, and returns what was agreed on and how many came back right.
SCRIPT = """
() => new Promise((resolve, reject) => {
  const socket = new WebSocket(`ws://${location.host}/echo`);
  const texts = Array.from({length: 60}, (_, n) => `${n} "ä€🐍" `.repeat(n * n));
  let right = 0;
  socket.onopen = () => texts.forEach((text) => socket.send(text));
  socket.onmessage = ({data}) => {
    if (data !== texts[right]) reject(new Error(`message ${right} came back wrong`));
    right += 1;
    if (right === texts.length) socket.close(4000, "done");
  };
  socket.onclose = ({code}) => resolve([socket.extensions, right, code]);
})
"""


class Echo(WebSocketMessageHandler):
    """Notes whether what went back was shorter than what was said."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        message.connection.send_text(message.payload)


@pytest.mark.parametrize(
    ("compression", "extensions"),
    [
        (None, ""),
        (
            CompressionConfig(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (CompressionConfig(context_takeover=True), "permessage-deflate"),
        (
            CompressionConfig(context_takeover=True, window_bits=9, level=9),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
        ),
    ],
    ids=["off", "alone", "takeover", "small window"],
)
def test_a_browser_and_we_read_each_other(
    browser: Browser, compression: CompressionConfig | None, extensions: str
) -> None:
    paths = PathHandler()
    paths.add("/", lambda _: HttpResponse("<title>Echo</title>", mimetype="text/html"))
    paths.add("/echo", WebSocketHandler(Echo()))
    config = ServerConfig(port=0, websocket=WebSocketConfig(compression=compression))
    with HttpServer(paths, config) as server:
        page = browser.new_page()
        page.goto("http://{}:{}/".format(*server.address))
        assert page.evaluate(SCRIPT) == [extensions, 60, 4000]
        page.close()
        stats = server.websocket_manager.stats()
    assert stats.messages_received == 60
    assert (stats.bytes_received < 100_000) is (compression is not None)
    assert (stats.bytes_sent < 100_000) is (compression is not None)
