"""Who asks, from what comes with a request."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.join_api import identity
from rke2_units.join_api.identity import Caller
from rke2_units.join_api.node_request import NodeRequest, node_request
from rke2_units.join_api.refusal import Refusal

PASSWD = """\
a,node,node,rke2:agent
b,server,server,"rke2:server,other"

c,broken
,empty,x,rke2:server
d,x:y,x,z
"""
ROWS = identity.password_rows(PASSWD)


def subject(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"subject": tuple((pair,) for pair in pairs)}


@pytest.mark.parametrize(
    ("certificate", "caller"),
    [
        (None, None),
        ({}, None),
        (subject(("commonName", "a")), Caller("a")),
        (
            subject(("organizationName", "system:nodes"), ("commonName", "system:node:two")),
            Caller("system:node:two", frozenset({"system:nodes"}), "two"),
        ),
        (subject(("organizationName", "system:nodes"), ("commonName", "two")), Caller("two")),
        (
            subject(("organizationName", "system:nodes"), ("commonName", "system:node:")),
            Caller("system:node:"),
        ),
        (subject(("commonName", "system:node:two")), Caller("system:node:two")),
        (subject(("organizationName", "rke2:server"), ("commonName", "a")), Caller("a")),
        (subject(("organizationName", "rke2:agent"), ("commonName", "a")), Caller("a")),
        (
            subject(
                ("organizationName", "system:nodes"),
                ("commonName", "system:node:two"),
                ("commonName", "system:node:three"),
            ),
            Caller(""),
        ),
        (
            subject(("organizationName", "system:masters"), ("commonName", "system:admin")),
            Caller("system:admin", frozenset({"system:masters"})),
        ),
    ],
)
def test_a_certificate_names_its_holder(certificate: dict[str, Any] | None, caller: Caller | None) -> None:
    assert identity.of_certificate(certificate) == caller


@pytest.mark.parametrize(
    ("user", "password", "groups"),
    [
        ("node", "a", {"rke2:agent"}),
        ("server", "b", {"rke2:server", "other"}),
        ("node", "b", None),
        ("server", "a", None),
        ("nobody", "a", None),
        ("empty", "", None),
        ("broken", "c", None),
        ("x", "y:d", None),
    ],
)
def test_a_password_belongs_to_its_row(user: str, password: str, groups: set[str] | None) -> None:
    caller = identity.of_password(ROWS, user, password)
    assert caller == (None if groups is None else Caller(user, frozenset(groups)))


@given(
    st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), min_size=1),
    st.text(min_size=1),
)
def test_basic_auth_is_read_back(user: str, password: str) -> None:
    try:
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    except UnicodeEncodeError:
        return
    assert identity.authorization(f"basic {encoded}") == identity.Authorization(user, password)


@given(st.text())
def test_any_header_is_an_authorization_or_none(header: str) -> None:
    for text in (header, f"Basic {header}", f"Bearer {header}"):
        found = identity.authorization(text)
        assert found is None or found.user or found.token_id


def test_secrets_are_not_shown() -> None:
    found = identity.authorization("Bearer abcdef.0123456789abcdef")
    assert found is not None and found.token_secret == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(found)
    assert "a" not in repr(identity.Authorization(password="a")).replace("Authorization", "").replace(
        "user", ""
    )
    assert all("digest" not in repr(row) for row in ROWS)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()), st.none() | st.text())
def test_a_secret_of_another_form_is_nobodys_token(data: dict[str, object], kind: str | None) -> None:
    secret = {"type": kind, "data": data}
    found = identity.of_bootstrap_token(secret, "abcdef", "0123456789abcdef", datetime.now(UTC))
    assert isinstance(found, str)


@given(st.text(), st.text(), st.text())
def test_a_node_in_headers_is_one_that_can_be_or_refused(name: str, password: str, ips: str) -> None:
    headers = {"rke2-Node-Name": name, "rke2-Node-Password": password, "rke2-Node-IP": ips}
    try:
        node = node_request(headers, Caller("node"))
    except Refusal as refusal:
        assert refusal.status in (400, 403)
        return
    assert node.name == name.lower() and 0 < len(node.name) <= 52


def test_addresses_are_written_in_one_way() -> None:
    headers = {
        "rke2-Node-Name": "two",
        "rke2-Node-Password": "p",
        "rke2-Node-IP": " 192.0.2.9 ,2001:DB8:0::9,,192.0.2.9",
    }
    assert node_request(headers, Caller("node")) == NodeRequest("two", "p", ("192.0.2.9", "2001:db8::9"))
