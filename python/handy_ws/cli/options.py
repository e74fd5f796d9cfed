"""The options of ``serve`` that are fields of the config.

They are made of the dataclasses themselves, with their names, types and descriptions. So each field
has its option, and a wrong value is refused where the field is checked: in `config.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from inspect import getdoc
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import click
from click.core import ParameterSource

from handy_ws.config import ServerConfig

__all__ = ["WITHOUT_OPTION", "ConfigOption", "config_options", "configured"]

#: What is too much for a command line: a program that sets it makes its server itself.
WITHOUT_OPTION: Final = frozenset({"default_headers", "websocket"})

#: Where to listen, and what else says where: `config.py` lets it be said once.
_INSTEAD: Final = {
    "host": ("unix_socket", "unix_socket_mode", "fd"),
    "port": ("unix_socket", "unix_socket_mode", "fd"),
    "unix_socket": ("host", "port", "reuse_port", "fd"),
    "fd": ("host", "port", "reuse_port", "unix_socket", "unix_socket_mode"),
}

#: How the config complains: the class, the field, and what is wrong with the value.
_COMPLAINT: Final = re.compile(r"(\w+)\.(\w+) (.*)", re.DOTALL)
#: A field in the section "Attributes" of a docstring.
_DESCRIPTION: Final = re.compile(r"^    (\w+): (.*?)(?=^    \w|\Z)", re.DOTALL | re.MULTILINE)


class ConfigOption(click.Option):
    """An option for a field of a config class.

    Attributes:
        owner: the class.
        path: the names of the fields that lead from `ServerConfig` to it, its own the last.
    """

    def __init__(self, owner: type, path: tuple[str, ...], **settings: Any) -> None:
        """Make an option for the field at the end of `path`."""
        self.owner = owner
        self.path = path
        flag = "-".join(path).replace("_", "-")
        names = f"--{flag}/--no-{flag}" if settings["type"] is bool else f"--{flag}"
        super().__init__(["_".join(path), names], **settings)


class _NumberOrWord(click.ParamType[Any]):
    """A number, or one of a few words that stand for something else."""

    def __init__(self, number: click.ParamType[Any], words: dict[str, Any]) -> None:
        self.name = "|".join((number.name, *words))
        self._number = number
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self._words:
            return self._words[value]
        return self._number.convert(value, param, ctx)


class _Permissions(click.ParamType[int]):
    """Permissions of a file, in octal digits as everywhere."""

    name = "octal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(value, 8)
        except ValueError:
            self.fail(f"{value!r} is no octal number.", param, ctx)


def config_options(owner: type = ServerConfig, *path: str) -> Iterator[ConfigOption]:
    """Make the options for all fields of a config class, and of those that it has inside.

    Args:
        owner: the class.
        path: the names of the fields that lead to it.
    """
    hints = get_type_hints(owner)
    # Without docstrings, as `python -OO` has it, there is no help.
    descriptions = dict(_DESCRIPTION.findall((getdoc(owner) or "").partition("Attributes:\n")[2]))
    for field in fields(owner):
        if field.name in WITHOUT_OPTION:
            continue
        inside = _config_class(hints[field.name])
        if inside is not None:
            yield from config_options(inside, *path, field.name)
        else:
            text = " ".join(descriptions.get(field.name, "").replace("``", "").split())
            settings = {"help": text[:1].upper() + text[1:]} | _settings(hints[field.name])
            if field.name.endswith("_mode"):
                settings["type"] = _Permissions()
            yield ConfigOption(owner, (*path, field.name), **settings)


def configured(config: ServerConfig, context: click.Context) -> ServerConfig:
    """Return a config in which the options that were given replace what it says.

    Raises:
        click.UsageError: a value is wrong, or an option is missing.
    """
    given = {
        option.path: context.params[option.name]
        for option in _options(context)
        if context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    }
    # Another place to listen at takes that of the program, and does not only exclude it.
    defaults = {field.name: field.default for field in fields(ServerConfig)}
    chosen = [name for path in given for name in _INSTEAD.get(path[0], ())]
    given = {(name,): defaults[name] for name in chosen} | given
    try:
        changed: ServerConfig = _built(ServerConfig, config, (), given, context)
    except ValueError as error:
        raise _complaint(error, context) from None
    return changed


def _built(
    owner: Any,
    config: Any,
    path: tuple[str, ...],
    given: dict[tuple[str, ...], Any],
    context: click.Context,
) -> Any:
    """Return a config of class `owner` with the options that were given for it.

    Args:
        owner: the class.
        config: says what was not given; None if the program has no such config.
        path: the names of the fields that lead to it.
        given: the values of all options that were given, by their paths.
        context: of the command.
    """
    values = {}
    for name, hint in get_type_hints(owner).items():
        here = (*path, name)
        inside = _config_class(hint)
        if here in given:
            values[name] = given[here]
        elif inside and any(other[: len(here)] == here for other in given):
            values[name] = _built(inside, getattr(config, name, None), here, given, context)
    if config is not None:
        return replace(config, **values)
    for field in fields(owner):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values:
            here = (*path, field.name)
            option = next(option for option in _options(context) if option.path == here)
            raise click.MissingParameter(ctx=context, param=option)
    return owner(**values)


def _complaint(error: ValueError, context: click.Context) -> click.UsageError:
    """Return what to tell the user about a value that the config refuses."""
    found = _COMPLAINT.fullmatch(str(error))
    for option in _options(context):
        if found and (option.owner.__name__, option.path[-1]) == (found[1], found[2]):
            return click.BadParameter(found[3], context, option)
    return click.UsageError(str(error), context)


def _options(context: click.Context) -> list[ConfigOption]:
    return [option for option in context.command.params if isinstance(option, ConfigOption)]


def _config_class(hint: Any) -> type | None:
    """Return the config class that a field of this type has a value of, if it is not None."""
    kinds = (kind for kind in _alternatives(hint) if isinstance(kind, type) and is_dataclass(kind))
    return next(kinds, None)


def _settings(hint: Any) -> dict[str, Any]:
    """Return what an option for a field of this type is like.

    Raises:
        TypeError: there is no way to write such a value on a command line.
    """
    alternatives = _alternatives(hint)
    origins = {get_origin(kind) or kind for kind in alternatives}
    words = [
        word for kind in alternatives if get_origin(kind) is Literal for word in get_args(kind)
    ]
    if bool in origins:
        return {"type": bool}
    for kind, number in ((float, click.FLOAT), (int, click.INT)):
        if kind in origins:
            meanings = dict(zip(words, words, strict=True))
            meanings |= {"none": None} if NoneType in origins else {}
            return {"type": _NumberOrWord(number, meanings) if meanings else number}
    if words:
        return {"type": click.Choice(words)}
    if Collection in origins:
        return {"type": click.STRING, "multiple": True}
    if str in origins:
        return {"type": click.STRING}
    raise TypeError(f"no option can have a value of {hint}")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
