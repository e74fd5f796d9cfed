"""The limits of the server that is compared: small, so that they are met, and those that are fixed.

The second kind stands in `handy_ws.http.body` and is written down here once more: a change of it
is noticed.
"""

from __future__ import annotations

from typing import Final

MAX_HEAD_SIZE: Final = 2000
MAX_HEADER_COUNT: Final = 12
MAX_BODY_SIZE: Final = 3000

MAX_BODY_LINE: Final = 1024  # a line between the chunks or behind them, with its CRLF
MAX_TRAILERS: Final = 8 * 1024  # without the line ends
MAX_SIZE_DIGITS: Final = 16
# The lines with the sizes may have so many bytes more than twice the data, not counting so many of
# each line, its CRLF included.
MAX_OVERHEAD: Final = 16 * 1024
CHUNK_OVERHEAD: Final = 16
