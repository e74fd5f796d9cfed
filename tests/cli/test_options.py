"""Options that are fields of the config: one for each, and checked where the config is checked."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from typing import TYPE_CHECKING, Any, Literal

import click
import pytest
from handy_ws import ServerConfig
from handy_ws.cli.commands import serve
from handy_ws.cli.options import WITHOUT_OPTION, ConfigOption, _settings, config_options, configured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.certificates import Authority, Issued

OPTIONS = [option for option in serve.params if isinstance(option, ConfigOption)]


def parsed(*arguments: str) -> click.Context:
    return serve.make_context("serve", ["program:server", *arguments])


def config(*arguments: str, own: ServerConfig | None = None) -> ServerConfig:
    """Return the config that arguments make of a program's own one."""
    return configured(own or ServerConfig(), parsed(*arguments))


def test_every_field_has_an_option_or_is_known_to_have_none() -> None:
    fields = {field.name for field in dataclasses.fields(ServerConfig)}
    assert {option.path[0] for option in OPTIONS} | WITHOUT_OPTION == fields
    assert not {option.path[0] for option in OPTIONS} & WITHOUT_OPTION


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_described(option: ConfigOption) -> None:
    assert option.help
    assert re.fullmatch(r"[A-Z].{15,}\.", option.help), option.help
    assert "``" not in option.help


@dataclasses.dataclass
class Inner:
    """A config inside another.

    Attributes:
        first: what must be said.
        second_one: what need not. Default ``2``.
    """

    first: str
    second_one: int = 2


@dataclasses.dataclass
class Outer:
    """A config.

    More about it.

    Attributes:
        plain: something that takes more than one line to be described, and
            has ``code`` in it.
        inner: what else there is.
    """

    plain: float | None = None
    inner: Inner | None = None


def test_names_and_descriptions_are_those_of_the_fields() -> None:
    assert [(option.opts, option.help) for option in config_options(Outer)] == [
        (
            ["--plain"],
            "Something that takes more than one line to be described, and has code in it.",
        ),
        (["--inner-first"], "What must be said."),
        (["--inner-second-one"], "What need not. Default 2."),
    ]


def test_the_help_shows_every_option() -> None:
    text = serve.get_help(click.Context(serve, info_name="serve"))
    shown = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", text, re.MULTILINE))
    assert shown == {option.opts[-1] for option in serve.params if option.opts[0][0] == "-"} | {
        "--help"
    }


def test_what_is_given_replaces_what_the_program_says() -> None:
    own = ServerConfig(host="::1", port=1, workers=3, default_headers={"X-Own": "1"})
    arguments = ["--port", "8443", "--body-timeout", "2.5", "--max-body-size", "1000"]
    assert config(*arguments, own=own) == ServerConfig(
        host="::1",
        port=8443,
        workers=3,
        body_timeout=2.5,
        max_body_size=1000,
        default_headers={"X-Own": "1"},
    )


def test_what_is_not_given_stays() -> None:
    own = ServerConfig(port=1, head_timeout=3)
    assert config(own=own) == own
    # The default, but given.
    assert config("--port", "8080", own=own).port == 8080


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--port", "70000"],
            "Invalid value for '--port': must be an integer from 0 to 65535, not 70000",
        ),
        (
            ["--workers", "0"],
            "Invalid value for '--workers': must be an integer from 1 to 10000, not 0",
        ),
        (["--host", ""], "Invalid value for '--host': must be a name or an address, not ''"),
        (
            ["--head-timeout", "nan"],
            "'--head-timeout': must be a positive, finite number of seconds, not nan",
        ),
        (["--port", "http"], "Invalid value for '--port': 'http' is not a valid integer."),
        (["--port"], "Option '--port' requires an argument."),
        (["--prt", "80"], "No such option '--prt'. Did you mean '--port'?"),
        (["--log-level", "loud"], "Invalid value for '--log-level': 'loud' is not one of"),
        (["--reload-dir", "nowhere"], "Directory 'nowhere' does not exist."),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(
    arguments: Sequence[str], message: str
) -> None:
    with pytest.raises(click.UsageError) as error:
        config(*arguments)
    assert message in error.value.format_message()
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "own", "expected"),
    [
        (["--unix-socket", "/s"], {"host": "::1", "port": 1}, {"unix_socket": "/s"}),
        (["--unix-socket", "/s"], {"port": 1, "reuse_port": True}, {"unix_socket": "/s"}),
        (["--port", "2"], {"unix_socket": "/s", "unix_socket_mode": 0o660}, {"port": 2}),
        (
            ["--port", "2"],
            {"host": "::1", "reuse_port": True, "port": 1},
            {"host": "::1", "port": 2, "reuse_port": True},
        ),
        (
            ["--unix-socket-mode", "0o666"],
            {"unix_socket": "/s"},
            {"unix_socket": "/s", "unix_socket_mode": 0o666},
        ),
        (
            ["--unix-socket-mode", "644"],
            {"unix_socket": "/s"},
            {"unix_socket": "/s", "unix_socket_mode": 0o644},
        ),
    ],
)
def test_a_place_to_listen_at_takes_that_of_the_program(
    arguments: list[str], own: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert config(*arguments, own=ServerConfig(**own)) == ServerConfig(**expected)


def test_a_descriptor_takes_the_place_of_what_the_program_says() -> None:
    own = ServerConfig(unix_socket="/s", unix_socket_mode=0o660)
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        descriptor = inherited.fileno()
        assert config("--fd", str(descriptor), own=own) == ServerConfig(fd=descriptor)
    with pytest.raises(click.BadParameter, match="systemd has passed none"):
        config("--fd", "systemd", own=own)
    with pytest.raises(click.BadParameter, match="'three' is not a valid integer"):
        config("--fd", "three")


def test_two_places_are_refused() -> None:
    with pytest.raises(click.BadParameter, match="excludes port: a server listens in one place"):
        config("--unix-socket", "/s", "--port", "1")


def test_switches_can_be_set_both_ways() -> None:
    assert config("--reuse-port").reuse_port
    assert not config("--no-reuse-port", own=ServerConfig(reuse_port=True)).reuse_port
    assert config(own=ServerConfig(reuse_port=True)).reuse_port


def test_what_may_be_several_is_given_several_times() -> None:
    found = config("--trusted-proxies", "10.0.0.0/8", "--trusted-proxies", "::1")
    assert found == ServerConfig(trusted_proxies=["10.0.0.0/8", "::1"])
    assert config(own=found) == found


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (float | None, "none", None),
        (float | None, "1.5", 1.5),
        (int | Literal["auto"] | None, "auto", "auto"),
        (int | Literal["auto"] | None, "none", None),
        (int | Literal["auto"] | None, "3", 3),
        (Literal["1.2", "1.3"], "1.3", "1.3"),
        (str | os.PathLike[str] | None, "none", "none"),
    ],
    ids=str,
)
def test_types_of_fields_are_understood(hint: object, text: str, value: object) -> None:
    option = ConfigOption(ServerConfig, ("field",), **_settings(hint))
    assert option.type.convert(text, option, None) == value


def test_a_type_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(TypeError, match="no option can have a value of"):
        _settings(bytes)


# TLS is a config inside the config.


def tls(issued: Issued) -> list[str]:
    certificate, private_key = map(str, issued)
    return ["--tls-certificate", certificate, "--tls-private-key", private_key]


def test_a_certificate_and_its_key_make_a_config(authority: Authority) -> None:
    assert config(*tls(authority.server)).tls == authority.server.config()
    found = config(*tls(authority.server), "--tls-minimum-version", "1.3")
    assert found.tls == authority.server.config(minimum_version="1.3")


def test_what_is_given_replaces_parts_of_the_programs_tls(authority: Authority) -> None:
    own = ServerConfig(tls=authority.server.config(client_ca=authority.file))
    assert config("--port", "1", own=own).tls == own.tls
    found = config("--tls-minimum-version", "1.3", own=own)
    assert found.tls == authority.server.config(client_ca=authority.file, minimum_version="1.3")
    other = authority.issue("other.example.com")
    found = config(*tls(other), own=own)
    assert found.tls == other.config(client_ca=authority.file)


def test_a_certificate_needs_its_key(authority: Authority) -> None:
    certificate, private_key = tls(authority.server)[:2], tls(authority.server)[2:]
    for given, missing in (
        (certificate, "--tls-private-key"),
        (private_key, "--tls-certificate"),
        (["--tls-client-ca", "x"], "--tls-certificate"),
    ):
        with pytest.raises(click.UsageError) as error:
            config(*given)
        assert error.value.format_message() == f"Missing option '{missing}'."


def test_a_file_that_cannot_be_used_is_refused_by_the_name_of_its_option(
    authority: Authority, tmp_path: Path
) -> None:
    wrong = authority.server._replace(certificate=tmp_path / "nothing.pem")
    with pytest.raises(click.BadParameter) as error:
        config(*tls(wrong))
    assert error.value.format_message().startswith("Invalid value for '--tls-certificate': ")
    assert "nothing.pem" in error.value.format_message()


def test_of_two_values_the_last_one_counts() -> None:
    assert config("--port", "1", "--port", "2").port == 2
