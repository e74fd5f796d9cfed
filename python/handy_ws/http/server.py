"""`HttpServer`: the parts of the server, and starting and stopping them.

All state of one run of the server is in a `_Run`: the threads and what they share. Stopping is the
acceptor's last act, on its own thread: it lets the requests in work come to an end, then waits
for the workers and the manager. `stop` merely asks for that and waits. Therefore it can be called
from every thread: one that belongs to the server asks and does not wait, since it would wait for
itself.

All threads are daemons, and one `atexit` hook stops the servers that still run when the
interpreter exits, so a program that forgets to stop a server ends nevertheless.
"""

from __future__ import annotations

import atexit
import logging
import signal
import threading
import weakref
from contextlib import contextmanager
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

from handy_ws.config import ServerConfig
from handy_ws.http.acceptor import Acceptor
from handy_ws.http.handlers import handle_function
from handy_ws.http.listener import Listener
from handy_ws.http.response import Answers
from handy_ws.http.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType
    from typing import Self

    from handy_ws._core import WebSocketManager
    from handy_ws.http.handlers import Handler

__all__ = ["HttpServer"]

_logger = logging.getLogger("handy_ws")

_DEFAULT_STOP_TIMEOUT = 10.0
_MAX_STOP_TIMEOUT = 1e6
#: How long the interpreter's exit may be held up by a server that nobody stopped, in seconds.
_EXIT_TIMEOUT = 1.0
#: The part of the timeout that WebSocket peers have to answer our CLOSE.
_MANAGER_SHARE = 0.9
#: How much later than its timeout `stop` may return, for threads to be joined.
_GRACE = 0.5
#: How late a signal may be dealt with, in seconds. CPython only sets a flag for the main thread if
#: a signal comes right before that goes to sleep, or to another thread: nothing wakes it then.
_SIGNAL_DELAY = 1.0


class HttpServer:
    """An HTTP server whose connections can become WebSocket connections.

    ::

        with HttpServer(WebSocketHandler(Chat())) as server:
            print(server.address)
            server.wait()  # until Ctrl-C; or whatever else the program has to do

    All methods may be called from any thread.
    """

    def __init__(self, handler: Handler, config: ServerConfig | None = None) -> None:
        """Make a server; `start` or `start_in_thread` starts it.

        Args:
            handler: an `HttpRequestHandler`, or any callable that takes the context.
            config: the settings; ``ServerConfig()`` by default.

        Raises:
            TypeError: an argument is of the wrong type.
        """
        self._handle = handle_function(handler)
        self._config = ServerConfig() if config is None else config
        if not isinstance(self._config, ServerConfig):
            msg = f"config must be a ServerConfig, not {type(config).__name__}"
            raise TypeError(msg)
        self._manager: WebSocketManager = import_module("handy_ws._core").WebSocketManager(
            self._config.websocket
        )
        self._lock = threading.Lock()
        self._run: _Run | None = None

    @property
    def config(self) -> ServerConfig:
        """The settings."""
        return self._config

    @property
    def websocket_manager(self) -> WebSocketManager:
        """The manager of the WebSocket connections; the same one for the server's whole life."""
        return self._manager

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that the server is bound to, also when the config says port 0.

        Raises:
            RuntimeError: the server is not running.
        """
        run = self._run
        if run is None:
            msg = "the server is not running, so it has no address"
            raise RuntimeError(msg)
        return run.acceptor.address

    def start(self) -> None:
        """Serve, and block until `stop` is called or, on the main thread, SIGINT or SIGTERM comes.

        This is `start_in_thread` and `wait`. If an exception ends it early, as a second signal
        may, it stops the server without waiting.

        Raises:
            RuntimeError: the server is running already.
            OSError: the address cannot be bound.
        """
        thread = self.start_in_thread()
        try:
            self.wait()
        finally:
            # Whatever ended the wait early, the server does not run on behind its back.
            if thread.is_alive():
                self.stop(0.0)

    def start_in_thread(self) -> threading.Thread:
        """Serve in threads of its own, and return when the server listens.

        Returns:
            The thread that ends when the server has stopped.

        Raises:
            RuntimeError: the server is running already, or stopping still.
            OSError: the address cannot be bound.
        """
        with self._lock:
            if self._run is not None:
                msg = "the server is running already"
                raise RuntimeError(msg)
            run = _Run(self, self._handle, self._manager)
            self._run = run
            run.start()
            _running.add(self)
        return run.acceptor

    def wait(self) -> None:
        """Block until the server has stopped; returns at once if it is not running.

        Called on the main thread it lets SIGINT and SIGTERM stop the server meanwhile, as `stop`
        does. A second signal while the server is stopping does what it would do without the
        server. The signal handlers that were there before are there again afterwards.

        Raises:
            RuntimeError: called on a thread of this server, such as in a handler or a WebSocket
                callback: it would wait for itself.
        """
        run = self._run
        if run is None:
            return
        if run.has_current_thread():
            msg = "a thread of the server cannot wait for the server to stop"
            raise RuntimeError(msg)
        with _stopped_by_signals(run):
            while not run.wait(_SIGNAL_DELAY):
                pass

    def stop(self, timeout: float = _DEFAULT_STOP_TIMEOUT) -> None:
        """Stop the server; does nothing if it is not running.

        New connections are refused and idle ones closed at once. Handlers that run, and responses
        that are on their way, may come to an end; WebSocket connections are closed with 1001.
        What is not over after `timeout` is abandoned, with a warning in the log.

        Called from a handler or a WebSocket callback it asks for all this and returns at once,
        because it cannot wait for the thread it is called on.

        Args:
            timeout: how long all that may take, in seconds.

        Raises:
            ValueError: the timeout is negative, not a number, or more than a million seconds.
        """
        if not 0 <= timeout <= _MAX_STOP_TIMEOUT:
            msg = f"timeout must be from 0 to {_MAX_STOP_TIMEOUT:g} seconds, not {timeout!r}"
            raise ValueError(msg)
        run = self._run
        if run is not None:
            run.stop(timeout)
            if not run.has_current_thread():
                run.wait(timeout + _GRACE)

    def __enter__(self) -> Self:
        """Start the server in threads of its own."""
        self.start_in_thread()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server; after a second Ctrl-C, without waiting for it any longer."""
        run = self._run
        interrupted = exception is not None and not isinstance(exception, Exception)
        hurried = interrupted and run is not None and run.is_stopping()
        self.stop(0.0 if hurried else _DEFAULT_STOP_TIMEOUT)

    def _ended(self, run: _Run) -> None:
        """Note that a run is over, so that the next one may begin."""
        if self._run is run:
            self._run = None
            _running.discard(self)


class _Run:
    """One run of a server, from start to stop: its threads."""

    def __init__(
        self, server: HttpServer, handle: Callable[..., Any], manager: WebSocketManager
    ) -> None:
        """Bind the address.

        Raises:
            OSError: the address cannot be bound; nothing is left open.
        """
        config = server.config
        self._server = server
        self._manager = manager
        self._stopping = threading.Lock()
        self._started = threading.Event()
        self._quiet = False
        answers = Answers(config.default_headers)
        listener = Listener.open(config)
        try:
            manager.open()
            try:
                self.acceptor = Acceptor(listener, config, answers, self._finish)
            except BaseException:
                manager.shut_down(0.0)
                manager.finish()
                manager.run()  # to its immediate end
                raise
        except BaseException:
            listener.close()
            raise
        self._workers = [
            Worker(number, server, handle, self.acceptor, answers)
            for number in range(1, config.workers + 1)
        ]
        self.acceptor.count_on(self._workers)
        self._manager_thread = threading.Thread(
            target=manager.run, name="handy-ws-manager", daemon=True
        )

    def start(self) -> None:
        """Start all threads, or none."""
        try:
            self._manager_thread.start()
            for worker in self._workers:
                worker.start()
            self.acceptor.start()
        except RuntimeError:
            # The system has no more threads to give. The acceptor's end is the end of all.
            self.stop(_EXIT_TIMEOUT)
            self.acceptor.run()
            raise
        finally:
            self._started.set()

    def stop(self, timeout: float, *, quiet: bool = False) -> None:
        """Ask all threads to end within `timeout` seconds. Only the first call counts."""
        if self._stopping.acquire(blocking=False):
            self._quiet = quiet
            websockets = len(self._manager)
            # It ends a little earlier, so that the last callbacks still have their time.
            self._manager.shut_down(timeout * _MANAGER_SHARE)
            self.acceptor.stop(monotonic() + timeout)
            _logger.info("the server stops; WebSocket connections to close: %d", websockets)

    def is_stopping(self) -> bool:
        """Say whether `stop` has been called."""
        return self._stopping.locked()

    def has_current_thread(self) -> bool:
        """Say whether this run has to wait for the thread that asks."""
        current = threading.current_thread()
        threads = (self.acceptor, self._manager_thread, *self._workers)
        return current in threads or self._manager.calls_back_here()

    def wait(self, timeout: float) -> bool:
        """Wait until all threads have ended, at most `timeout` seconds; say whether they have."""
        # Another thread may still be starting them, and what has not been cannot be joined.
        if not self._started.wait(timeout):
            return False
        if self.acceptor.ident is not None:
            self.acceptor.join(timeout)
        return not self.acceptor.is_alive()

    def _finish(self, until: float) -> None:
        """Wait for the other threads; called last on the acceptor's thread."""
        self.stop(max(0.0, until - monotonic()))
        for worker in self._workers:
            _join(worker, until)
        self._manager.finish()  # no worker is left that could upgrade a connection
        _join(self._manager_thread, until)
        stuck = [worker.name for worker in self._workers if worker.is_alive()]
        if self._manager_thread.is_alive():
            stuck.append(self._manager_thread.name)
        if stuck and not self._quiet:
            _logger.warning("the server stopped without waiting for: %s", ", ".join(stuck))
        self._server._ended(self)  # noqa: SLF001


def _join(thread: threading.Thread, until: float) -> None:
    """Wait for a thread, if it was started, until that time of the monotonic clock."""
    if thread.ident is not None:
        # Even without time left, a thread that is about to end gets the chance.
        thread.join(max(_GRACE / 10, until - monotonic()))


@contextmanager
def _stopped_by_signals(run: _Run) -> Iterator[None]:
    """Have the first SIGINT or SIGTERM stop the run, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is on_signal:
                # None: it was not set from Python, and cannot be set back from here.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        restore()
        run.stop(_DEFAULT_STOP_TIMEOUT)

    for number in numbers:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()


#: The servers to be stopped when the interpreter exits.
_running: weakref.WeakSet[HttpServer] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        run = server._run  # noqa: SLF001
        if run is not None:
            run.stop(_EXIT_TIMEOUT, quiet=True)
            run.wait(_EXIT_TIMEOUT + _GRACE)
