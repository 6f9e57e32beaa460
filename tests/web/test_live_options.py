from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="pip install 'edge-segmentation[serve]'")

from self_signed import make_certificate

from edge.errors import ConfigError
from edge.web.options import WebOptions, allowed_names, check_options, read_token, tls_context

OPEN: dict[str, Any] = {"address": "192.168.1.5", "token_file": "t", "certificate_file": "c", "key_file": "k"}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_alone_needs_neither_token_nor_certificate(address: str) -> None:
    check_options(WebOptions(address=address))


def test_a_network_needs_both_token_and_certificate() -> None:
    check_options(WebOptions(**OPEN))
    for left_out, wanted in (
        (["token_file"], "needs token_file;"),
        (["certificate_file", "key_file"], "needs certificate_file and key_file;"),
        (["token_file", "certificate_file", "key_file"], "needs token_file and certificate_file and key_file;"),
    ):
        options = {key: value for key, value in OPEN.items() if key not in left_out}
        with pytest.raises(ConfigError, match=wanted):
            check_options(WebOptions(**options))


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_every_interface_needs_the_names_that_the_page_is_opened_under(address: str) -> None:
    options: dict[str, Any] = {**OPEN, "address": address}
    with pytest.raises(ConfigError, match=r"web.names must then list .* \[car.local"):
        check_options(WebOptions(**options))
    check_options(WebOptions(**options, names=("car.local",)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "localhost"}, "'localhost' is not an IP address"),
        ({"address": ""}, "is not an IP address"),
        ({"certificate_file": "c"}, "both certificate_file and key_file, or neither"),
        ({"names": ("car.local/", "x")}, r"'car.local/' is not a host name"),
    ],
)
def test_options_that_cannot_be_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_options(WebOptions(**options))


def test_the_page_answers_to_this_machine_its_address_and_the_names_it_was_given() -> None:
    names = allowed_names(WebOptions(**OPEN, names=("Car.Local",)))
    assert names == {"localhost", "127.0.0.1", "::1", "192.168.1.5", "car.local"}
    assert "0.0.0.0" not in allowed_names(WebOptions(address="0.0.0.0", names=("car.local",)))


def test_a_browser_sends_an_ipv6_address_in_its_short_form_and_without_its_zone() -> None:
    assert "2001:db8::7" in allowed_names(WebOptions(**{**OPEN, "address": "2001:DB8:0::7"}))
    assert "fe80::5" in allowed_names(WebOptions(**{**OPEN, "address": "FE80::5%eth0"}, names=("::0:7",)))
    assert "::7" in allowed_names(WebOptions(**OPEN, names=("::0:7",)))


def test_an_address_that_each_interface_has_needs_one_named() -> None:
    check_options(WebOptions(**{**OPEN, "address": "fe80::5%eth0"}))
    with pytest.raises(ConfigError, match="name one, such as fe80::5%eth0"):
        check_options(WebOptions(**{**OPEN, "address": "fe80::5"}))


def test_a_token_is_read_without_its_line_end(token_file: Path) -> None:
    assert read_token(token_file) == b"correct-horse-battery-staple"


@pytest.mark.parametrize("form", ["{}\r\n", "\ufeff{}\n", "  {}  \n\n"])
def test_a_token_is_the_same_whatever_editor_wrote_it(token_file: Path, form: str) -> None:
    token_file.write_text(form.format("correct-horse-battery-staple"))
    assert read_token(token_file) == b"correct-horse-battery-staple"


def test_a_token_that_its_group_may_change_is_warned_of(token_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    token_file.chmod(0o640)
    read_token(token_file)
    assert not caplog.text
    token_file.chmod(0o660)
    read_token(token_file)
    assert f"chmod g-w {token_file}" in caplog.text


def test_a_token_that_everybody_may_read_is_refused(token_file: Path) -> None:
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod o-rwx {token_file}"):
        read_token(token_file)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "short",
        "x" * 257,
        "two words here and more",
        "ünïcödé-ünïcödé-ünïcödé",
        "a\nb" * 9,
        "x" * 20 + " " * 300 + "y",
        "x\0" * 12,
    ],
)
def test_a_token_that_is_none_is_refused_and_not_shown(token_file: Path, token: str) -> None:
    token_file.write_text(token)
    with pytest.raises(ConfigError, match="openssl rand -hex 24") as caught:
        read_token(token_file)
    assert not token or token not in str(caught.value)


def test_a_token_file_that_is_missing_or_closed_is_named(tmp_path: Path, token_file: Path, as_nobody: Any) -> None:
    with pytest.raises(ConfigError, match=r"nothing: the token cannot be read: No such file"):
        read_token(tmp_path / "nothing")
    with as_nobody(), pytest.raises(ConfigError, match="Permission denied"):
        read_token(token_file)


def test_tls_below_1_2_is_not_spoken(tmp_path: Path) -> None:
    assert tls_context(*make_certificate(tmp_path)).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("broken", ["no certificate", "another's key", "a locked key"])
def test_a_certificate_that_cannot_be_used_is_one_line(tmp_path: Path, broken: str) -> None:
    certificate, key = make_certificate(tmp_path, password=b"secret" if broken == "a locked key" else None)
    if broken == "no certificate":
        certificate.write_text("hello")
    elif broken == "another's key":
        (tmp_path / "other").mkdir()
        key = make_certificate(tmp_path / "other")[1]
    with pytest.raises(ConfigError, match="its unencrypted key") as caught:
        tls_context(certificate, key)
    assert "\n" not in str(caught.value)


def test_a_certificate_or_key_that_is_missing_is_named(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    missing = tmp_path / "nothing.pem"
    with pytest.raises(ConfigError, match=r"web\.certificate_file: .*nothing\.pem: cannot be read: No such file"):
        tls_context(missing, key)
    with pytest.raises(ConfigError, match=r"web\.key_file: .*nothing\.pem: cannot be read: No such file"):
        tls_context(certificate, missing)
