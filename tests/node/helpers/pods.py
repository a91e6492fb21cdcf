"""Pods that tests put on a node, from an image that the node has; they ask the scheduler for nothing."""

import json

from tests.nodes.machine import Node

IMAGE = "docker.io/rancher/mirrored-library-busybox:1.36.1"


def manifest(
    node: Node,
    name: str,
    script: str,
    *,
    grace: int = 30,
    volumes: bool = False,
    image: str = IMAGE,
) -> dict[str, object]:
    """A pod that runs a shell script; with `volumes` it has one of each kind that is mounted on the host."""
    mounts = [{"name": "host", "mountPath": "/host"}]
    sources: list[dict[str, object]] = [
        {"name": "host", "hostPath": {"path": "/var/tmp/pods", "type": "DirectoryOrCreate"}}
    ]
    if volumes:
        mounts.append({"name": "memory", "mountPath": "/memory"})
        sources.append({"name": "memory", "emptyDir": {"medium": "Memory"}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "nodeName": node.name,
            "automountServiceAccountToken": volumes,
            "terminationGracePeriodSeconds": grace,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/sh", "-c", script],
                    "volumeMounts": mounts,
                }
            ],
            "volumes": sources,
        },
    }


def node_port(name: str, port: int, node_port: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": name},
            "ports": [{"port": port, "targetPort": port, "nodePort": node_port}],
        },
    }


def apply(node: Node, *objects: dict[str, object]) -> None:
    node.wait_for(
        "the default service account",
        lambda: node.kubectl("get", "serviceaccount", "default", check=False).returncode == 0,
        timeout=60,
    )
    every = {"apiVersion": "v1", "kind": "List", "items": objects}
    node.write("/root/objects.json", json.dumps(every))
    node.kubectl("apply", "-f", "/root/objects.json")


def wait_until_running(node: Node, *names: str) -> None:
    for name in names:
        node.wait_for(
            f"pod {name} to run",
            lambda name=name: (
                node.kubectl(  # type: ignore[misc]
                    "get", "pod", name, "-o", "jsonpath={.status.phase}", check=False
                ).stdout
                == "Running"
            ),
            timeout=120,
        )


def remove(node: Node, *names: str) -> None:
    """Delete pods; when it returns, nothing runs of them any more.

    A pod that is deaf to SIGTERM would live on for its whole grace, after the API has forgotten it.
    """
    node.kubectl("delete", "pod", *names, "--ignore-not-found", "--grace-period=0", "--force")

    def nothing_runs() -> bool:
        left = [str(each.pid) for each in node.containers().values() if each.pod in names and each.pid]
        if left:
            # What has ended by itself meanwhile is no error.
            node.sh(f"kill -KILL {' '.join(left)}", check=False)
        return not left

    node.wait_for(f"nothing to run of {', '.join(names)}", nothing_runs, timeout=60)
