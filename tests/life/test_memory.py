"""What messages leave behind is there for the next ones."""

from __future__ import annotations

import textwrap

from tests.life.program import run


def test_long_texts_do_not_take_new_memory_from_the_system_each_time() -> None:
    source = """
        import resource
        from tests.websocket.recorder import Echo

        def echo(count):
            for _ in range(count):
                client.send_text(text)
                assert client.read_text() == text

        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

        websockets = WebSocketHandler(Echo())
        text = "😀" * 20_000
        with server, RawWebSocket.open(server.address) as client:
            echo(20)
            before = faults()
            echo(200)
            print((faults() - before) // 200)
            client.reset()
    """
    status, out, err = run(textwrap.dedent(source))
    assert (status, err) == (0, "")
    # Of the 100 pages that a text takes, as Python has it, as UTF-8 and as a frame.
    assert int(out) < 10, out
