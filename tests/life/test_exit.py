"""The interpreter exits while the server runs, whatever its threads are doing.

Before Python 3.14, a daemon thread that wants the interpreter's lock during the exit is unwound,
and that must not reach Rust code: it would abort the process. Each program here has such threads,
and an exit that takes a moment, so that they do want the lock in it.
"""

from __future__ import annotations

import pytest

from tests.life.program import run

#: The exit waits less long for handlers than it does by itself, and gives the lock away later on.
IMPATIENT = """
import atexit
import handy_ws.http.process

handy_ws.http.process._EXIT_TIMEOUT = handy_ws.http.process.GRACE = 0.1

class Slow:
    def __del__(self, sleep=time.sleep):
        for _ in range(20):
            sleep(0.005)

sys.modules["kept to the end"] = Slow()
atexit.register(print, "atexit")
server.start_in_thread()
"""

#: What a callback or a handler does, for longer than anybody waits for it.
BODIES = {
    "sleeps": "time.sleep(1000)",
    "waits": "threading.Event().wait()",
    "naps": """
    while True:
        time.sleep(0.0005)""",
    "computes": """
    while True:
        pass""",
    "computes without the lock": """
    import hashlib
    while True:
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 1000)""",
    "holds the lock": """
    while True:
        sum(range(1_000_000))""",
    "catches everything": """
    while True:
        try:
            while True:
                time.sleep(0.0005)
        except BaseException:
            pass""",
    "looks at the connection": """
    while True:
        try:
            connection.send_text("x")
        except (AttributeError, ConnectionClosed):
            server.websocket_manager.stats()
        for connected in server.websocket_manager.connections:
            connected.request.headers, connected.close_cause""",
}


def busy(body: str, where: str) -> str:
    """Return a program that is in the midst of `body`."""
    return f"{IMPATIENT}\ndef body():\n    {BODIES[body]}\nclient = call_body({where!r})\n"


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("where", ["callback", "handler"])
def test_the_interpreter_exits_in_the_midst_of(where: str, body: str) -> None:
    assert run(busy(body, where) + "sys.exit(3)") == (3, "atexit\n", "")


@pytest.mark.parametrize("where", ["callback", "handler"])
def test_a_body_that_takes_longer_than_the_exit_waits_for_it(where: str) -> None:
    source = IMPATIENT.replace("= 0.1", "= 1.0") + "\ndef body():\n    "
    source += BODIES["naps"] + f"\nclient = call_body({where!r})\nsys.exit(3)"
    assert run(source) == (3, "atexit\n", "")


@pytest.mark.parametrize("body", ["sleeps", "naps", "computes"])
def test_an_exception_in_the_main_thread_is_all_that_is_seen(body: str) -> None:
    status, out, err = run(busy(body, "callback") + "raise LookupError('deliberate')")
    assert (status, out) == (1, "atexit\n")
    assert err.startswith("Traceback")
    assert err.endswith("LookupError: deliberate\n")
    assert err.count("Traceback") == 1
    assert len(err.splitlines()) <= 4


def test_threads_that_use_the_connections_may_still_run() -> None:
    source = """
def use():
    while True:
        for known in connections:
            try:
                known.send_text("x")
            except ConnectionClosed:
                known.request.headers, known.close_cause, known.remote_address
        server.websocket_manager.broadcast("y")
        server.websocket_manager.stats()

def read(client):
    while client.socket.recv(1 << 20):
        pass

clients = [RawWebSocket.open(server.address) for _ in range(10)]
connections = server.websocket_manager.connections
for client in clients:
    threading.Thread(target=read, args=[client], daemon=True).start()
for _ in range(4):
    threading.Thread(target=use, daemon=True).start()
time.sleep(0.1)
sys.exit(3)
"""
    assert run(IMPATIENT + source) == (3, "atexit\n", "")


def test_a_callback_that_logs_its_failures_may_still_run() -> None:
    source = """
import logging

class Failing(WebSocketMessageHandler):
    def on_connection_established(self, connection):
        if server.websocket_manager.stats().connections_total >= 50:
            entered.set()
        raise LookupError

def connect():
    while True:
        try:
            RawWebSocket.open(address).reset()
        except (OSError, EOFError):
            pass

logger = logging.getLogger("handy_ws")
logger.addHandler(logging.StreamHandler(open(os.devnull, "w")))
logger.propagate = False
websockets = WebSocketHandler(Failing())
address = server.address
for _ in range(4):
    threading.Thread(target=connect, daemon=True).start()
assert entered.wait(20)
sys.exit(3)
"""
    assert run(IMPATIENT + source) == (3, "atexit\n", "")
