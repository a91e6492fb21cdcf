"""The content and the image of a static pod from a registry, which fails in each way that registries do.

On a node without Kubernetes: after a first start that fails, the units that rke2-server starts are started
alone.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.node.helpers import product, registries
from tests.node.helpers.failing import failing_start
from tests.node.helpers.product import BASIC_CONFIG, CONTAINERD, KUBELET, SERVER, state
from tests.node.helpers.registries import FaultyRegistry
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.nodes.registry_storage import ANOTHER_RELEASE, MIRROR, image_list
from tests.package import build_deb

CONTENT = "rke2-content.service"
ETCD = product.pod_unit("etcd")
DATA = "/var/lib/rancher/rke2"
REGISTRIES = "/etc/rancher/rke2/registries.yaml"
RUNTIME, ETCD_IMAGE = "rancher/rke2-runtime", "rancher/hardened-etcd"
# What is said about each fault of the registry.
TELLS = {
    "401": "401",
    "404": "404",
    "429": "429",
    "500": "500",
    "cut": "closed the connection",
    "altered": "digest",
}
# Complete versions have the marker; what DATA/bin leads to is one of them.
_HALF_DONE = f"""\
cd {DATA}
for version in data/v*/; do
    [ -e "$version" ] || continue
    [ -e "$version/.extracted" ] || echo "$version"
done
if [ -L bin ]; then
    [ -e "$(readlink bin)/../.extracted" ] || readlink bin
fi
"""


# The suites' skopeos differ in what they try again and what they say.
@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.long)])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node that has our package; no archive of an image is on it."""
    made = content(request.param)
    with NspawnNode.boot(f"faults-{made.suite}", made.suite, replace=True) as booted:
        registries.prepare(booted, made)
        product.install(booted, build_deb(made.suite), made.release)
        yield booted


@pytest.fixture(scope="module")
def registry(node: Node) -> FaultyRegistry:
    """The node's registry, after a first start of rke2-server, which has written what its units need."""
    faulty = registries.run_faulty(5001, registries.run(node, 5000))
    node.write(product.CONFIG, f"{BASIC_CONFIG}system-default-registry: {faulty.address}\n")
    faulty.stop()
    start = failing_start(node)
    start.tells("content", tagged(node, RUNTIME), faulty.address, "refuse")
    node.systemctl("stop", SERVER)
    faulty.start()
    return faulty


def tagged(node: Node, name: str) -> str:
    """The image of this name in the node's release."""
    made = content(node.suite)
    [found] = [image for image in image_list(made, made.release) if f"/{name}:" in image]
    return found.removeprefix("docker.io/")


@contextmanager
def no_content(node: Node) -> Iterator[None]:
    """Nothing has been pulled; and in the end nothing is half done, and an undisturbed start completes."""
    node.systemctl("stop", CONTENT, check=False)
    node.systemctl("reset-failed", CONTENT, check=False)
    node.sh(f"rm -rf {DATA}/data/* {DATA}/data/.??* {DATA}/bin")
    yield
    node.systemctl("start", CONTENT)
    assert node.sh(_HALF_DONE).stdout == ""
    assert node.run(f"{DATA}/bin/kubelet", "--version").stdout.startswith("Kubernetes v1.20.2")
    # Not a trace of what was begun and not finished.
    assert [name for name in left_in_data(node) if name.startswith(".") and name != ".lock"] == []


def left_in_data(node: Node) -> list[str]:
    return node.sh(f"ls -A {DATA}/data").stdout.split()


def failing_content(node: Node) -> str:
    """Start rke2-content, which fails; what the journal has of it."""
    since = node.now()
    assert node.systemctl("start", CONTENT, check=False).returncode != 0
    assert node.sh(_HALF_DONE).stdout == ""
    said = node.journal(CONTENT, since=since)
    assert "Traceback" not in said
    return said


@pytest.mark.contract("L9")
def test_a_registry_that_is_down_is_named_by_the_server_and_by_the_unit(
    node: Node, registry: FaultyRegistry
) -> None:
    with no_content(node):
        registry.stop()
        said = failing_content(node)
        registry.start()
    assert tagged(node, RUNTIME) in said and registry.address in said and "refuse" in said


@pytest.mark.parametrize("fault", TELLS)
def test_a_registry_that_fails_is_named_with_the_image_and_the_cause(
    node: Node, registry: FaultyRegistry, fault: str
) -> None:
    with no_content(node):
        registry.be(fault)
        said = failing_content(node)
        registry.be("")
    assert tagged(node, RUNTIME) in said and registry.address in said and TELLS[fault] in said


def test_a_connection_that_is_cut_once_does_not_end_the_pull(node: Node, registry: FaultyRegistry) -> None:
    with no_content(node):
        registry.be("cut once")
        node.systemctl("start", CONTENT)
    assert registry.fault() == ""


# The image is smaller than the first, and extracted it is larger than the second.
@pytest.mark.parametrize("size", ["30m", "200m"], ids=["while pulling", "while extracting"])
def test_a_disk_that_gets_full_is_named_and_more_room_is_all_that_a_start_needs(
    node: Node, registry: FaultyRegistry, size: str
) -> None:
    with no_content(node):
        node.sh(f"mount -t tmpfs -o size={size},mode=0755 tmpfs {DATA}/data")
        try:
            said = failing_content(node)
            node.sh(f"mount -o remount,size=2g {DATA}/data")
            node.systemctl("start", CONTENT)
            assert node.sh(_HALF_DONE).stdout == ""
        finally:
            node.systemctl("stop", CONTENT)
            node.sh(f"umount {DATA}/data; rm -f {DATA}/bin")
    assert tagged(node, RUNTIME) in said and "space left on device" in said.lower()


# The image is some 70 MB, its programs are 230 MB: at 20 the registry holds it, the others are in between.
@pytest.mark.parametrize(
    ("fault", "megabytes"), [("held", 20), ("", 100), ("", 200)], ids=["pulling", "extracting", "later"]
)
def test_killed_in_the_middle_it_leaves_nothing_that_is_used_and_begins_anew(
    node: Node, registry: FaultyRegistry, fault: str, megabytes: int
) -> None:
    with no_content(node):
        registry.be(fault)
        # Looked for in the node, as it takes less than a second.
        node.sh(
            f"systemctl start --no-block {CONTENT}; mkdir -p {DATA}/data;"
            f' until [ "$(du -sm {DATA}/data | cut -f1)" -ge {megabytes} ]; do sleep 0.01; done;'
            f" systemctl kill --signal=KILL {CONTENT}",
            timeout=60,
        )
        node.wait_for("the unit to fail", lambda: state(node, CONTENT) == "failed", timeout=10)
        assert node.sh(_HALF_DONE).stdout == ""
        registry.be("")


def test_a_pull_tells_how_far_it_is_and_can_be_stopped(node: Node, registry: FaultyRegistry) -> None:
    with no_content(node):
        registry.be("held")
        node.systemctl("start", "--no-block", CONTENT)
        progress = re.compile(
            rf"pulling \S*{re.escape(tagged(node, RUNTIME))} from \S+: [1-9][0-9.]* of [0-9.]+ MiB"
        )
        node.wait_for("progress", lambda: progress.search(node.unit(CONTENT)["StatusText"]), timeout=30)
        node.systemctl("stop", CONTENT)
        assert state(node, CONTENT) == "inactive"
        assert node.sh(_HALF_DONE).stdout == ""
        registry.be("")


def test_of_two_starts_at_once_one_pulls_and_the_other_waits_for_it(
    node: Node, registry: FaultyRegistry
) -> None:
    with no_content(node):
        since = node.now()
        # Two jobs for one unit are one: so what the unit starts is started twice.
        node.sh(
            "command=$(sed -n 's/^ExecStart=//p' /usr/local/lib/systemd/system/rke2-content.service);"
            " $command & first=$!; $command & second=$!; wait $first; wait $second"
        )
        assert node.sh(_HALF_DONE).stdout == ""
        blobs = registry.asked_for("/v2/rancher/rke2-runtime/blobs/", since)
        assert blobs and len(blobs) == len(set(blobs))


def test_a_start_with_everything_in_place_asks_no_registry(node: Node, registry: FaultyRegistry) -> None:
    node.systemctl("start", CONTENT)
    registry.stop()
    node.systemctl("restart", CONTENT)
    registry.start()


# -- what is pulled ----------------------------------------------------------------------------------


def start_without_containerd(node: Node, release: str, config: str) -> None:
    """Move to a release and start rke2-server, which comes as far as the content."""
    node.write(product.CONFIG, BASIC_CONFIG + config)
    node.run("rke2-units", "install", "--role", "server", "--release", release)
    node.systemctl("mask", "--runtime", CONTAINERD)
    assert node.systemctl("start", SERVER, check=False).returncode != 0
    node.systemctl("stop", SERVER)
    node.systemctl("unmask", "--runtime", CONTAINERD)


def programs(node: Node) -> str:
    """Where DATA/bin leads to, below DATA/data; nothing else is there."""
    name = node.run("readlink", f"{DATA}/bin").stdout.split("/")[-2]
    assert [left for left in left_in_data(node) if left != ".lock"] == [name]
    return name


def test_rewrites_act_in_the_pull_of_the_content(node: Node, registry: FaultyRegistry) -> None:
    made = content(node.suite)
    node.write("/root/core.txt", "\n".join(image_list(made, ANOTHER_RELEASE)) + "\n")
    node.run("rke2-units", "release", "fetch", ANOTHER_RELEASE, "--from", "/root/core.txt")
    # A fetched release is taken for RKE2's own, whose containerd follows rewrites.
    node.write(
        REGISTRIES,
        f"mirrors:\n  docker.io:\n    endpoint: ['http://{registry.address}']\n"
        "    rewrite:\n      '^elsewhere/(.*)-of-(.*)': '$2/$1'\n",
        mode=0o600,
    )
    image = "docker.io/elsewhere/rke2-runtime-of-rancher:v1.20.9-rke2r9"
    with no_content(node):
        since = node.now()
        start_without_containerd(node, ANOTHER_RELEASE, f"runtime-image: {image}\n")
        assert programs(node).startswith("v1.20.9-rke2r9-")
        assert registry.asked_for("/v2/rancher/rke2-runtime/manifests/v1.20.9-rke2r9", since)
        assert image in node.journal(CONTENT, since=since)
    node.run("rm", REGISTRIES)


def test_a_default_registry_can_have_its_images_below_a_path(node: Node, registry: FaultyRegistry) -> None:
    release = content(node.suite).release
    with no_content(node):
        since = node.now()
        start_without_containerd(node, release, f"system-default-registry: {registry.address}/{MIRROR}\n")
        # RKE2's rule: a path is part of the name that the folder's hash is made of.
        tag = release.replace("+", "-")
        name = f"{registry.address}/{MIRROR}/{RUNTIME}:{tag}"
        assert programs(node) == f"{tag}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
        assert registry.asked_for(f"/v2/{MIRROR}/{RUNTIME}/manifests/", since)


def test_the_content_is_what_a_digest_names(node: Node, registry: FaultyRegistry) -> None:
    name = f"{registry.address}/rancher/rke2-runtime"
    shown = node.run(
        *("skopeo", "--insecure-policy", "inspect", "--tls-verify=false", "--format={{.Digest}}"),
        f"docker://{registry.address}/{tagged(node, RUNTIME)}",
    )
    digest = shown.stdout.strip()
    with no_content(node):
        start_without_containerd(node, content(node.suite).release, f"runtime-image: {name}@{digest}\n")
        assert f"sha256:{programs(node)}" == digest
    start_without_containerd(
        node, content(node.suite).release, f"system-default-registry: {registry.address}\n"
    )


# -- the image gate of a static pod ------------------------------------------------------------------


@pytest.fixture(scope="module")
def gate(node: Node, registry: FaultyRegistry) -> Iterator[FaultyRegistry]:
    """containerd runs and has no image; the kubelet, which the next gate waits for, does not run."""
    node.systemctl("mask", "--runtime", KUBELET)
    node.systemctl("start", CONTENT, CONTAINERD)
    yield registry
    node.systemctl("stop", ETCD, CONTAINERD, check=False)


def failing_gate(node: Node) -> str:
    since = node.now()
    assert node.systemctl("start", ETCD, check=False).returncode != 0
    return node.journal(ETCD, since=since)


def images(node: Node) -> str:
    return node.ctr("images", "ls").stdout


@pytest.mark.parametrize("fault", ["404", "cut", "altered"])
def test_an_image_of_a_static_pod_that_cannot_be_pulled_is_named_with_the_registry(
    node: Node, gate: FaultyRegistry, fault: str
) -> None:
    gate.be(fault)
    said = failing_gate(node)
    gate.be("")
    assert tagged(node, ETCD_IMAGE) in said and gate.address in said and TELLS[fault] in said
    assert ETCD_IMAGE not in images(node)


def test_an_image_that_a_static_pod_needs_is_pulled_while_its_gate_is_closed(
    node: Node, gate: FaultyRegistry
) -> None:
    gate.be("cut once")
    node.systemctl("start", "--no-block", ETCD)
    node.wait_for("the image", lambda: ETCD_IMAGE in images(node), timeout=60)
    node.wait_for(
        "the gate to wait", lambda: "waiting for kubelet" in node.unit(ETCD)["StatusText"], timeout=10
    )
    node.systemctl("stop", ETCD)
