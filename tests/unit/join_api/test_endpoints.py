"""What each endpoint answers, and to whom."""

import json
import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import NameOID

from rke2_units.certificates import bootstrap, certificate, keys, node_passwords
from rke2_units.join_api.endpoints import ENDPOINTS, Access, Endpoint

from .conftest import (
    NODE_PASSWORD,
    Answer,
    Api,
    Supervisor,
    bootstrap_token,
    node_headers,
    request_for,
    running,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "supervisor-api.md"
KEY = keys.make()
BODY = request_for(KEY)


@pytest.fixture(scope="module")
def etcdctl(material: Path) -> Path:
    """A program that answers as etcdctl does, and says how it was called."""
    path = material / "etcdctl"
    members = {"header": {"cluster_id": 1}, "members": [{"ID": 17, "name": "one-0a1b2c3d"}]}
    path.write_text(
        f"#!/bin/sh\necho \"$ETCDCTL_API $@\" >{material}/called\necho '{json.dumps(members)}'\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def shared(material: Path, etcdctl: Path, module_api: Api) -> Iterator[Supervisor]:
    with running(material, module_api, etcdctl=str(etcdctl)) as started:
        yield started


def test_the_document_has_exactly_the_endpoints_that_there_are() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `/")]
    assert rows == [f"| `{e.path}` | {e.method} | {e.access.value} | {e.answer} |" for e in ENDPOINTS]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_who_is_nobody_gets_what_is_for_anyone_and_nothing_else(
    shared: Supervisor, endpoint: Endpoint
) -> None:
    path = endpoint.path.replace("{path}", "charts/a.tgz")
    answer = shared.ask(path, method=endpoint.method, body=BODY if endpoint.writes else None)
    assert answer.status in ((200,) if endpoint.access is Access.ANYONE else (401, 429))


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
@pytest.mark.parametrize("client", ["masters", "pretender"])
def test_other_certificates_of_the_client_authority_open_nothing(
    supervisor: Supervisor, endpoint: Endpoint, client: str
) -> None:
    if endpoint.access in (Access.ANYONE, Access.REVIEWED):
        return
    answer = supervisor.ask(
        endpoint.path, method=endpoint.method, body=BODY if endpoint.writes else None, client=client
    )
    assert answer.status == 403
    assert answer.json["reason"] == "Forbidden"


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e.access is Access.SERVER], ids=str)
def test_an_agent_gets_nothing_that_is_for_servers(supervisor: Supervisor, endpoint: Endpoint) -> None:
    for credentials in ({"user": "node"}, {"client": "node-two"}):
        answer = supervisor.ask(endpoint.path, method=endpoint.method, **credentials)  # type: ignore[arg-type]
        assert answer.status == 403


def test_the_authorities_are_what_is_on_disk(shared: Supervisor) -> None:
    for path, name in (
        ("/cacerts", "server-ca.crt"),
        ("/v1-rke2/server-ca.crt", "server-ca.crt"),
        ("/v1-rke2/client-ca.crt", "client-ca.crt"),
    ):
        assert shared.ask(path, user="node").body == (shared.credentials / name).read_bytes()


def test_the_configuration_is_passed_on_as_it_is(shared: Supervisor) -> None:
    answer = shared.ask("/v1-rke2/config", user="node")
    assert answer.json["ClusterIPRange"] == {"IP": "10.42.0.0", "Mask": "//8AAA=="}
    assert answer.headers["Content-Type"].startswith("application/json")


def test_ping_answers_pong(shared: Supervisor) -> None:
    assert shared.ask("/ping").text == "pong"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret",
        "/static/charts/../../secret",
        "/static/%2e%2e/secret",
        "/static/..%2fsecret",
        "/static/%2e%2e%2f%2e%2e%2fsecret",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/link",
        "/static/charts",
        "/static/charts/",
        "/static/",
        "/static",
        "/static/a%00.tgz",
        "/static/nothing",
        "/v1-rke2/../../etc/passwd",
        "/v1-rke2/connect",
        "/v1-rke2/token",
        "//ping",
    ],
)
def test_what_is_not_a_file_of_the_static_folder_is_not_found(shared: Supervisor, path: str) -> None:
    answer = shared.ask(path)
    assert (answer.status, answer.json["kind"], answer.json["reason"]) == (404, "Status", "NotFound")


def test_a_static_file_is_given_to_anyone(shared: Supervisor) -> None:
    assert shared.ask("/static/charts/a.tgz").body == b"chart"


def test_every_kind_of_agent_credential_reaches_the_configuration(supervisor: Supervisor) -> None:
    supervisor.api.store.put(*bootstrap_token())
    for credentials in (
        {"user": "node"},
        {"user": "server"},
        {"client": "node-two"},
        {"token": "abcdef.0123456789abcdef"},
    ):
        assert supervisor.ask("/v1-rke2/config", **credentials).status == 200, credentials  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"token-secret": "fedcba9876543210"}, "wrong secret part"),
        ({"expiration": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}, "has expired"),
        ({"expiration": "soon"}, "has expired"),
        ({"usage-bootstrap-authentication": "false"}, "not enabled for authentication"),
        ({"auth-extra-groups": "system:masters"}, "system:bootstrappers:"),
        ({"token-id": "fedcba"}, "no such bootstrap token"),
    ],
)
def test_a_bootstrap_token_that_is_not_right_is_refused_and_the_journal_says_why(
    supervisor: Supervisor, changes: dict[str, str], why: str
) -> None:
    supervisor.api.store.put(*bootstrap_token(**changes))
    answer = supervisor.ask("/v1-rke2/config", token="abcdef.0123456789abcdef")
    assert (answer.status, answer.json["message"]) == (401, "Unauthorized")
    assert why in supervisor.journal and "0123456789abcdef" not in supervisor.journal


def test_without_an_apiserver_nobody_can_tell_a_bootstrap_token(supervisor: Supervisor) -> None:
    assert supervisor.ask("/v1-rke2/config", token="abcdef.0123456789abcdef").status == 401
    supervisor.api.ready = False
    answer = supervisor.ask("/v1-rke2/config", token="abcdef.0123456789abcdef")
    assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
    assert supervisor.ask("/v1-rke2/config", user="node").status == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !",
        "Basic bm9kZQ==",
        "Bearer x",
        "Digest a",
        "Basic /////w==",
        "Basic " + "Y" * 4000,
    ],
)
def test_an_authorization_that_nobody_has_is_refused(supervisor: Supervisor, header: str) -> None:
    answer = supervisor.ask("/v1-rke2/config", headers={"Authorization": header})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_a_wrong_password_is_in_the_journal_with_its_address_and_not_with_itself(
    supervisor: Supervisor,
) -> None:
    assert supervisor.ask("/v1-rke2/config", user="server:the-agents").status == 401
    assert "127.0.0.1: GET '/v1-rke2/config' refused (401)" in supervisor.journal
    assert "wrong password of server" in supervisor.journal and "the-agents" not in supervisor.journal
    assert supervisor.ask("/v1-rke2/config", user="secret:x").status == 401
    assert "secret" not in supervisor.journal


def test_failed_logins_are_slowed_down_and_certificates_are_not(supervisor: Supervisor) -> None:
    statuses = [supervisor.ask("/v1-rke2/config", user="node:guess").status for _ in range(20)]
    assert statuses[:10] == [401] * 10
    assert statuses[-1] == 429
    # A right password would say by its answer that it is one.
    assert supervisor.ask("/v1-rke2/config", user="node").status == 429
    assert supervisor.ask("/v1-rke2/config", client="node-two").status == 200
    assert supervisor.ask("/cacerts").status == 200
    assert supervisor.journal.count("refused (401)") < 15


@pytest.mark.parametrize(
    ("name", "issuer", "common_name"),
    [
        ("serving-kubelet", "server-ca", "two"),
        ("client-kubelet", "client-ca", "system:node:two"),
        ("client-kube-proxy", "client-ca", "system:kube-proxy"),
        ("client-rke2-controller", "client-ca", "system:rke2-controller"),
    ],
)
def test_an_agents_key_gets_its_certificate(
    shared: Supervisor, name: str, issuer: str, common_name: str
) -> None:
    known = node_passwords.secret("two", NODE_PASSWORD)
    shared.api.store.objects[f"{node_passwords.COLLECTION}/two.node-password.rke2"] = known
    answer = shared.ask(
        f"/v1-rke2/{name}.crt", method="POST", client="node-two", headers=node_headers("two"), body=BODY
    )
    assert answer.status == 200, answer.text
    loaded = certificate.load_first(answer.text)
    assert loaded is not None and certificate.has_key(loaded, KEY.public_key())
    assert certificate.subject_texts(loaded, NameOID.COMMON_NAME) == [common_name]
    assert answer.body.endswith((shared.credentials / f"{issuer}.crt").read_bytes())
    assert "PRIVATE" not in answer.text


@pytest.mark.parametrize("path", [e.path for e in ENDPOINTS if e.signs])
def test_no_private_key_is_given_out(supervisor: Supervisor, path: str) -> None:
    asked = supervisor.ask(path, user="node", headers=node_headers("two"))
    assert (asked.status, asked.headers["Allow"]) == (405, "POST")
    assert "never sent" in asked.json["message"]
    for body in (b"", b"garbage"):
        posted = supervisor.ask(path, method="POST", user="node", headers=node_headers("two"), body=body)
        assert (posted.status, posted.json["reason"]) == (422, "Invalid")


def test_a_nodes_first_password_is_the_one_that_counts(supervisor: Supervisor) -> None:
    def ask(password: str) -> int:
        return supervisor.ask(
            "/v1-rke2/client-kubelet.crt",
            method="POST",
            user="node",
            headers=node_headers("two", password),
            body=BODY,
        ).status

    assert [ask("first"), ask("second"), ask("first")] == [200, 403, 200]
    assert "Node password rejected, duplicate hostname" in supervisor.journal
    secret = supervisor.api.store.objects["/api/v1/namespaces/kube-system/secrets/two.node-password.rke2"]
    assert secret["immutable"] is True
    assert "first" not in json.dumps(secret) and "second" not in supervisor.journal


def test_a_node_that_was_deleted_needs_a_token_again(supervisor: Supervisor) -> None:
    def ask(**who: str) -> Answer:
        headers = node_headers("two")
        return supervisor.ask(
            "/v1-rke2/client-kubelet.crt", method="POST", headers=headers, body=BODY, **who
        )

    refused = ask(client="node-two")
    assert refused.status == 403 and "join again with a token" in refused.json["message"]
    for path in (e.path for e in ENDPOINTS if e.signs):
        other = supervisor.ask(
            path, method="POST", client="node-two", headers=node_headers("two"), body=BODY
        )
        assert other.status == 403 and "join again with a token" in other.json["message"], path
    assert supervisor.api.store.objects == {}
    assert ask(user="node").status == 200
    assert ask(client="node-two").status == 200


def test_who_shows_no_credentials_locks_nobody_out(supervisor: Supervisor) -> None:
    answers = [supervisor.ask("/v1-rke2/readyz") for _ in range(12)]
    assert {answer.status for answer in answers} == {401}
    assert answers[0].headers["WWW-Authenticate"].startswith("Basic")
    assert supervisor.ask("/v1-rke2/config", user="node").status == 200
    assert "127.0.0.1 got 401 for GET '/v1-rke2/readyz'" in supervisor.journal


def test_without_an_apiserver_a_nodes_password_cannot_be_checked(supervisor: Supervisor) -> None:
    supervisor.api.ready = False
    answer = supervisor.ask(
        "/v1-rke2/client-kubelet.crt", method="POST", user="node", headers=node_headers("two"), body=BODY
    )
    assert (answer.status, answer.json["message"]) == (503, "runtime core not ready")
    path = "/v1-rke2/client-kube-proxy.crt"
    assert supervisor.ask(path, method="POST", user="node", body=BODY).status == 200
    # Whether a node was deleted cannot be told, either.
    assert supervisor.ask(path, method="POST", client="node-two", body=BODY).status == 503


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        (node_headers("Two"), 400),
        (node_headers("two/../one"), 400),
        (node_headers("two,O=system:masters"), 400),
        (node_headers("a" * 64), 400),
        (node_headers("a." * 26 + "a"), 400),
        (node_headers("two", password=""), 400),
        (node_headers("two", password="\u00fcber"), 400),
        (node_headers("two", ips="192.0.2.9,x"), 400),
        (node_headers("two", ips="127.0.0.1"), 400),
        (node_headers("two", ips="::ffff:192.0.2.5"), 400),
        (node_headers("two", ips="fe80::1%eth0"), 400),
        (node_headers("two", ips=",".join(f"192.0.2.{n}" for n in range(100, 110))), 400),
        (node_headers("two", ips="192.0.2.5"), 403),
        (node_headers("two", ips="192.0.2.9, 192.0.2.5"), 403),
        (node_headers("one"), 403),
        (node_headers("cluster.example"), 403),
        (node_headers("localhost"), 403),
        (node_headers("kubernetes"), 403),
        (node_headers("kubernetes.default.svc.cluster.local"), 403),
    ],
    ids=str,
)
def test_a_node_cannot_pass_for_another_thing(
    supervisor: Supervisor, headers: dict[str, str], status: int
) -> None:
    answer = supervisor.ask(
        "/v1-rke2/serving-kubelet.crt", method="POST", user="node", headers=headers, body=BODY
    )
    assert answer.status == status, answer.text
    # Nor does the attempt leave anything behind.
    assert supervisor.api.store.objects == {}


def test_a_nodes_certificate_gets_no_other_nodes_certificate(supervisor: Supervisor) -> None:
    answer = supervisor.ask(
        "/v1-rke2/client-kubelet.crt",
        method="POST",
        client="node-two",
        headers=node_headers("three"),
        body=BODY,
    )
    assert answer.status == 403
    assert "node two may not request certificates of node three" in supervisor.journal
    assert supervisor.api.store.objects == {}


def test_a_node_cannot_take_the_address_of_another_server(supervisor: Supervisor) -> None:
    put_endpoints(supervisor)
    answer = supervisor.ask(
        "/v1-rke2/serving-kubelet.crt",
        method="POST",
        user="node",
        headers=node_headers("two", ips="2001:db8::6"),
        body=BODY,
    )
    assert (answer.status, answer.json["message"]) == (
        403,
        "2001:db8::6 belongs to a server of this cluster",
    )


def test_apiservers_are_those_of_the_api_else_those_of_the_plan(supervisor: Supervisor) -> None:
    assert supervisor.ask("/v1-rke2/apiservers", user="node").json == ["192.0.2.5:6443"]
    put_endpoints(supervisor)
    known = ["192.0.2.5:6443", "[2001:db8::6]:6443"]
    assert supervisor.ask("/v1-rke2/apiservers", user="node").json == known
    supervisor.api.ready = False
    assert supervisor.ask("/v1-rke2/apiservers", user="node").json == ["192.0.2.5:6443"]


def put_endpoints(supervisor: Supervisor) -> None:
    ports = [{"name": "https", "port": 6443}, {"name": "other", "port": 1}]
    subset = {"addresses": [{"ip": "192.0.2.5"}, {"ip": "2001:db8::6"}], "ports": ports}
    supervisor.api.store.put(
        "/api/v1/namespaces/default/endpoints/kubernetes",
        {"metadata": {"name": "kubernetes"}, "subsets": [subset, {"notReadyAddresses": []}]},
    )


def test_readyz_is_the_apiservers(supervisor: Supervisor) -> None:
    assert supervisor.ask("/v1-rke2/readyz", user="node").text == "ok"
    supervisor.api.ready = False
    # It is not asked anew for every caller.
    time.sleep(1)
    assert supervisor.ask("/v1-rke2/readyz", user="node").status == 503


def test_bootstrap_data_is_all_that_a_server_needs(shared: Supervisor) -> None:
    answer = shared.ask("/v1-rke2/server-bootstrap", user="server")
    found = bootstrap.unpack(answer.body)
    assert found.keys() == bootstrap.FILES.keys()
    assert found["ClientCAKey"] == (shared.credentials / "client-ca.key").read_bytes()
    assert found["PasswdFile"] == (shared.credentials / "passwd").read_bytes()
    assert "sent the cluster's keys to server" in shared.journal


def test_members_are_those_that_etcdctl_shows(shared: Supervisor, material: Path) -> None:
    assert shared.ask("/db/info", user="server").json == {"members": [{"ID": 17, "name": "one-0a1b2c3d"}]}
    called = (material / "called").read_text()
    assert called.startswith("3 --endpoints=https://127.0.0.1:2379 ")
    assert called.endswith("--write-out=json member list\n")


@pytest.mark.parametrize("script", ["exit 1", "echo nothing", "echo '{}'", ""])
def test_members_are_unavailable_while_etcd_is(material: Path, api: Api, script: str) -> None:
    path = material / "failing"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    program = os.fspath(path) if script else ""
    with running(material, api, etcdctl=program) as supervisor:
        assert supervisor.ask("/db/info", user="server").status == 503
