"""A manager without a server: the exit of its process, and forks."""

from __future__ import annotations

import textwrap

from tests.life.program import run
from tests.life.test_fork import OPTIONS

#: `adopted()` returns a client whose server end the manager has.
ADOPT = """
from tests.websocket.raw_websocket import request_head

class Echo(WebSocketMessageHandler):
    def on_text_message(self, message):
        message.connection.send_text(message.payload)

manager, echo = WebSocketManager(quiet), WebSocketHandler(Echo())

def adopted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = RawWebSocket(listener.getsockname())
        sock, _ = listener.accept()
    assert manager.adopt(sock, echo, request_head()) is None
    assert client.read_response_head()[0] == 101
    return client

def works(client):
    client.send_text("hello")
    assert client.read_text() == "hello"
    return client
"""


def program(source: str, *options: str) -> tuple[int, str, str]:
    return run(ADOPT + textwrap.dedent(source), *options)


def test_the_exit_of_the_process_says_goodbye() -> None:
    source = """
        class Printing(Echo):
            def on_connection_closed(self, connection):
                print(connection.close_code, connection.close_cause, flush=True)

        def answer():
            assert client.read_close()[0] == 1001
            client.send_close(1001)

        echo = WebSocketHandler(Printing())
        client = works(adopted())
        threading.Thread(target=answer, daemon=True).start()
        sys.exit(3)
    """
    assert program(source) == (3, "1001 CloseCause.SERVER_STOP\n", "")


def test_the_exit_is_not_held_up_by_clients_that_do_not_answer() -> None:
    source = """
        client = works(adopted())
        sys.exit(3)
    """
    assert program(source) == (3, "", "")


def test_a_forked_child_has_its_own_connections() -> None:
    source = """
        import traceback

        def child():
            assert (len(manager), manager.connections) == (0, [])
            if manager_runs:
                try:
                    manager.broadcast("nobody")
                except RuntimeError as error:
                    assert f"another process (pid {os.getppid()})" in str(error)
                else:
                    raise AssertionError
            mine = works(adopted())
            assert len(manager) == 1
            manager.broadcast("the child's")
            assert mine.read_text() == "the child's"
            mine.send_close()
            mine.read_close()
            assert mine.read_end() == b""
            manager.stop()

        def fork():
            child_id = os.fork()
            if child_id == 0:
                signal.alarm(30)
                status = 1
                try:
                    child()
                    status = 7
                except BaseException:
                    traceback.print_exc()
                os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child_id, 0)[1]) == 7

        manager_runs = False
        fork()
        client, manager_runs = works(adopted()), True
        for _ in range(3):
            fork()
            works(client)
        manager.broadcast("the parent's")
        assert client.read_text() == "the parent's"
        manager.stop(0.0)
        manager_runs = True
        fork()
        with manager:
            works(adopted())
    """
    assert program(source, *OPTIONS) == (0, "", "")
