"""All endings by name, and which of them a number stands for."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import TYPE_CHECKING

from tests.faults.endings import at_stop, by_client, by_fault, by_server

if TYPE_CHECKING:
    from tests.faults.endings.ending import Ending

WHENEVER: list[Ending] = by_client.ENDINGS + by_fault.ENDINGS + by_server.ENDINGS
#: Those that begin first, since they last long.
LONG: list[Ending] = by_client.LONG_ENDINGS
AT_STOP: list[Ending] = at_stop.ENDINGS
ENDINGS = {ending.name: ending for ending in WHENEVER + LONG + AT_STOP}


def draw(seed: int, count: int, endings: list[Ending]) -> list[Ending]:
    """Draw so many of them at random, the same ones for the same seed."""
    weights = list(accumulate(ending.weight for ending in endings))
    return random.Random(seed).choices(endings, cum_weights=weights, k=count)
