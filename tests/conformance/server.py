"""The echo server that the conformance suite talks to.

It takes a free port and prints it, which is all that `run.py` wants to know. The suite's largest
message is 16 MiB, in 65,536 fragments; there is room for more, so that no limit of ours is tested.
With compression even the shortest message is compressed: the suite has cases of 16 bytes.
"""

import argparse
import signal
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from handy_ws import (
    CompressionConfig,
    HttpServer,
    ServerConfig,
    TlsConfig,
    WebSocketBinaryMessage,
    WebSocketConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

MAX_MESSAGE_SIZE = 64 * 1024 * 1024
COMPRESSION = {
    "none": None,
    "no-takeover": CompressionConfig(threshold=0),
    "takeover": CompressionConfig(threshold=0, context_takeover=True),
}


class Echo(WebSocketMessageHandler):
    """Sends every message back as it came."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Text for text."""
        message.connection.send_text(message.payload)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """Bytes for bytes."""
        message.connection.send_binary(message.payload)


def certified(directory: Path) -> TlsConfig:
    """Issue a certificate, which the suite's client does not look at."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    certificate, private_key = directory / "certificate.pem", directory / "key.pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    private_key.write_bytes(issued.private_key_pem.bytes())
    return TlsConfig(certificate, private_key)


def main() -> None:
    """Serve until SIGINT."""
    parser = argparse.ArgumentParser(description="The conformance suite's echo server.")
    parser.add_argument("--scheme", choices=("ws", "wss"), default="ws")
    parser.add_argument("--compression", choices=COMPRESSION, default="none")
    arguments = parser.parse_args()
    websocket = WebSocketConfig(
        max_message_size=MAX_MESSAGE_SIZE,
        send_queue_limit=MAX_MESSAGE_SIZE,
        slow_callback_warning=None,  # whatever is on stderr is a failure
        compression=COMPRESSION[arguments.compression],
    )
    # A shell lets its background jobs ignore SIGINT, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with TemporaryDirectory() as directory:
        tls = certified(Path(directory)) if arguments.scheme == "wss" else None
        server = HttpServer(
            WebSocketHandler(Echo()), ServerConfig(port=0, websocket=websocket, tls=tls)
        )
    with server, suppress(KeyboardInterrupt):
        print(server.address[1], flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
