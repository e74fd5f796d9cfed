"""What the two sides have agreed on before a stream begins: a table of handshakes.

Each row names the path under which the server has a handler with one configuration, the client's
offer, and the answer that it must get (RFC 7692 section 7.1). The answer also says what the
references are told.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deflate:
    """The parameters of permessage-deflate, as the server's answer gives them."""

    client_takeover: bool
    server_takeover: bool
    client_bits: int
    server_bits: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """A handshake and what comes of it; ``deflate`` is None if nothing is compressed."""

    path: str
    offer: str
    answer: str

    def __str__(self) -> str:
        """Return what tells it from the others."""
        return f"{self.path} {self.offer or 'nothing offered'}"

    @property
    def deflate(self) -> Deflate | None:
        """The parameters in the answer."""
        if not self.answer:
            return None
        name, *parameters = self.answer.split("; ")
        assert name == "permessage-deflate"
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        return Deflate(
            client_takeover="client_no_context_takeover" not in values,
            server_takeover="server_no_context_takeover" not in values,
            client_bits=int(values.get("client_max_window_bits", 15)),
            server_bits=int(values.get("server_max_window_bits", 15)),
        )


_DEFLATE = "permessage-deflate"

UNCOMPRESSED = [
    Agreement("/plain", "", ""),
    Agreement("/plain", _DEFLATE, ""),
]

_NO_TAKEOVER = "; server_no_context_takeover; client_no_context_takeover"

# Handlers: without takeover; with it; with it and a window of 512 bytes.
COMPRESSED = [
    Agreement("/alone", _DEFLATE, _DEFLATE + _NO_TAKEOVER),
    Agreement("/takeover", _DEFLATE, _DEFLATE),
    Agreement("/takeover", _DEFLATE + _NO_TAKEOVER, _DEFLATE + _NO_TAKEOVER),
    Agreement(
        "/takeover",
        f"{_DEFLATE}; client_no_context_takeover",
        f"{_DEFLATE}; client_no_context_takeover",
    ),
    Agreement(
        "/takeover",
        f"{_DEFLATE}; server_max_window_bits=10",
        f"{_DEFLATE}; server_max_window_bits=10",
    ),
    Agreement("/small", _DEFLATE, f"{_DEFLATE}; server_max_window_bits=9"),
    Agreement(
        "/small",
        f"{_DEFLATE}; client_max_window_bits",
        f"{_DEFLATE}; server_max_window_bits=9; client_max_window_bits=9",
    ),
    # The first of these offers cannot be satisfied.
    Agreement(
        "/takeover",
        f"{_DEFLATE}; server_max_window_bits=8, {_DEFLATE}; client_max_window_bits=12",
        _DEFLATE,
    ),
]

AGREEMENTS = [*UNCOMPRESSED, *COMPRESSED]
