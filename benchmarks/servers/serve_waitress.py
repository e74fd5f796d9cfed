"""The WSGI application on waitress."""

from __future__ import annotations

import argparse
import logging

import waitress

from benchmarks.servers.wsgi_app import application

THREADS = 4  # its default


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    arguments = parser.parse_args()
    # It warns whenever more requests have come than there are threads.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = waitress.create_server(
        application, host="127.0.0.1", port=0, threads=arguments.threads
    )
    print(server.effective_port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
