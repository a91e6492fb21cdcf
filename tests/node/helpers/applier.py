"""What the tests do with manifests and charts on a node, in the words of their users."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.nodes import helm
from tests.nodes.machine import Node

APPLIER = "rke2-helm-applier.service"
DATA = "/var/lib/rancher/rke2"
MANIFESTS = f"{DATA}/server/manifests"
MANAGER = "rke2-helm-applier"
# The tests' own, to see what there is of releases.
_HELM = "/root/helm"

Object = dict[str, Any]


def config_map(name: str, namespace: str = "default", **data: str) -> Object:
    """The smallest thing that a manifest can bring."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def definition(kind: str, group: str = "tests.example") -> Object:
    """A CustomResourceDefinition of a kind whose objects may have any fields."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [version],
        },
    }


def custom(kind: str, name: str, group: str = "tests.example", **spec: object) -> Object:
    """An object of such a kind."""
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "spec": spec}


def chart(name: str, namespace: str = "kube-system", **spec: object) -> Object:
    """A HelmChart."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": metadata, "spec": spec}


def chart_config(name: str, **spec: object) -> Object:
    """A HelmChartConfig."""
    return {**chart(name, "kube-system", **spec), "kind": "HelmChartConfig"}


def text_of(*documents: Object | str) -> str:
    """The documents as one manifest; JSON is YAML."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in documents]
    return "\n---\n".join(texts) + "\n"


def place(node: Node, name: str, *documents: Object | str) -> None:
    """Write a manifest, from one moment to the next."""
    node.write(f"{MANIFESTS}/{name}", text_of(*documents))


def addon(node: Node, file: str) -> Object | None:
    """The Addon that records what was applied of a manifest."""
    return find(node, "addons.k3s.cattle.io", file.rpartition("/")[2].split(".")[0], "kube-system")


def wait_until_applied(node: Node, name: str, timeout: float = 30) -> Object:
    """Wait until all of a manifest has been applied; its Addon."""
    checksum = hashlib.sha256(node.read(f"{MANIFESTS}/{name}").encode()).hexdigest()

    def applied() -> Object | None:
        found = addon(node, name)
        return found if found is not None and found["spec"].get("checksum") == checksum else None

    found = node.wait_for(f"{name} to be applied", applied, timeout=timeout)
    assert isinstance(found, dict)
    return found


@contextmanager
def placed(node: Node, name: str, *documents: Object | str, timeout: float = 30) -> Iterator[None]:
    """A manifest that is there and applied; in the end it and its objects are gone."""
    place(node, name, *documents)
    wait_until_applied(node, name, timeout)
    try:
        yield
    finally:
        remove(node, name, timeout)


def remove(node: Node, name: str, timeout: float = 30) -> None:
    """Remove a manifest with all that it brought: emptied, it asks for nothing."""
    place(node, name, "# nothing")
    found = wait_until_applied(node, name, timeout)
    node.sh(f"rm -f {MANIFESTS}/{name}")
    node.kubectl("-n", "kube-system", "delete", "addons.k3s.cattle.io", found["metadata"]["name"])


def find(node: Node, resource: str, name: str, namespace: str = "default") -> Object | None:
    """One object, or None when there is none."""
    done = node.kubectl("-n", namespace, "get", resource, name, "-o", "json", "--ignore-not-found")
    return json.loads(done.stdout) if done.stdout else None


def every(node: Node, resource: str, *options: str) -> list[Object]:
    """All objects that `kubectl get` with these options finds."""
    items: list[Object] = json.loads(node.kubectl("get", resource, *options, "-o", "json").stdout)["items"]
    return items


def uid(node: Node, resource: str, name: str, namespace: str = "default") -> str:
    """What tells an object from one of the same name that was made later."""
    found = find(node, resource, name, namespace)
    assert found is not None, f"there is no {resource} {name}"
    return str(found["metadata"]["uid"])


def wait_for_object(
    node: Node,
    resource: str,
    name: str,
    namespace: str = "default",
    *,
    holds: Callable[[Object], object] = lambda found: True,
    timeout: float = 30,
) -> Object:
    """Wait until there is an object, and something holds of it."""

    def there() -> Object | None:
        found = find(node, resource, name, namespace)
        return found if found is not None and holds(found) else None

    found = node.wait_for(f"{resource} {name}", there, timeout=timeout)
    assert isinstance(found, dict)
    return found


def wait_until_gone(
    node: Node, resource: str, name: str, namespace: str = "default", timeout: float = 30
) -> None:
    """Wait until there is no such object."""
    node.wait_for(
        f"{resource} {name} to go", lambda: find(node, resource, name, namespace) is None, timeout=timeout
    )


def wait_for_journal(node: Node, since: str, *words: str, timeout: float = 30) -> str:
    """Wait until one line of the applier's journal has all words; the line."""

    def line() -> str:
        lines = node.journal(APPLIER, since=since).splitlines()
        return next((each for each in lines if all(word in each for word in words)), "")

    return str(node.wait_for(f"the journal to say {words}", line, timeout=timeout))


def pss(node: Node) -> int:
    """The applier's memory in KiB, as far as it is its own."""
    rollup = node.read(f"/proc/{node.main_pid(APPLIER)}/smaps_rollup")
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def cpu_time(node: Node) -> float:
    """Seconds of CPU that the applier's process has used, with those of its helms that have ended."""
    fields = node.read(f"/proc/{node.main_pid(APPLIER)}/stat").rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / 100


def bring_helm(node: Node) -> None:
    """Give the tests a helm on the node that is not the applier's."""
    node.copy_in(helm.program(), _HELM)


def run_helm(node: Node, *arguments: str) -> str:
    """What the tests' helm says, as the administrator of the cluster."""
    environment = {"KUBECONFIG": "/etc/rancher/rke2/rke2.yaml"}
    return node.run(_HELM, *arguments, env=environment).stdout


def release(node: Node, name: str, namespace: str = "kube-system") -> Object | None:
    """A release as helm knows it: name, revision, status, chart, ...; None when there is none."""
    words = ("list", "--namespace", namespace, "--filter", f"^{name}$", "--output", "json")
    found: list[Object] = json.loads(run_helm(node, *words))
    return found[0] if found else None


def wait_for_release(
    node: Node,
    name: str,
    namespace: str = "kube-system",
    *,
    holds: Callable[[Object], object] = lambda found: found["status"] == "deployed",
    timeout: float = 90,
) -> Object:
    """Wait until a release is there, and deployed, or as `holds` says."""

    def there() -> Object | None:
        found = release(node, name, namespace)
        return found if found is not None and holds(found) else None

    found = node.wait_for(f"release {name}", there, timeout=timeout)
    assert isinstance(found, dict)
    return found


def values(node: Node, name: str, namespace: str = "kube-system") -> Object:
    """The values that a release of the tests' charts was given."""
    found = find(node, "configmap", f"{name}-values", namespace)
    assert found is not None, f"release {name} shows no values"
    shown: Object = json.loads(found["data"]["values"])
    return shown


def condition(node: Node, name: str, kind: str, namespace: str = "kube-system") -> Object:
    """A condition of a HelmChart; empty when it has none of this kind."""
    found = find(node, "helmcharts.helm.cattle.io", name, namespace)
    assert found is not None, f"there is no HelmChart {name}"
    conditions: list[Object] = found.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})


def wait_until_failed(node: Node, name: str, *words: str, timeout: float = 90) -> Object:
    """Wait until a HelmChart's own status says that it failed, with these words."""

    def failed() -> Object | None:
        found = condition(node, name, "Failed")
        said = found.get("status") == "True" and all(word in found.get("message", "") for word in words)
        return found if said else None

    found = node.wait_for(f"{name} to have failed with {words}", failed, timeout=timeout)
    assert isinstance(found, dict)
    return found
