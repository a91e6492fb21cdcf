"""Configuration that reaches far: where the data is, the token, proxies, hardening, where secrets are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cis import CONTROLS, Control, Seen
from tests.node.helpers import hardening, product
from tests.node.helpers.product import CONTAINERD, KUBELET
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode

DATA = "/srv/kubernetes"
SECRET = "correct-horse-battery-staple"
CONFIG = f"""\
cni: none
data-dir: {DATA}
token-file: /root/token
write-kubeconfig-mode: "0640"
tls-san: [node.example]
profile: cis
"""
# https://docs.rke2.io/advanced#configuring-an-http-proxy
ENVIRONMENT = """\
HTTP_PROXY=http://user:pa$$word@proxy.example:3128
NO_PROXY=10.199.0.0/24
CONTAINERD_HTTPS_PROXY=http://images.example:3128
export CONTAINERD_NO_PROXY=.example
"""
# What is secret, in files of any kind.
_SECRETS = rf"PRIVATE KEY|{SECRET}|\"secret\":|client-key-data"


@pytest.fixture(scope="module")
def elsewhere(deb: Path) -> Iterator[Node]:
    """A server that is configured in every way that the tests of this file ask for."""
    made = content("bookworm")
    with NspawnNode.boot("elsewhere", "bookworm", replace=True) as node:
        node.data_directory = DATA
        node.place_content(made)
        node.copy_in(made.programs / "etcdctl", "/usr/local/bin/etcdctl")
        node.run("useradd", "--system", "--user-group", "--no-create-home", "etcd")
        node.write("/root/token", SECRET + "\n", mode=0o600)
        node.write("/etc/default/rke2-server", ENVIRONMENT, mode=0o600)
        hardening.set_kernel_parameters(node)
        product.install(node, deb, made.release, CONFIG)
        product.start(node)
        product.wait_until_running(node)
        yield node


def environment(node: Node, process: int) -> dict[str, str]:
    entries = node.read(f"/proc/{process}/environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def process_of(node: Node, component: str) -> int:
    """The process of a static pod's container."""
    pod = f"{component}-{node.name}"
    return next(c.pid for c in node.containers().values() if c.pod == pod and c.name == component and c.pid)


def test_a_server_lives_in_another_data_directory(elsewhere: Node) -> None:
    assert f"{elsewhere.name} " in elsewhere.kubectl("get", "nodes", "--no-headers").stdout
    assert elsewhere.exists(f"{DATA}/server/db/etcd/member")
    assert not elsewhere.exists("/var/lib/rancher")
    # Its kubelet reports some seconds after the start that it is ready.
    elsewhere.wait_for("all to be well", ["rke2-units", "status"], timeout=60)


def test_a_server_in_another_data_directory_is_stopped_and_started_as_any_other(elsewhere: Node) -> None:
    with product.containers_live_on(elsewhere):
        elsewhere.systemctl("stop", "rke2-server")
        product.start(elsewhere)
        product.wait_until_running(elsewhere)


def test_the_token_of_a_token_file_is_the_clusters_token(elsewhere: Node) -> None:
    token = elsewhere.read(f"{DATA}/server/token").strip()
    assert re.fullmatch(rf"K10[0-9a-f]{{64}}::server:{SECRET}", token)
    authority = elsewhere.sh(f"sha256sum <{DATA}/server/tls/server-ca.crt").stdout.split()[0]
    assert token.startswith(f"K10{authority}::")


def test_the_kubeconfig_works_and_has_the_wanted_mode(elsewhere: Node) -> None:
    shown = elsewhere.run(
        f"{DATA}/bin/kubectl", "--kubeconfig=/etc/rancher/rke2/rke2.yaml", "auth", "can-i", "*", "*", "-A"
    )
    assert shown.stdout.strip() == "yes"
    assert elsewhere.run("stat", "-c", "%a", "/etc/rancher/rke2/rke2.yaml").stdout.strip() == "640"


def test_a_name_of_tls_san_is_in_the_apiservers_certificate(elsewhere: Node) -> None:
    shown = elsewhere.run(
        f"{DATA}/bin/kubectl",
        "--kubeconfig=/etc/rancher/rke2/rke2.yaml",
        "--tls-server-name=node.example",
        "get",
        "--raw=/readyz",
    )
    assert shown.stdout == "ok"


def test_with_a_profile_etcd_and_its_data_belong_to_a_user_of_their_own(elsewhere: Node) -> None:
    process = process_of(elsewhere, "etcd")
    owners = elsewhere.run(
        *(
            "stat",
            "--format=%U %a",
            f"/proc/{process}",
            f"{DATA}/server/db/etcd",
            f"{DATA}/server/db/etcd/member",
        )
    )
    assert owners.stdout.splitlines() == ["etcd 555", "etcd 700", "etcd 700"]


def test_proxies_reach_containerd_the_kubelet_and_the_pods(elsewhere: Node) -> None:
    processes = {
        "containerd": elsewhere.main_pid(CONTAINERD),
        "kubelet": elsewhere.main_pid(KUBELET),
        **{name: process_of(elsewhere, name) for name in product.COMPONENTS},
    }
    for name, process in processes.items():
        found = environment(elsewhere, process)
        assert found.get("HTTP_PROXY") == "http://user:pa$$word@proxy.example:3128", name
        assert {"10.199.0.0/24", "10.42.0.0/16", "10.43.0.0/16", ".svc"} <= set(
            found["NO_PROXY"].split(",")
        ), name
        # CONTAINERD_* is for containerd alone.
        own = "http://images.example:3128" if name == "containerd" else None
        assert found.get("HTTPS_PROXY") == own, name
        assert not any(variable.startswith("CONTAINERD_") for variable in found), name


def test_a_line_that_systemd_ignores_is_told(elsewhere: Node) -> None:
    assert "/etc/default/rke2-server:4: systemd ignores this line" in elsewhere.journal(product.SERVER)


@pytest.fixture(scope="module")
def hardened(elsewhere: Node) -> Seen:
    """What is to be seen of the node, once its controllers have done their part."""
    elsewhere.wait_for("the cluster to be hardened", lambda: hardening.is_done(elsewhere), timeout=30)
    return hardening.look(elsewhere)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.number)
def test_a_control_of_the_cis_benchmark_passes(hardened: Seen, control: Control) -> None:
    assert control.look(hardened) == ""


def test_wrong_kernel_parameters_are_named_before_anything_changes(elsewhere: Node) -> None:
    # The host's are all nodes', and stay: the node gets to see other ones.
    wrong = ("/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/panic")
    elsewhere.write("/root/wrong", "7\n")
    for path in wrong:
        elsewhere.run("mount", "--bind", "/root/wrong", path)
    try:
        refused = elsewhere.run("rke2-units", "install", "--role", "server", check=False)
    finally:
        for path in wrong:
            elsewhere.run("umount", path)
    assert refused.returncode == 1
    assert "vm.panic_on_oom is 7" in refused.stderr and "kernel.panic is 7" in refused.stderr
    assert "kernel.panic_on_oops" not in refused.stderr
    assert "60-rke2-cis.conf" in refused.stderr and "nothing was changed" in refused.stderr


def test_policies_are_made_once(elsewhere: Node) -> None:
    elsewhere.kubectl("delete", "networkpolicy", "default-network-policy", "--namespace=default")
    path = "/api/v1/namespaces/kube-public"
    elsewhere.kubectl("annotate", "namespace", "kube-public", "np.rke2.io-")
    elsewhere.systemctl("restart", "rke2-controllers")
    elsewhere.wait_for(
        "the annotation to be back",
        lambda: "np.rke2.io" in elsewhere.kubectl("get", "--raw", path).stdout,
        timeout=30,
    )
    found = json.loads(elsewhere.kubectl("get", "networkpolicies", "-A", "-o", "json").stdout)["items"]
    names = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in found}
    assert ("kube-public", "default-network-policy") in names
    assert ("default", "default-network-policy") not in names


def test_secrets_are_encrypted_in_etcd_from_the_first_start(elsewhere: Node) -> None:
    elsewhere.kubectl("create", "secret", "generic", "probe", f"--from-literal=password={SECRET}")
    tls = f"{DATA}/server/tls/etcd"
    stored = elsewhere.sh(
        f"ETCDCTL_API=3 etcdctl --endpoints=https://127.0.0.1:2379 --cacert={tls}/server-ca.crt"
        f" --cert={tls}/client.crt --key={tls}/client.key get /registry/secrets/default/probe | tr -d '\\0'"
    ).stdout
    assert "k8s:enc:aescbc:v1:aescbckey:" in stored
    assert SECRET not in stored


def test_no_secret_is_in_a_file_that_others_may_read(elsewhere: Node) -> None:
    # Images and what runs in them are not ours; /srv and /etc hold everything else.
    skipped = " ".join(
        f"-path {DATA}/{name} -prune -o" for name in ("agent/containerd", "agent/images", "data")
    )
    found = elsewhere.sh(
        f"find {DATA} /etc /usr/local/lib/systemd /var/lib/rke2-units /run/rke2-units -xdev {skipped}"
        f" -type f -perm /o=rwx -print0 | xargs -0 grep -laE '{_SECRETS}' || true"
    ).stdout
    assert found == ""
    # The same search finds them where they belong.
    keys = elsewhere.sh(f"grep -rlaE '{_SECRETS}' {DATA}/server/tls {DATA}/server/cred {DATA}/server/token")
    assert len(keys.stdout.splitlines()) > 10


def test_no_secret_is_in_a_command_line_or_in_the_journal(elsewhere: Node) -> None:
    commands = elsewhere.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert "rke2_units.daemon" in commands
    assert SECRET not in commands and "pa$$word" not in commands
    assert SECRET not in elsewhere.journal() and "pa$$word" not in elsewhere.journal()


def test_killall_ends_a_server_in_another_data_directory(elsewhere: Node) -> None:
    elsewhere.run("rke2-units", "killall")
    assert not elsewhere.container_processes()
    assert DATA not in elsewhere.read("/proc/mounts")
