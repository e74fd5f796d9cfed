"""A threaded HTTP/1.1 server in which a connection that waits holds no thread.

Three kinds of threads share the work. The acceptor (`acceptor.py`) owns every socket that is
waiting for something: for a request, for the rest of a body, for a client to read. The workers
(`worker.py`) own a connection only while there is something to compute: a complete request, or a
response whose client has room for more. The manager (Rust, `handy_ws._core`) owns the sockets
that have become WebSocket connections. A connection belongs to one thread at any time, and is
passed on through a queue; `connection.py` has the diagram.

The protocol itself needs neither sockets nor threads: `syntax.py`, `head.py` and `body.py` turn
bytes into requests, `response.py` turns responses into bytes.
"""
