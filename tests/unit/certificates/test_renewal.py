"""When a certificate is made again, and that nothing else is."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from rke2_units.certificates import authority, certificate, keys, leaf, pem, table

if TYPE_CHECKING:
    from tests.unit.certificates.conftest import Node

DAY = timedelta(days=1)
WANTED = leaf.Wanted("kubelet", "nodes", (table.Usage.SERVER,), ("one", "2001:db8:0:0::5", "127.0.0.1"))
KEY = keys.make()


def leaf_files(node: "Node") -> set[str]:
    """The certificate files of all leaves, relative to the data directory."""
    return {f"server/tls/{entry.name}.crt" for entry in table.SERVER_LEAVES} | {
        f"agent/{entry.name}.crt" for entry in table.AGENT_LEAVES
    }


def issued_by(name: str) -> set[str]:
    return {f"server/tls/{entry.name}.crt" for entry in table.SERVER_LEAVES if entry.authority == name} | {
        f"agent/{entry.name}.crt" for entry in table.AGENT_LEAVES if entry.authority == name
    }


def load(node: "Node", tls: Path, name: str) -> authority.Authority:
    entry = next(entry for entry in table.AUTHORITIES if entry.name == name)
    return authority.ensure(entry, str(tls), [], node.start, (0, 0))


def parsed(files: tuple[Any, ...]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files[1].content.encode())


@pytest.fixture
def server_ca(node: "Node") -> authority.Authority:
    node.ensure()
    return load(node, node.tls, "server-ca")


@pytest.fixture
def existing(node: "Node", server_ca: authority.Authority, tmp_path: Path) -> x509.Certificate:
    key = tmp_path / "x.key"
    key.write_text(keys.text(KEY))
    return parsed(leaf.ensure(WANTED, str(tmp_path / "x"), server_ca, node.start))


@pytest.mark.parametrize(
    ("wanted", "after", "reason"),
    [
        (WANTED, 0 * DAY, None),
        (WANTED, 245 * DAY - timedelta(seconds=1), None),
        (WANTED, 245 * DAY + timedelta(seconds=1), "it expires on 2027-01-01"),
        (WANTED, 400 * DAY, "it expires on 2027-01-01"),
        (replace(WANTED, common_name="other"), 0 * DAY, "its common name changed"),
        (replace(WANTED, organization="other"), 0 * DAY, "its organization changed"),
        (replace(WANTED, organization=""), 0 * DAY, "its organization changed"),
        (replace(WANTED, names=(*WANTED.names, "two", "::2")), 0 * DAY, "it is not valid for ::2, two"),
        # A name too many does no harm, and another way to write an address is no change.
        (replace(WANTED, names=("one",)), 0 * DAY, None),
        (replace(WANTED, names=("2001:DB8::5",)), 0 * DAY, None),
    ],
)
def test_certificate_is_renewed_for_a_reason_only(
    node: "Node",
    existing: x509.Certificate,
    server_ca: authority.Authority,
    wanted: leaf.Wanted,
    after: timedelta,
    reason: str | None,
) -> None:
    now = node.start.replace(microsecond=0) + after
    assert leaf.renewal_reason(existing, wanted, server_ca, KEY.public_key(), now) == reason


def test_certificate_of_another_authority_or_key_is_renewed(
    node: "Node", existing: x509.Certificate, server_ca: authority.Authority
) -> None:
    client_ca = load(node, node.tls, "client-ca")
    reason = leaf.renewal_reason(existing, WANTED, client_ca, KEY.public_key(), node.start)
    assert reason == "another authority issued it"
    reason = leaf.renewal_reason(existing, WANTED, server_ca, keys.make().public_key(), node.start)
    assert reason == "it belongs to another key"


def test_an_authority_of_the_same_key_and_another_name_is_another_one(
    node: "Node", existing: x509.Certificate, server_ca: authority.Authority, tmp_path: Path
) -> None:
    node.start += DAY
    (tmp_path / "again").mkdir()
    (tmp_path / "again/server-ca.key").write_bytes((node.tls / "server-ca.key").read_bytes())
    again = load(node, tmp_path / "again", "server-ca")
    assert certificate.key_id(again.certificate) == certificate.key_id(server_ca.certificate)
    reason = leaf.renewal_reason(existing, WANTED, again, KEY.public_key(), node.start)
    assert reason == "another authority issued it"


def test_an_authority_of_the_same_name_and_another_key_is_another_one(
    node: "Node", existing: x509.Certificate, server_ca: authority.Authority, tmp_path: Path
) -> None:
    (tmp_path / "again").mkdir()
    again = load(node, tmp_path / "again", "server-ca")
    assert again.certificate.subject == server_ca.certificate.subject
    reason = leaf.renewal_reason(existing, WANTED, again, KEY.public_key(), node.start)
    assert reason == "another authority issued it"


def test_a_second_start_writes_nothing(node: "Node") -> None:
    node.ensure()
    before = node.state()
    assert node.ensure(DAY) == []
    assert node.state() == before


def test_certificates_are_renewed_when_fewer_than_120_days_are_left_and_keep_their_keys(
    node: "Node",
) -> None:
    node.ensure()
    assert node.ensure(244 * DAY) == []
    before = node.state()
    written = set(node.ensure(246 * DAY))
    # The administrator's kubeconfig holds a certificate.
    assert written == leaf_files(node) | {"../etc/rke2.yaml"}
    changed = {path for path, found in node.state().items() if found != before[path]}
    assert changed == {f"data/{path}" for path in leaf_files(node)} | {"etc/rke2.yaml"}
    renewed = x509.load_pem_x509_certificate((node.tls / "client-admin.crt").read_bytes())
    assert certificate.not_after(renewed) == node.start.replace(microsecond=0) + (246 + 365) * DAY
    assert node.ensure(246 * DAY) == []


def test_a_new_name_renews_what_carries_the_names(node: "Node") -> None:
    node.ensure()
    written = node.ensure(names=(*node.request.names, "later.example"))
    assert sorted(written) == [
        "server/tls/etcd/peer-server-client.crt",
        "server/tls/etcd/server-client.crt",
        "server/tls/serving-kube-apiserver.crt",
        "server/tls/serving-supervisor.crt",
    ]


def test_another_cluster_domain_renews_the_apiservers_certificate(node: "Node") -> None:
    node.ensure()
    assert node.ensure(cluster_domain="example.internal") == ["server/tls/serving-kube-apiserver.crt"]


def test_another_node_name_renews_the_kubelets_certificates_and_keeps_the_member_name(node: "Node") -> None:
    node.ensure()
    assert sorted(node.ensure(node_name="two")) == ["agent/client-kubelet.crt", "agent/serving-kubelet.crt"]


def test_a_replaced_authority_renews_what_it_issues(node: "Node", tmp_path: Path) -> None:
    node.ensure()
    (tmp_path / "new").mkdir()
    for file in load(node, tmp_path / "new", "client-ca").files:
        (node.tls / Path(file.path).name).write_text(file.content)
    written = set(node.ensure())
    others = {"agent/client-ca.crt", "../etc/rke2.yaml"}
    assert issued_by("client-ca") <= written <= issued_by("client-ca") | others
    assert (node.agent / "client-ca.crt").read_bytes() == (node.tls / "client-ca.crt").read_bytes()
    assert node.ensure() == []


def test_a_bundle_that_grows_is_added_to_certificates_without_renewing_them(node: "Node") -> None:
    node.ensure()
    path = node.tls / "client-admin.crt"
    before = pem.certificates(path.read_text())
    bundle = node.tls / "client-ca.crt"
    bundle.write_text(bundle.read_text() + (node.tls / "request-header-ca.crt").read_text())
    node.ensure()
    after = pem.certificates(path.read_text())
    assert after[:2] == before
    assert after[2:] == pem.certificates((node.tls / "request-header-ca.crt").read_text())
    assert len(pem.certificates((node.tls / "client-ca.nochain.crt").read_text())) == 1


def test_a_short_lived_authority_does_not_renew_at_every_start(node: "Node") -> None:
    node.ensure()
    node.ensure((3650 - 30) * DAY)
    assert node.ensure((3650 - 30) * DAY) == []
