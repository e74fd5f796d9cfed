"""Content codings: which of those at hand a client gets, by its Accept-Encoding.

RFC 9110 section 12.5.3. The highest weight wins, and among equals what usually makes less of a
file. The file as it is, *identity*, is always acceptable unless it is excluded, but comes last
where its weight is not said.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from handy_ws.http.head import RequestHead

__all__ = ["IDENTITY", "SUFFIXES", "accepted_codings"]

IDENTITY: Final = "identity"
#: The codings that there are neighbours for, the best one first, and how their names end.
SUFFIXES: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}

_ALIASES: Final = {"x-gzip": "gzip"}
#: Section 12.4.2, with any number of decimals.
_WEIGHT: Final = re.compile(r"q=([01](?:\.[0-9]*)?)")
#: What is acceptable although nobody has asked for it: less than any sensible weight.
_LEAST: Final = 1e-9
#: Browsers send less than this. The limit bounds what the memory below holds.
_MAX_REMEMBERED: Final = 200


def accepted_codings(head: RequestHead) -> tuple[str, ...]:
    """Return the codings that may be sent, best first: those of `SUFFIXES`, and `IDENTITY`.

    Without Accept-Encoding that is `IDENTITY` alone: the RFC would allow all of them, and a client
    that says nothing may know none.
    """
    if head.get("accept-encoding") is None:
        return (IDENTITY,)
    value = ",".join(head.get_all("accept-encoding"))
    return _known(value) if len(value) <= _MAX_REMEMBERED else _accepted(value)


def _accepted(value: str) -> tuple[str, ...]:
    weights: dict[str, float] = {}
    for member in value.lower().split(","):
        coding, _, parameter = (part.strip(" \t") for part in member.partition(";"))
        weight = _WEIGHT.fullmatch(parameter or "q=1")
        # A weight that is none says nothing about the coding, as if it were not there.
        if weight and float(weight[1]) <= 1:
            weights.setdefault(_ALIASES.get(coding, coding), float(weight[1]))
    others = weights.get("*", 0.0)
    weights.setdefault(IDENTITY, weights.get("*", _LEAST))
    ordered = sorted((*SUFFIXES, IDENTITY), key=lambda coding: -weights.get(coding, others))
    return tuple(coding for coding in ordered if weights.get(coding, others) > 0)


_known = lru_cache(maxsize=128)(_accepted)
