"""The thread that owns every connection that waits.

While it sleeps the core accepts, makes TLS sessions and reads the first head of each connection, in
this thread and without the interpreter (`Reception`). From there on a connection is its own: it
finds the ends of further heads, reads bodies, sends on what did not fit into a socket, and keeps
the deadlines, for any number of connections and without ever blocking on one of them
(`waiting.py`). What is complete goes into the queue of the workers.

A turn reads from top to bottom: take back what the workers return, sleep until something happens,
deal with it, see who is late, pass on what is ready. It is short, however many clients do something
at the same moment: what is left is for the next one. Work is passed on at the end of the turn,
since every thread that is woken competes for the interpreter with this one.

A connection stays in the poller, untouched, while a worker has it: most clients send nothing
before they have their answer, and then a kept-alive request costs no system call here but the
recv. If one does send, it is taken out until it comes back.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from contextlib import ExitStack, suppress
from itertools import islice
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from handy_ws.http import access_log
from handy_ws.http.access_log import AccessEntry
from handy_ws.http.connection import Connection, State
from handy_ws.http.poller import READ, Interrupt, Poller
from handy_ws.http.shortage import ShortageLog, is_shortage
from handy_ws.http.waiting import WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws._core import Arrival, Reception
    from handy_ws.config import ServerConfig
    from handy_ws.http.listener import Listener
    from handy_ws.http.pool import WorkerPool
    from handy_ws.http.response import Answers
    from handy_ws.http.service import Service

__all__ = ["Acceptor"]

_logger = logging.getLogger("handy_ws")

#: Connections accepted before those that are open get their turn.
_ACCEPT_BUDGET: Final = 64
#: Connections that are let go before the others get their turn, if very many are late at once.
_DEADLINE_BUDGET: Final = 64
#: How long to leave new connections alone when the process has no descriptors left, in seconds.
#: Nobody tells when there are some again: any part of the program may close a file.
_ACCEPT_PAUSE: Final = 0.1


class Acceptor(threading.Thread):
    """The acceptor thread.

    Attributes:
        work: the queue of connections for the workers; None tells one of them to end.
        address: host and port that the server listens on, or the path of its unix socket.
        stopping: whether `stop` has been called.
        finished: whether it is over: what a worker still has is not waited for any more.
        interrupt: ends the waits of handlers for the network, when a stop cannot wait for them.
        forked: whether this is the copy in a forked child, of a thread that does not exist there.
    """

    def __init__(
        self,
        listener: Listener,
        config: ServerConfig,
        reception: Reception,
        answers: Answers,
        on_end: Callable[[float], None],
    ) -> None:
        """Make the thread; `start` starts it.

        Args:
            listener: the listening socket; it is closed by the acceptor from here on.
            config: the limits.
            reception: where clients begin; it is closed by the acceptor from here on.
            answers: renders the error answers.
            on_end: called last on this thread, with the time (monotonic) at which all must be
                over.

        Raises:
            OSError: out of descriptors; nothing is left open then but the listener.
        """
        super().__init__(name="handy-ws-acceptor", daemon=True)
        self.work: SimpleQueue[Connection | None] = SimpleQueue()
        self.address = listener.address
        self.stopping = False
        self.finished = False
        self.forked = False
        self._keep_alive_timeout = config.keep_alive_timeout
        self._on_end = on_end
        with ExitStack() as opened:
            self._reception = reception
            opened.callback(reception.close)
            self._poller = Poller(reception, self._lets_in)
            opened.callback(self._poller.close)
            self.interrupt = Interrupt()
            opened.pop_all()
        self._room = WaitingRoom(config, answers, self._poller, reception, int(listener.family))
        # Before a client itself says something, a proxy has to introduce it.
        self._introduces = config.proxy_protocol
        self._arrivals: list[Arrival] = []
        self._listener: Listener | None = listener
        self._listen(listener)
        self._accept_again = inf
        self._shortage = ShortageLog("cannot accept connections for the moment: %s")
        self._stop_at = self._interrupt_at = inf
        self._pool: WorkerPool
        self._service: Service
        self._dispatched = 0
        self._hand_backs: deque[tuple[Connection, State]] = deque()
        self._has_dispatched = False
        self._wakes_at = 0.0

    # What other threads call

    def hand_back(self, connection: Connection, state: State) -> None:
        """Give a connection back, to wait in `state`."""
        self._hand_backs.append((connection, state))
        if self.finished:
            self._drop_hand_backs()
        elif (
            state is not State.IDLE
            or connection.interest != READ
            or connection.received
            or self._wakes_at > monotonic() + self._keep_alive_timeout
        ):
            self._poller.wake()
        # Otherwise the next request wakes the acceptor, or it wakes by itself in good time to
        # see that there is none.

    def forget(self, connection: Connection) -> None:
        """Take a connection out of the poller, before it is closed or given away."""
        self._poller.forget(connection)

    def wake(self) -> None:
        """Wake the thread if it sleeps."""
        self._poller.wake()

    def stop(self, interrupt_at: float, stop_at: float) -> None:
        """Begin to end: refuse new requests, and be over at the time `stop_at` (monotonic).

        Handlers that wait for the network do not any more from the time `interrupt_at` on.
        """
        self._interrupt_at = interrupt_at
        self._stop_at = stop_at
        self.stopping = True
        self._poller.wake(surely=True)

    def count_on(self, pool: WorkerPool, service: Service) -> None:
        """Say who works, and serves on this thread what needs no worker."""
        self._pool = pool
        self._service = service

    # What a fork calls

    def before_fork(self) -> None:
        """Have no client in hand that nobody could find in the child."""
        self._reception.hold()

    def after_fork(self) -> None:
        """Go on, in the parent."""
        self._reception.release()

    def forget_all(self) -> None:
        """Close the child's copies of all sockets, without a word to anybody."""
        for connection in self._all_connections():
            with suppress(OSError):
                os.close(connection.sock.detach())
        self.forked = self.stopping = self.finished = True
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for descriptor in self._reception.descriptors():
            # The parent's manager may have it by now, and then it has been found there.
            with suppress(OSError):
                os.close(descriptor)
        self._poller.close()
        self.interrupt.close()
        for _ in self._pool.workers:
            self.work.put(None)  # for the one that has forked

    def _all_connections(self) -> set[Connection]:
        connections = {*self._room.ready, *self._room.deadlines.all_waiting()}
        connections.update(self._room.connection_of(arrival) for arrival in self._arrivals)
        connections.update(connection for connection, _ in self._hand_backs)
        if not self.finished:
            connections.update(self._poller.connections())
        with suppress(Empty):
            while (waiting := self.work.get_nowait()) is not None:
                connections.add(waiting)
        for worker in self._pool.workers:
            if worker.connection is not None:
                connections.add(worker.connection)
        return connections

    # The loop

    def run(self) -> None:
        """Serve until `stop`."""
        try:
            while not self._is_over():
                self._turn()
        except Exception:
            _logger.exception("the acceptor failed, the server stops")
        self._end()

    def _turn(self) -> None:
        while self._hand_backs:
            self._guarded(self._take_back, *self._hand_backs.popleft())
        happened = self._poller.wait(self._time_to_sleep(), self._has_work, self._arrivals)
        if self.stopping:
            self._stop_listening()
        for connection in happened.connections:
            self._guarded(self._room.on_event, connection)
        self._receive()
        if self._listener is not None:
            error = happened.shortage
            if happened.can_accept:
                error = self._accept_introduced(self._listener)
            if error is not None:
                self._cannot_accept(self._listener, error)
        now = monotonic()
        for connection in islice(self._room.deadlines.expired(now), _DEADLINE_BUDGET):
            self._guarded(self._room.on_deadline, connection)
        if now >= self._accept_again:
            self._resume_accepting()
        if now >= self._interrupt_at:
            self._interrupt_at = inf
            self.interrupt.set()
        self._dispatch()

    def _time_to_sleep(self) -> float | None:
        now = monotonic()
        wakes_at = min(self._room.next_deadline(), self._accept_again)
        wakes_at = min(wakes_at, self._interrupt_at, self._stop_at)
        if self._has_dispatched:
            # Connections may be handed back without a wake: see hand_back().
            self._has_dispatched = False
            wakes_at = min(wakes_at, now + self._keep_alive_timeout)
        self._wakes_at = wakes_at
        return None if wakes_at == inf else max(0.0, wakes_at - now)

    def _has_work(self) -> bool:
        # What was taken back can be ready at once: the next request had come already.
        return bool(self._hand_backs or self._room.ready) or self._is_over()

    def _guarded(self, step: Callable[..., None], connection: Connection, *args: Any) -> None:
        """Take a step with one connection; whatever goes wrong is the end of that one only."""
        try:
            step(connection, *args)
        except Exception:
            _logger.exception("an error in the HTTP server ended a connection")
            self._room.close(connection)

    def _take_back(self, connection: Connection, state: State) -> None:
        if self.stopping and state is not State.WRITING:
            self._room.close(connection)
        else:
            self._room.enter(connection, state)

    def _dispatch(self) -> None:
        """Give what is ready to the workers, and serve here what can be served at once."""
        ready = self._room.ready
        if not ready:
            return
        at_once = []
        is_logged = access_log.is_wanted()
        for connection in ready:
            # Who reads the log may block.
            found = None if is_logged else self._service.gate_of(connection)
            if found is not None:
                # The next one that keeps the terms there is let in without us.
                self._reception.open(*found)
                at_once.append(connection)
                continue
            if is_logged and connection.state is State.HEAD_READY:
                connection.entry = AccessEntry()
            self._has_dispatched = True
            self._dispatched += 1
            self.work.put(connection)
        if at_once:
            self._service.serve_all(at_once)
        ready.clear()

    # Accepting

    def _lets_in(self) -> bool:
        # What a proxy has said of its client, and what is logged, has to be seen here.
        return self._room.proxies is None and not access_log.is_wanted()

    def _listen(self, listener: Listener) -> None:
        if self._introduces:
            self._poller.watch_listener(listener)
        else:
            self._poller.listen(listener)

    def _receive(self) -> None:
        """Take those who have made a request."""
        while self._arrivals:
            arrival = self._arrivals.pop(0)  # there are never many
            self._guarded(self._room.receive, self._room.connection_of(arrival), arrival)

    def _accept_introduced(self, listener: Listener) -> OSError | None:
        for _ in range(_ACCEPT_BUDGET):
            try:
                connection = Connection(*listener.accept_connection())
            except BlockingIOError:
                break
            except OSError as error:
                return error
            self._guarded(self._room.welcome, connection)
        return None

    def _cannot_accept(self, listener: Listener, error: OSError) -> None:
        """Leave the open connections alone and new ones in the backlog for a moment."""
        if is_shortage(error):
            self._shortage.failed(error)
            self._poller.ignore(listener)
            self._accept_again = monotonic() + _ACCEPT_PAUSE
        # Otherwise the client has given up already, or something like it.

    def _resume_accepting(self) -> None:
        self._accept_again = inf
        if self._listener is not None:
            try:
                self._listen(self._listener)
            except OSError as error:
                # The system has no memory even for that.
                self._shortage.failed(error)
                self._accept_again = monotonic() + _ACCEPT_PAUSE

    # The end

    def _is_over(self) -> bool:
        """Say whether all requests are answered, or it is time to stop waiting for that."""
        if not self.stopping:
            return False
        if monotonic() >= self._stop_at:
            return True
        # A worker hands back before it counts, so in this order nothing can be overlooked.
        finished = self._dispatched == self._pool.done()
        room = self._room
        waiting = room.ready or self._hand_backs or room.deadlines.count(State.WRITING)
        return finished and not waiting

    def _stop_listening(self) -> None:
        """Refuse new connections, and close those that have no request in work. Once."""
        listener, self._listener = self._listener, None
        if listener is not None:
            if self._accept_again == inf:
                self._poller.ignore(listener)
            listener.stop()
            self._room.close_without_request()

    def _end(self) -> None:
        self._stop_listening()
        self.interrupt.set()
        self.finished = True
        with suppress(Empty):
            while (connection := self.work.get_nowait()) is not None:
                self._drop(connection)
        for worker in self._pool.end():
            self.work.put(None)
            worker.cut_off()
        for connection in self._room.deadlines.waiting(State.WRITING):
            self._drop(connection)
        self._drop_hand_backs()
        self._on_end(self._stop_at)
        self._poller.close()
        self._reception.close()
        self.interrupt.close()

    def _drop_hand_backs(self) -> None:
        """Close what is handed back when nobody is there to take it."""
        with suppress(IndexError):
            while True:
                self._drop(self._hand_backs.popleft()[0])

    def _drop(self, connection: Connection) -> None:
        self._poller.forget(connection)
        connection.close()
