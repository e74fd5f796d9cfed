"""`HttpServer`: the parts of the server, and starting and stopping them.

All state of one run of the server is in a `Run` (`run.py`). `stop` asks it to come to an end, and
waits. Therefore it can be called from every thread: one that belongs to the server asks and does
not wait, since it would wait for itself. What the process does to a server, by signals, its exit
and forks, is in `process.py`.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from handy_ws.config import ServerConfig
from handy_ws.http import process
from handy_ws.http.handlers import handle_function
from handy_ws.http.run import Run
from handy_ws.http.tls import tls_context
from handy_ws.websocket.manager import WebSocketManager
from handy_ws.websocket.manager_run import DEFAULT_TIMEOUT, GRACE, check_timeout

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from handy_ws._core import TlsContext
    from handy_ws.http.handlers import Handler

__all__ = ["HttpServer"]

_logger = logging.getLogger("handy_ws")

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
            ValueError: a file that ``config.tls`` names cannot be used any more.
        """
        handle_function(handler)  # checks it
        self._handler = handler
        self._config = _checked(ServerConfig() if config is None else config)
        self._tls = _tls_of(self._config)
        self._manager = WebSocketManager(self._config.websocket, of_server=True)
        self._lock = threading.Lock()
        self._run: Run | None = None
        process.add_server(self)

    @property
    def config(self) -> ServerConfig:
        """The settings. While the server does not run they may be replaced, all but `websocket`.

        Raises:
            RuntimeError: set while the server is running.
            TypeError: set to something else than a `ServerConfig`.
            ValueError: set to one with another `websocket`, which the manager already has, or
                whose `tls` names a file that cannot be used any more.
        """
        return self._config

    @config.setter
    def config(self, config: ServerConfig) -> None:
        with self._lock:
            if self._run is not None:
                raise RuntimeError("the config of a server cannot be replaced while it is running")
            if _checked(config).websocket != self._config.websocket:
                raise ValueError("the websocket config of a server cannot be replaced")
            self._tls = _tls_of(config)
            self._config = config

    @property
    def websocket_manager(self) -> WebSocketManager:
        """The manager of the WebSocket connections; the same one for the server's whole life."""
        return self._manager

    @property
    def address(self) -> Any:
        """Host and port that the server is bound to, or the path of its unix socket.

        The port is the true one when the config says 0. As with ``socket.getsockname()``, which
        type it is depends on the kind of socket, which the program knows and its types do not:
        ``tuple[str, int]``, or `str` with ``unix_socket``.

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
            run = Run(self, self._handler, self._manager, self._tls, self._ended)
            self._run = run
            run.start()
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
        with process.stopping_at_signals(run, DEFAULT_TIMEOUT):
            while not run.wait(_SIGNAL_DELAY):
                pass

    def stop(self, timeout: float = DEFAULT_TIMEOUT) -> None:
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
        check_timeout(timeout)
        run = self._run
        if run is not None:
            run.stop(timeout)
            if not run.has_current_thread():
                run.wait(timeout + GRACE)

    def reload_tls(self) -> None:
        """Read certificate, key and client authorities anew, from the files of ``config.tls``.

        They count for clients that connect from now on, which cannot resume older sessions.
        Connections that are open, WebSockets too, go on as they are.

        Raises:
            RuntimeError: the server speaks no TLS.
            ValueError: a file cannot be used; the message names the field. All stays as it was.
        """
        if self._tls is None:
            msg = "the server speaks no TLS: ServerConfig.tls is None"
            raise RuntimeError(msg)
        self._tls.reload()
        _logger.info("the server has read its TLS certificate anew")

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
        self.stop(0.0 if hurried else DEFAULT_TIMEOUT)

    def _ended(self, run: Run) -> None:
        """Note that a run is over, so that the next one may begin."""
        if self._run is run:
            self._run = None

    def forget_run(self) -> None:
        """Be a server that does not run, in a forked child; not for programs."""
        self._lock = threading.Lock()  # a thread that does not exist here may have locked it
        self._run = None
        self._manager.life.forget()


def _tls_of(config: ServerConfig) -> TlsContext | None:
    return None if config.tls is None else tls_context(config.tls)


def _checked(config: object) -> ServerConfig:
    if not isinstance(config, ServerConfig):
        msg = f"config must be a ServerConfig, not {type(config).__name__}"
        raise TypeError(msg)
    return config
