"""A handy_ws server whose callback blocks on request: `sleep 5`, `hold 5` or `spin 5`.

``sleep`` waits in the callback, which lets go of the interpreter's lock. ``hold`` calls into the C
library without letting go of it, so that no other Python thread runs. ``spin`` has another thread
of Python run without a pause. Before each of these the callback broadcasts the time, and so does
another thread ten times a second, as far as it gets the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import threading
import time
from typing import TYPE_CHECKING

from handy_ws import HttpServer, ServerConfig, WebSocketHandler, WebSocketMessageHandler

if TYPE_CHECKING:
    from handy_ws import WebSocketManager, WebSocketTextMessage

_INTERVAL = 0.1


class Blocking(WebSocketMessageHandler):
    """Does what a message says."""

    manager: WebSocketManager

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Block, and say when it is over."""
        what, seconds = message.payload.split()
        tell_the_time(self.manager)
        if what == "sleep":
            time.sleep(float(seconds))
        elif what == "hold":
            ctypes.PyDLL(None).usleep(int(float(seconds) * 1e6))  # PyDLL keeps the lock
        elif what == "spin":
            spinning = threading.Thread(target=spin, args=(float(seconds),))
            spinning.start()
            spinning.join()
        message.connection.send_text("done")


def spin(seconds: float) -> None:
    """Run without a pause."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def tell_the_time(manager: WebSocketManager) -> None:
    """Broadcast it, by the clock that is the same for all processes."""
    manager.broadcast(str(time.monotonic_ns()))


def tell_again_and_again(manager: WebSocketManager, over: threading.Event) -> None:
    """Broadcast the time ten times a second."""
    while not over.wait(_INTERVAL):
        tell_the_time(manager)


def main() -> None:
    """Serve until SIGTERM."""
    handler = Blocking()
    over = threading.Event()
    with HttpServer(WebSocketHandler(handler), ServerConfig(port=0)) as server:
        handler.manager = server.websocket_manager
        teller = threading.Thread(target=tell_again_and_again, args=(handler.manager, over))
        teller.start()
        print(server.address[1], flush=True)
        server.wait()
        over.set()
        teller.join()


if __name__ == "__main__":
    main()
