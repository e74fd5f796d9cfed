"""The rules of a handshake once more, as regular expressions, and values that keep or break them.

Each rule is written from the ABNF of its RFC and shares nothing with the code that it checks: RFC
9110 sections 5.6.1 to 5.6.4 and 7.8, RFC 6455 sections 4.2.1, 4.3 and 9.1 (which, as RFC 2616,
lets white space stand around every separator), RFC 6454 section 7, RFC 7692 section 7.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.websocket.raw_websocket import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from handy_ws import CompressionConfig

Lines = tuple[str, ...]
"""The values of all fields of one name."""

TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
TOKEN = rf"{TCHAR}+"
_PROTOCOL = rf"{TOKEN}(?:/{TOKEN})?"
_PARAMETER = rf'{TOKEN}(?:[ \t]*=[ \t]*(?:{TOKEN}|"(?:\\?{TCHAR})+"))?'
_EXTENSION = rf"{TOKEN}(?:[ \t]*;[ \t]*{_PARAMETER})*"
_KEY = r"[A-Za-z0-9+/]{22}=="
# Of the host a, with or without the default port.
_ORIGIN = r"(?i:http://a(?::(?:0*80)?)?|https://a(?::(?:0*443)?)?)"


def members(lines: Lines) -> list[str]:
    """Split a list, however it is spread over lines, and leave out what is empty."""
    return [member for member in re.split(r"[ \t]*,[ \t]*", ",".join(lines).strip(" \t")) if member]


def upgrade(lines: Lines) -> set[int]:
    if "websocket" not in map(str.lower, members(lines)):
        return {426}
    return set() if _is_list(_PROTOCOL, lines) else {400}


def connection(lines: Lines) -> set[int]:
    is_there = "upgrade" in map(str.lower, members(lines))
    return set() if is_there and _is_list(TOKEN, lines) else {400}


def key(lines: Lines) -> set[int]:
    return set() if _is_one(_KEY, lines) else {400}


def version(lines: Lines) -> set[int]:
    if len(lines) != 1:
        return {400}
    return set() if _is_one("13", lines) else {426}


def protocol(lines: Lines) -> set[int]:
    offered = members(lines)
    is_valid = _is_list(TOKEN, lines) and len(set(offered)) == len(offered)
    return set() if is_valid or not lines else {400}


def extensions(lines: Lines) -> set[int]:
    return set() if not lines or _is_list(_EXTENSION, lines) else {400}


def origin(lines: Lines) -> set[int]:
    if len(lines) > 1:
        return {400}
    return set() if not lines or _is_one(_ORIGIN, lines) else {403}


def _is_list(member: str, lines: Lines) -> bool:
    """Say whether lines are ``1#member``."""
    pattern = rf"(?:[ \t]*,)*[ \t]*{member}(?:[ \t]*,(?:[ \t]*{member})?)*[ \t]*"
    return re.fullmatch(pattern, ",".join(lines)) is not None


def _is_one(pattern: str, lines: Lines) -> bool:
    return len(lines) == 1 and re.fullmatch(rf"[ \t]*(?:{pattern})[ \t]*", lines[0]) is not None


#: What takes the lines of a field, and returns the status for breaking its rule, if it is broken.
RULES: dict[str, Callable[[Lines], set[int]]] = {
    "Upgrade": upgrade,
    "Connection": connection,
    "Sec-WebSocket-Key": key,
    "Sec-WebSocket-Version": version,
    "Sec-WebSocket-Protocol": protocol,
    "Sec-WebSocket-Extensions": extensions,
    "Origin": origin,
}

VALID: dict[str, Lines] = {
    "Upgrade": ("websocket",),
    "Connection": ("Upgrade",),
    "Sec-WebSocket-Key": (KEY,),
    "Sec-WebSocket-Version": ("13",),
    "Sec-WebSocket-Protocol": ("v1",),
    "Sec-WebSocket-Extensions": ("permessage-deflate",),
    "Origin": ("http://a",),
}


def statuses(fields: Mapping[str, Lines]) -> set[int]:
    """Return the statuses that a handshake with these fields may be answered with."""
    return set().union(*(RULES[name](lines) for name, lines in fields.items())) or {101}


def answer_to_offers(lines: Lines, config: CompressionConfig) -> str | None:
    """Answer the first offer of a well-formed header that can be satisfied."""
    offers = (_offer(member) for member in members(lines))
    return next((_answer(offer, config) for offer in offers if offer is not None), None)


def _offer(extension: str) -> dict[str, str | None] | None:
    """Return the parameters, or None if the offer has to be declined."""
    name, *parts = re.split(r"[ \t]*;[ \t]*", extension)
    if name != "permessage-deflate":
        return None
    offer: dict[str, str | None] = {}
    for part in parts:
        # A separator can stand in quotes no more than a quote in a token.
        parameter, equals, text = re.sub(r'[ \t"\\]', "", part).partition("=")
        value = text if equals else None
        allowed = {
            "server_no_context_takeover": value is None,
            "client_no_context_takeover": value is None,
            "server_max_window_bits": re.fullmatch("9|1[0-5]", value or "") is not None,
            "client_max_window_bits": re.fullmatch("[89]|1[0-5]", value or "15") is not None,
        }
        if parameter in offer or not allowed.get(parameter, False):
            return None
        offer[parameter] = value
    return offer


def _answer(offer: dict[str, str | None], config: CompressionConfig) -> str:
    answer = ["permessage-deflate"]
    for side in ("server", "client"):
        name = f"{side}_no_context_takeover"
        if name in offer or not config.context_takeover:
            answer.append(name)
    server_bits = min(int(offer.get("server_max_window_bits") or 15), config.window_bits)
    if "server_max_window_bits" in offer or server_bits < 15:
        answer.append(f"server_max_window_bits={server_bits}")
    client_bits = int(offer.get("client_max_window_bits") or 15)
    if "client_max_window_bits" in offer and config.window_bits < client_bits:
        answer.append(f"client_max_window_bits={config.window_bits}")
    return "; ".join(answer)


# Pieces that values are put together from: what belongs there, and what does not.
_PIECES = {
    "Upgrade": ["websocket", "WebSocket", "h2c", "HTTP/2.0", "/", "web", "socket"],
    "Connection": ["Upgrade", "upgrade", "keep-alive", "close", "/"],
    "Sec-WebSocket-Key": ["A" * 22, "A" * 21, "Ag", "==", "=", "A", "+", "/", "-", "_"],
    "Sec-WebSocket-Version": ["13", "1", "3", "8", "0", "+", "-", "."],
    "Sec-WebSocket-Protocol": ["v1", "v2", "V1", "x", "/", "="],
    "Sec-WebSocket-Extensions": ["permessage-deflate", "x", "=", "\\", "a=b", '="1'],
    "Origin": ["http://", "https://", "http", "//", "a", "A", ":", ":80", ":443", ":8", "@", "/"],
}
_ANYWHERE = [",", ", ", " ", "\t", '"', ";", "\xe9", "\x85", "\xa0", "null", ","]
_CHARACTERS = "\t" + "".join(chr(code) for code in range(0x20, 0x100) if code != 0x7F)

_space = st.sampled_from(["", "", "", " ", "\t"])


def _joined(separator: str, parts: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    """Return lists with white space that does not matter, and now and then an empty element."""
    part = st.builds("{}{}{}".format, _space, parts, _space)
    return st.lists(part, min_size=1, max_size=most).map(separator.join)


_parameters = st.sampled_from(
    [
        *("server_no_context_takeover", "client_no_context_takeover", "client_max_window_bits"),
        *(
            f"{side}_max_window_bits={bits}"
            for side in ("server", "client")
            for bits in (9, 12, 15)
        ),
        'server_max_window_bits="10"',
        'client_max_window_bits \t= "\\1\\1"',
        *("server_max_window_bits", "server_max_window_bits=8", "client_max_window_bits=8"),
        *("client_max_window_bits=07", "server_no_context_takeover=1", "x", 'x="y"'),
    ]
)
_some_parameters = st.just("") | _joined(";", _parameters, 4).map(";{}".format)
_extension = st.builds(
    "{}{}".format,
    st.sampled_from(["permessage-deflate", "permessage-deflate", "permessage-deflate", "x", ""]),
    _some_parameters,
)
_well_formed = {
    "Upgrade": _joined(",", st.sampled_from(["websocket", "WebSocket", "h2c", "a/1", ""]), 3),
    "Connection": _joined(",", st.sampled_from(["Upgrade", "upgrade", "close", ""]), 3),
    "Sec-WebSocket-Key": st.from_regex(_KEY, fullmatch=True),
    "Sec-WebSocket-Version": _joined("", st.just("13"), 1),
    "Sec-WebSocket-Protocol": _joined(",", st.sampled_from(["v1", "v2", "V1", "x", "y", ""]), 4),
    "Sec-WebSocket-Extensions": _joined(",", _extension, 3),
    "Origin": st.from_regex(_ORIGIN, fullmatch=True),
}


def values(name: str) -> st.SearchStrategy[str]:
    """Return values of a field, from good to nonsense."""
    pieces = st.sampled_from(_PIECES[name]) | st.sampled_from(_ANYWHERE)
    nearly = st.lists(pieces, max_size=8).map("".join)
    return _well_formed[name] | nearly | st.text(_CHARACTERS, max_size=30)


def all_lines(name: str) -> st.SearchStrategy[Lines]:
    """Return all lines of a field, often one, sometimes none or several."""
    several = st.lists(values(name) | st.just(VALID[name][0]), max_size=3)
    return (_well_formed[name].map(lambda value: [value]) | several).map(tuple)


def fields() -> st.SearchStrategy[dict[str, Lines]]:
    """Return the fields of handshakes in which up to two are not simply valid."""
    names = st.lists(st.sampled_from(sorted(VALID)), max_size=2, unique=True)
    spoiled = names.flatmap(
        lambda names: st.fixed_dictionaries({name: all_lines(name) for name in names})
    )
    return spoiled.map(lambda others: {**VALID, **others})
