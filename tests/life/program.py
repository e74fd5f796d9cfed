"""Programs under test: what they print, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

#: How long a program may take, in seconds; all take far less on a machine that is not busy.
PATIENCE = 40.0

#: What the programs have in common: a server on a free port, not yet started, whose WebSockets are
#: at /, and a client for it. `body` is what a callback runs for a text message, or the HTTP
#: handler for /body; `entered` says that it has begun.
COMMON = """
import os, signal, socket, sys, threading, time
from handy_ws import *
from tests.websocket.raw_websocket import RawWebSocket, frame

class Handler(WebSocketMessageHandler):
    def on_text_message(self, message):
        global connection
        connection = message.connection
        entered.set()
        body()

def handle(context):
    if context.head.path == "/body":
        entered.set()
        body()
        return None
    return websockets.handle(context)

def call_body(where):
    if where == "callback":
        client = RawWebSocket.open(server.address)
        client.send_text("go")
    else:
        client = RawWebSocket(server.address)
        client.send(b"GET /body HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    assert entered.wait(20)
    return client

def body():
    pass

connection = None
entered = threading.Event()
websockets = WebSocketHandler(Handler())
# On a busy machine callbacks and programs may take a while: no warning and no PING.
quiet = WebSocketConfig(slow_callback_warning=None, ping_interval=None)
server = HttpServer(handle, ServerConfig(port=0, workers=4, websocket=quiet))
"""


def start(source: str, *options: str) -> subprocess.Popen[str]:
    """Start a program: `COMMON` and then `source`."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-W", "error", *options, "-c", COMMON + source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # with all its children
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a program; return its status and what it has printed on both streams."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)  # faulthandler says where every thread is
        _, err = process.communicate()
        raise AssertionError(f"the program hangs:\n{err}") from None
    return process.returncode, out, err


def run(source: str, *options: str) -> tuple[int, str, str]:
    """Run a program to its end."""
    with start(source, *options) as process:
        return outcome(process)
