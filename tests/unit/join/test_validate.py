import ssl

import pytest

from rke2_units.certificates import token as tokens
from rke2_units.certificates.token import Token
from rke2_units.errors import ConfigurationError
from rke2_units.join import validate
from rke2_units.join.http import Refused, Unreachable
from tests.unit.join.supervisor import PASSWORD, Supervisor, other_authority

HASH = "ab" * 32


def test_the_authority_that_the_token_names_is_believed(supervisor: Supervisor) -> None:
    found = validate.trust(supervisor.url, supervisor.token())
    assert found.authority == supervisor.authority
    assert not found.by_system
    assert found.context().verify_mode is ssl.CERT_REQUIRED and found.context().check_hostname
    assert len(found.context().get_ca_certs()) == 1


def test_the_token_is_told_to_nobody_before_its_authority_is_proven(supervisor: Supervisor) -> None:
    with pytest.raises(Refused, match="token CA hash does not match the Cluster CA certificate hash"):
        validate.trust(supervisor.url, Token(HASH, "node", PASSWORD))
    assert supervisor.paths_seen() == ["/cacerts"]
    assert all("authorization" not in headers for _, _, headers in supervisor.seen)


def test_a_server_without_the_keys_of_the_authority_it_shows_is_not_believed(supervisor: Supervisor) -> None:
    shown = other_authority()
    supervisor.spoils("/cacerts", 200, shown)
    with pytest.raises(Unreachable, match="not to be believed"):
        validate.trust(supervisor.url, Token(tokens.authority_hash(shown), "node", PASSWORD))


def test_a_server_that_the_systems_authorities_vouch_for_is_believed_for_a_token_without_a_hash(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(supervisor.path("tls/server-ca.crt")))
    short = Token("", "node", PASSWORD)
    found = validate.trust(supervisor.url, short)
    assert found.by_system and supervisor.paths_seen() == ["/cacerts"]
    with validate.connect(found, short) as connection:
        assert connection.get("/v1-rke2/config")


def test_with_a_hash_in_the_token_the_systems_authorities_do_not_count(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(supervisor.path("tls/server-ca.crt")))
    assert not validate.trust(supervisor.url, supervisor.token()).by_system
    with pytest.raises(Refused, match="token CA hash does not match"):
        validate.trust(supervisor.url, Token(HASH, "node", PASSWORD))
    # Somebody else's certificate that the system believes, in front of what the token names.
    shown = other_authority()
    supervisor.spoils("/cacerts", 200, shown)
    with pytest.raises(Unreachable, match="not to be believed"):
        validate.trust(supervisor.url, Token(tokens.authority_hash(shown), "node", PASSWORD))


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_authority_is_not_believed(supervisor: Supervisor, body: bytes) -> None:
    supervisor.spoils("/cacerts", 200, body)
    with pytest.raises(Refused, match="/cacerts"):
        validate.trust(supervisor.url, Token("", "node", PASSWORD))


def test_a_short_token_believes_any_authority_and_warns(supervisor: Supervisor) -> None:
    token = validate.parse(PASSWORD, "token (config.yaml:1)", user="node", pin_required=False)
    assert validate.trust(supervisor.url, token).authority == supervisor.authority
    warning = validate.unverified(token, "token (config.yaml:1)")
    assert warning and "whoever answers" in warning and PASSWORD not in warning
    assert validate.unverified(supervisor.token(), "token") is None


@pytest.mark.parametrize("text", [PASSWORD, f"K10::node:{PASSWORD}", "abcdef.0123456789abcdef"])
def test_a_token_without_pin_is_refused_where_one_is_required(text: str) -> None:
    with pytest.raises(ConfigurationError, match="token-require-ca-pin") as caught:
        validate.parse(text, "token (x)", user="node", pin_required=True)
    assert PASSWORD not in str(caught.value)
    assert validate.parse(f"K10{HASH}::node:{PASSWORD}", "token", user="node", pin_required=True)


@pytest.mark.parametrize(
    ("text", "user", "header"),
    [
        ("pass", "node", "Basic bm9kZTpwYXNz"),
        ("pass", "server", "Basic c2VydmVyOnBhc3M="),
        (f"K10{HASH}::server:pass", "node", "Basic c2VydmVyOnBhc3M="),
        ("abcdef.0123456789abcdef", "node", "Bearer abcdef.0123456789abcdef"),
        (f"K10{HASH}::abcdef.0123456789abcdef", "node", "Bearer abcdef.0123456789abcdef"),
    ],
)
def test_a_token_is_sent_as_its_form_asks_for(text: str, user: str, header: str) -> None:
    token = validate.parse(text, "token", user=user, pin_required=False)
    assert validate.authorization(token) == header


def test_nobody_at_the_address_is_worth_another_try() -> None:
    with pytest.raises(Unreachable, match="https://127.0.0.1:1: Connection refused"):
        validate.trust("https://127.0.0.1:1", Token("", "node", PASSWORD))
