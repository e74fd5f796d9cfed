"""`TlsConfig` refuses what cannot be used, and says by which field."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpServer, ServerConfig, TlsConfig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.certificates import Authority


def test_paths_may_be_of_any_kind(authority: Authority) -> None:
    certificate, private_key = authority.server
    config = TlsConfig(certificate, str(private_key), client_ca=authority.file)
    assert config == TlsConfig(
        str(certificate), private_key, client_ca=str(authority.file), minimum_version="1.2"
    )
    assert (config.client_ca, config.minimum_version) == (str(authority.file), "1.2")
    assert ServerConfig().tls is None


BAD = [1, b"a.pem", "", "a\0b", "none.pem", "/", os.devnull, __file__]
BAD_FILES: list[tuple[str, Any]] = [
    *[("certificate", value) for value in (*BAD, None)],
    *[("private_key", value) for value in (*BAD, None)],
    *[("client_ca", value) for value in BAD],
]


@pytest.mark.parametrize(("field", "value"), BAD_FILES, ids=str)
def test_files_that_cannot_be_used_are_refused_by_name(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {**authority.server._asdict(), field: value}
    with pytest.raises(ValueError, match=rf"^TlsConfig\.{field} "):
        TlsConfig(**settings)


def test_a_key_that_belongs_to_another_certificate_is_refused(authority: Authority) -> None:
    other = authority.issue("localhost").private_key
    with pytest.raises(ValueError, match=r"^TlsConfig\.private_key "):
        TlsConfig(authority.server.certificate, other)


def test_swapped_files_are_refused(authority: Authority) -> None:
    certificate, private_key = authority.server
    with pytest.raises(ValueError, match=r"^TlsConfig\.certificate "):
        TlsConfig(private_key, certificate)


@pytest.mark.parametrize("version", [None, 1.2, "1.1", "1.4", "TLSv1.2", ""])
def test_versions_that_are_not_spoken_are_refused(authority: Authority, version: Any) -> None:
    with pytest.raises(ValueError, match=r"^TlsConfig\.minimum_version "):
        authority.server.config(minimum_version=version)


@pytest.mark.parametrize("value", [True, "cert.pem", ("cert.pem", "key.pem"), {}])
def test_tls_must_be_a_tls_config(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^ServerConfig\.tls "):
        ServerConfig(tls=value)


def test_files_that_have_gone_since_are_refused(authority: Authority) -> None:
    issued = authority.issue("localhost")
    config = ServerConfig(port=0, tls=issued.config())
    issued.private_key.unlink()
    with pytest.raises(ValueError, match=r"^TlsConfig\.private_key "):
        HttpServer(lambda _: None, config)
