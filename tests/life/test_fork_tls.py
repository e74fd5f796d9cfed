"""Forks of a process whose server speaks TLS: the child has copies of all sessions, and is silent.

A word from the child, if only a close_notify, would be out of turn in the parent's session, and the
end of it.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.life.program import run
from tests.life.test_fork import FORK, OPTIONS

if TYPE_CHECKING:
    from tests.certificates import Authority

SECURE = """
import select, ssl, subprocess, textwrap

def handle(context):
    if context.head.path == "/plain":
        return HttpResponse("plain")
    return websockets.handle(context)

def open_socket(to=None):
    return RawWebSocket.open((to or secure).address, context=context)

def echoes(client, text="echo"):
    client.send_text(text)
    return client.read_text() == text

def gets(client):
    client.send(REQUEST)
    status, headers = client.read_response_head()
    return (status, client._read(int(headers["content-length"]))) == (200, b"plain")

def secure_works():
    with open_socket() as client:
        assert echoes(client)
    with RawWebSocket(secure.address, context=context) as client:
        assert gets(client) and gets(client)

REQUEST = b"GET /plain HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
context = ssl.create_default_context(cafile=AUTHORITY)
config = ServerConfig(
    port=0, workers=4, websocket=quiet, head_timeout=60, keep_alive_timeout=60,
    tls=TlsConfig(CERTIFICATE, PRIVATE_KEY),
)
secure = HttpServer(handle, config)
secure.start_in_thread()
"""


def forking(authority: Authority, source: str) -> tuple[int, str, str]:
    names = {
        "AUTHORITY": str(authority.file),
        "CERTIFICATE": str(authority.server.certificate),
        "PRIVATE_KEY": str(authority.server.private_key),
    }
    settings = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    return run(FORK + settings + SECURE + textwrap.dedent(source), *OPTIONS)


@pytest.mark.parametrize("ending", ["exit", "_exit"])
def test_a_child_says_nothing_on_the_parents_sessions(authority: Authority, ending: str) -> None:
    source = f"""
        def child():
            assert not secure._run
            assert not any(connection.is_open for connection in connections)
            secure.stop()

        sockets = [open_socket() for _ in range(5)]
        connections = secure.websocket_manager.connections
        alive = RawWebSocket(secure.address, context=context)
        assert gets(alive)
        begun = RawWebSocket(secure.address, context=context)
        begun.send(REQUEST[:10])
        half_made = RawWebSocket(secure.address)
        half_made.send(b"\\x16\\x03\\x01\\x02")
        silent = RawWebSocket(secure.address)
        secure_works()
        for number in range(3):
            assert fork(child, {ending!r}) == 7
            quiet = [client.socket for client in (*sockets, half_made, silent)]
            assert select.select(quiet, [], [], 0)[0] == []
            assert all(echoes(client, str(number)) for client in sockets)
            assert gets(alive)
        begun.send(REQUEST[10:])
        assert begun.read_response_head()[0] == 200
        secure.websocket_manager.broadcast("to all")
        assert {{client.read_text() for client in sockets}} == {{"to all"}}
        secure_works()
        for client in (*sockets, alive, begun):
            client.socket.close()
    """
    assert forking(authority, source) == (0, "", "")


def test_a_child_can_start_the_same_server(authority: Authority) -> None:
    source = """
        def child():
            with secure:
                secure_works()
                secure.reload_tls()
                secure_works()

        client = open_socket()
        for _ in range(3):
            assert fork(child) == 7
            assert echoes(client)
        secure_works()
    """
    assert forking(authority, source) == (0, "", "")


def test_forks_in_the_middle_of_handshakes_and_requests(authority: Authority) -> None:
    # The child has copies of OpenSSL's locks, too, which the clients here may have locked. So its
    # own client is another process.
    source = """
        CLIENT = '''
        import ssl, sys
        from tests.websocket.raw_websocket import RawWebSocket
        _, authority, port = sys.argv
        context = ssl.create_default_context(cafile=authority)
        with RawWebSocket.open(("127.0.0.1", int(port)), context=context) as client:
            client.send_text("echo")
            assert client.read_text() == "echo"
        '''

        def child():
            with secure:
                program = [sys.executable, "-c", textwrap.dedent(CLIENT)]
                port = str(secure.address[1])
                subprocess.run([*program, AUTHORITY, port], check=True, timeout=20)

        def visit(number):
            while not over.is_set():
                secure_works()
                counts[number] += 1

        over, counts = threading.Event(), [0] * 4
        threads = [threading.Thread(target=visit, args=(n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(8):
            before = sum(counts)
            assert fork(child, "_exit") == 7
            deadline = time.monotonic() + 20
            while sum(counts) < before + 8:
                assert all(thread.is_alive() for thread in threads)
                assert time.monotonic() < deadline
                time.sleep(0.001)
        over.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    """
    assert forking(authority, source) == (0, "", "")
