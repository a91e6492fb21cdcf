"""Bootstrap data as RKE2 hands it on and keeps it."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.certificates import bootstrap
from rke2_units.certificates.bootstrap import FILES, WrongPassword
from rke2_units.errors import UserError
from rke2_units.layout import Paths

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
# Made from the primitives one by one: password "secret", a salt, and the bytes 0 to 11 as nonce.
SEALED = "0011223344556677:AAECAwQFBgcICQoLlB5AQzDNVp+d7mb+d17U5YRkmhuu1C9vj0k4kJa3nw=="

contents = st.dictionaries(st.sampled_from(sorted(FILES)), st.binary(min_size=1, max_size=200))


def test_the_key_of_a_password_is_rke2s() -> None:
    assert bootstrap.key("secret") == "/bootstrap/2bb80d537b1d"


def test_every_file_is_one_of_the_servers() -> None:
    paths = Paths("/d")
    found = {f"{paths.server}/{path}" for path in FILES.values()}
    assert {paths.passwd, paths.ipsec_key, paths.encryption_config, paths.encryption_state} <= found
    assert {f"{paths.etcd_tls}/peer-ca.key", f"{paths.tls}/service.key"} <= found
    assert len(found) == len(FILES) == 15


def test_files_travel_with_timestamp_and_base64() -> None:
    packed = json.loads(bootstrap.pack({"ServerCA": b"pem\n"}, NOW))
    assert packed == {
        "ServerCA": {
            "Timestamp": "2026-01-02T03:04:05+00:00",
            "Content": base64.b64encode(b"pem\n").decode(),
        }
    }


@given(contents)
def test_what_is_packed_is_unpacked(files: dict[str, bytes]) -> None:
    assert bootstrap.unpack(bootstrap.pack(files, NOW)) == files


def test_the_old_format_unknown_names_and_empty_files_are_understood() -> None:
    text = {
        "ServerCA": base64.b64encode(b"a").decode(),
        "ClientCA": {"Content": None},
        "IPSECKey": {"Timestamp": "x", "Content": ""},
        "Other": 3,
    }
    assert bootstrap.unpack(json.dumps(text)) == {"ServerCA": b"a"}


@pytest.mark.parametrize("text", ["", "<html>", "[]", '{"ServerCA": 3}', '{"ServerCA": {"Content": "%"}}'])
def test_what_is_no_bootstrap_data_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="bootstrap data"):
        bootstrap.unpack(text)


@given(st.text(max_size=40), st.binary(max_size=300))
@settings(max_examples=20, deadline=None)
def test_what_is_sealed_is_unsealed_with_its_password_alone(password: str, plain: bytes) -> None:
    sealed = bootstrap.seal(password, plain)
    assert sealed != bootstrap.seal(password, plain)
    assert bootstrap.unseal(password, sealed) == plain
    with pytest.raises(WrongPassword, match="encrypted with different token"):
        bootstrap.unseal(f"{password}x", sealed)


def test_the_seal_is_rke2s() -> None:
    assert bootstrap.unseal("secret", SEALED) == b"the authorities"


@pytest.mark.parametrize(
    "value", ["", "a", "0011:", "0011223344556677:AAAA", "0011223344556677:\xe9", SEALED[:-4]]
)
def test_a_damaged_seal_is_refused(value: str) -> None:
    with pytest.raises(WrongPassword):
        bootstrap.unseal("secret", value)
