"""The WSGI application on cheroot."""

from __future__ import annotations

import argparse

from cheroot import wsgi

from benchmarks.servers.wsgi_app import application

THREADS = 10  # its default
MANY = 1024


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    arguments = parser.parse_args()
    server = wsgi.Server(
        ("127.0.0.1", 0), application, numthreads=arguments.threads, request_queue_size=MANY
    )
    # Its default is 10: all other connections would be closed after each answer.
    server.keep_alive_conn_limit = MANY
    server.prepare()
    print(server.bind_addr[1], flush=True)
    server.serve()


if __name__ == "__main__":
    main()
