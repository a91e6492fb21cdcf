"""The hashes of node passwords: RKE2's form, and what is not that."""

import base64

import pytest

from rke2_units.certificates import node_passwords

# scrypt(password "secret", salt 00 01 .. 07, N 2^15, r 8, p 1, 64 bytes), by OpenSSL's command line.
KNOWN = (
    "$1:0001020304050607:15:8:1:"
    "ONqssPL/bYQkODLt01q2p+fduiF2AzGDPrWB6+Cm3n4UKpt4FRTvC1rsEBw75tpwiE/tthQI0NZXu1IclrI1oQ"
)


def test_a_hash_is_the_one_that_openssl_computes() -> None:
    assert node_passwords.matches("secret", KNOWN)


def test_a_password_matches_its_own_hash_and_no_other_does() -> None:
    hashed = node_passwords.hashed("one")
    assert hashed.startswith("$1:") and hashed.split(":")[2:5] == ["15", "8", "1"]
    assert not hashed.endswith("=")
    assert node_passwords.matches("one", hashed)
    assert not node_passwords.matches("two", hashed)
    assert not node_passwords.matches("", hashed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "$1",
        KNOWN.replace("$1", "$2"),
        KNOWN.replace(":15:", ":20:"),
        KNOWN.replace("00010203", "0001020g"),
        KNOWN[:-3],
        KNOWN + "!",
        KNOWN.replace("0001020304050607", ""),
    ],
)
def test_a_hash_of_another_form_matches_nothing(text: str) -> None:
    assert not node_passwords.matches("secret", text)


def test_a_secret_is_immutable_and_knows_its_password() -> None:
    secret = node_passwords.secret("Node-1", "one")
    assert secret["metadata"] == {"name": "node-1.node-password.rke2", "namespace": "kube-system"}
    assert secret["immutable"] is True
    assert node_passwords.is_of(secret, "one")
    assert not node_passwords.is_of(secret, "two")


@pytest.mark.parametrize(
    "secret",
    [
        None,
        [],
        {},
        {"data": None},
        {"data": {}},
        {"data": {"hash": 1}},
        {"data": {"hash": "%"}},
        {"data": {"hash": base64.b64encode(b"\xff").decode()}},
    ],
)
def test_an_object_of_another_form_is_nobodys(secret: object) -> None:
    assert not node_passwords.is_of(secret, "one")
