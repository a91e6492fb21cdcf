import re
import ssl
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from rke2_units.certificates import certificate, keys, signing
from rke2_units.certificates import token as tokens
from rke2_units.certificates.token import Token
from rke2_units.errors import ConfigurationError
from rke2_units.join import validate
from rke2_units.join.http import NotVerified, Refused, Unreachable
from tests.unit.join.supervisor import PASSWORD, Supervisor, now, other_authority, running

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
    with pytest.raises(Unreachable, match="certificate is not trusted"):
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
    with pytest.raises(Unreachable, match="certificate is not trusted"):
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


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_refuses_what_anybody_may_ask_for_is_no_join_api(supervisor: Supervisor, status: int) -> None:
    supervisor.spoils("/cacerts", status, b"Unauthorized")
    with pytest.raises(validate.NoJoinApi, match=f"/cacerts: {status} .*not a server's join API") as caught:
        validate.trust(supervisor.url, supervisor.token())
    assert caught.value.hint == "the join API is at port 9345: https://127.0.0.1:9345"
    assert isinstance(caught.value, Refused)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://[2001:db8::1]:6443", "port 9345: https://[2001:db8::1]:9345"),
        ("https://server.example", "port 9345: https://server.example:9345"),
        ("https://server.example:9345", "a load balancer"),
    ],
)
def test_the_right_url_is_told(url: str, hint: str) -> None:
    assert hint in str(validate.NoJoinApi(url, Refused("x", 401)).hint)


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (
            2 * HOUR,
            365 * DAY,
            "certificate is not yet valid .it is valid from {first} to {last}.; .*is it behind",
        ),
        (
            -365 * DAY,
            -1 * DAY,
            "has expired .it is valid from {first} to {last}.; .*restart rke2-server on that server",
        ),
    ],
)
def test_a_clock_that_is_wrong_is_named_with_both_times(
    supervisor: Supervisor, first: timedelta, last: timedelta, said: str
) -> None:
    begins, ends = now() + first, now() + last
    with running(supervisor, dated(supervisor, begins, ends)):
        with pytest.raises(NotVerified) as caught:
            validate.trust(supervisor.url, supervisor.token())
    expected = said.format(first=f"{begins:%Y-%m-%d %H:%M} UTC", last=f"{ends:%Y-%m-%d %H:%M} UTC")
    assert re.search(expected, caught.value.message)
    assert f"this machine's clock says {now():%Y-%m-%d %H:}" in caught.value.message


def dated(supervisor: Supervisor, begins: datetime, ends: datetime) -> str:
    """A server's certificate with these dates; its path without suffix."""
    tls = supervisor.path("tls")
    base = str(tls / "dated")
    issuer = signing.authority_of(
        "server-ca", (tls / "server-ca.crt").read_text(), (tls / "server-ca.key").read_text()
    )
    key = keys.make()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rke2")]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
    )
    signing_key = issuer.signing_key("")
    made = builder.sign(signing_key, keys.signature_hash(signing_key))
    Path(f"{base}.crt").write_text(certificate.text(made))
    Path(f"{base}.key").write_text(keys.text(key))
    return base


@pytest.mark.parametrize(
    "said, pause",
    [("", 0.0), ("7", 7.0), ("0", 0.0), ("-1", 0.0), ("inf", 0.0), ("9" * 400, 0.0), ("Tomorrow", 0.0)],
)
def test_who_says_later_can_say_how_much_later(supervisor: Supervisor, said: str, pause: float) -> None:
    supervisor.retry_after = said
    supervisor.spoils("/cacerts", 429, b"later")
    with pytest.raises(Unreachable) as error:
        validate.trust(supervisor.url, supervisor.token())
    assert error.value.pause == pause
