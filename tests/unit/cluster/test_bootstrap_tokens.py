"""Bootstrap tokens are kubeadm's Secrets, and what is told of them is never their secret part."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.cluster import bootstrap_tokens
from rke2_units.cluster.bootstrap_tokens import BootstrapToken
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import ConfigurationError, UserError
from tests.unit.kubernetes_api import ApiServer, Reply, Request, Store, refused

SECRETS = "/api/v1/namespaces/kube-system/secrets"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
TOKEN = "abcdef.0123456789abcdef"
GROUP = "system:bootstrappers:rke2:default-node-token"


def create(client: Client, token: str = TOKEN, **changed: Any) -> None:
    wanted: dict[str, Any] = {
        "lifetime": timedelta(hours=24),
        "usages": ("signing", "authentication"),
        "groups": (GROUP,),
        **changed,
    }
    bootstrap_tokens.create(client, token, NOW, **wanted)


def test_a_token_is_a_secret_in_kubeadms_form(server: ApiServer, client: Client) -> None:
    server.answer = Store()
    create(client, description="rack 7")
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", SECRETS)
    assert request.body == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef",
            "token-secret": "0123456789abcdef",
            "auth-extra-groups": GROUP,
            "description": "rack 7",
            "expiration": "2026-11-23T10:00:00Z",
            "usage-bootstrap-signing": "true",
            "usage-bootstrap-authentication": "true",
        },
    }


def test_a_token_without_an_end_has_no_expiration(server: ApiServer, client: Client) -> None:
    server.answer = Store()
    create(client, lifetime=timedelta(0), usages=("authentication",))
    said = server.requests[0].body["stringData"]
    assert said.keys() == {"token-id", "token-secret", "auth-extra-groups", "usage-bootstrap-authentication"}


@pytest.mark.parametrize("token", ["", "abcdef", "abcdef.0123", "ABCDEF.0123456789abcdef", f"K10::{TOKEN}"])
def test_what_is_no_bootstrap_token_is_refused_unseen(server: ApiServer, client: Client, token: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        create(client, token)
    assert server.requests == []
    assert not token or token not in str(raised.value).replace(TOKEN, "")


@pytest.mark.parametrize(
    "group",
    ["system:masters", "system:bootstrappers", "system:bootstrappers:", "system:bootstrappers:A", ""],
)
def test_a_group_that_the_api_would_not_take_is_refused(
    server: ApiServer, client: Client, group: str
) -> None:
    with pytest.raises(ConfigurationError, match="not a valid group for a bootstrap token"):
        create(client, groups=(GROUP, group))
    assert server.requests == []


def test_the_same_identifier_twice_is_told(server: ApiServer, client: Client) -> None:
    server.answer = Store()
    create(client)
    with pytest.raises(UserError, match=r"abcdef already.*token delete abcdef"):
        create(client)


@given(st.integers())
def test_generated_tokens_have_the_form(_: int) -> None:
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", bootstrap_tokens.generate())


def test_generated_tokens_differ() -> None:
    assert len({bootstrap_tokens.generate() for _ in range(100)}) == 100


def stored(name: str, **data: str) -> dict[str, Any]:
    encoded = {key.replace("_", "-"): base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"metadata": {"name": name, "resourceVersion": "1"}, "data": encoded}


def answered(*items: dict[str, Any]) -> Reply:
    return Reply(body={"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"},
                       "items": list(items)})  # fmt: skip


def test_the_list_tells_all_but_the_secret(server: ApiServer, client: Client) -> None:
    second = stored(
        "bootstrap-token-bbbbbb", token_id="bbbbbb", token_secret="x" * 16, expiration="nonsense"
    )
    first = stored(
        "bootstrap-token-aaaaaa",
        token_id="aaaaaa",
        token_secret="0123456789abcdef",
        expiration="2026-11-23T10:00:00Z",
        usage_bootstrap_authentication="true",
        usage_bootstrap_signing="false",
        auth_extra_groups=f"{GROUP},system:bootstrappers:x",
        description="two\nlines \x1b[2J",
    )
    server.answer = lambda request: answered(second, first)
    found = bootstrap_tokens.listed(client)
    assert found == [
        BootstrapToken(
            "aaaaaa",
            datetime(2026, 11, 23, 10, 0, tzinfo=UTC),
            ("authentication",),
            (GROUP, "system:bootstrappers:x"),
            "two lines [2J",
        ),
        BootstrapToken("bbbbbb", datetime.fromtimestamp(0, UTC), (), ()),
    ]
    assert server.requests[0].query["fieldSelector"] == "type=bootstrap.kubernetes.io/token"
    assert "0123456789abcdef" not in repr(found)


def test_a_token_is_deleted_by_its_identifier(server: ApiServer, client: Client) -> None:
    def answer(request: Request) -> Reply:
        return Reply() if request.path == f"{SECRETS}/bootstrap-token-abcdef" else refused(404, "NotFound")

    server.answer = answer
    bootstrap_tokens.delete(client, "abcdef")
    assert [request.method for request in server.requests] == ["DELETE"]
    with pytest.raises(UserError, match="no bootstrap token zzzzzz"):
        bootstrap_tokens.delete(client, "zzzzzz")


@pytest.mark.parametrize("text", [TOKEN, "../..", "abcde", "ABCDEF", ""])
def test_only_an_identifier_names_a_token(text: str, server: ApiServer, client: Client) -> None:
    with pytest.raises(UserError, match="six characters before the dot") as raised:
        bootstrap_tokens.delete(client, text)
    assert server.requests == []
    assert TOKEN not in str(raised.value)
