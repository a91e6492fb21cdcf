"""Where charts come from on a test node: repositories over HTTP and OCI registries, open and private."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.node.helpers import applier, registries
from tests.node.helpers.registries import AUTHORITY, CERTIFICATE, HOST, KEY, PASSWORD, USER, Registry
from tests.nodes import charts
from tests.nodes.machine import Node

_FOLDER = "/srv/charts"
_PROGRAM = "/etc/registries/chart_repository.py"
# The Secrets and the ConfigMap through which HelmCharts reach what is private.
BASIC_AUTH, REGISTRY_AUTH, CA = "chart-password", "chart-registry-password", "chart-authority"


@dataclass(frozen=True)
class ChartSources:
    """Every chart of the tests in every version, as `spec.chart` and `spec.repo` name it.

    repository, registry: open to everyone, without TLS. private_repository, private_registry: TLS of a
    private CA, and a password.
    """

    repository: str
    private_repository: str
    registry: str
    private_registry: str


def serve(node: Node) -> ChartSources:
    """Serve the charts in all these ways. The node has the tests' helm."""
    node.copy_in(charts.packages(), _FOLDER)
    registries.prepare_private(node)
    node.copy_in(Path(__file__).with_name("chart_repository.py"), _PROGRAM)
    _repository(node, 5010)
    _repository(node, 5011, CERTIFICATE, KEY, f"{USER}:{PASSWORD}")
    # URLs in the index would belong to one of the two: without any they are relative.
    applier.run_helm(node, "repo", "index", _FOLDER)
    plain = registries.run(node, 5012, empty=True)
    private = registries.run(node, 5013, tls=True, clients=False, authenticated=True, empty=True)
    for package in sorted(charts.packages().glob("*.tgz")):
        file = f"{_FOLDER}/{package.name}"
        applier.run_helm(node, "push", file, f"oci://{plain.address}/charts", "--plain-http")
        login = ("--username", USER, "--password", PASSWORD, "--ca-file", AUTHORITY)
        applier.run_helm(node, "push", file, f"oci://{private.address}/charts", *login)
    return ChartSources(
        "http://127.0.0.1:5010",
        f"https://{HOST}:5011",
        f"oci://{plain.address}/charts",
        f"oci://{private.address}/charts",
    )


def secrets(node: Node) -> list[applier.Object]:
    """What a HelmChart refers to for what is private."""
    authority = {"ca.crt": node.read(AUTHORITY)}
    login = {f"{HOST}:5013": {"username": USER, "password": PASSWORD}}
    return [
        _secret(BASIC_AUTH, "kubernetes.io/basic-auth", {"username": USER, "password": PASSWORD}),
        _secret(
            REGISTRY_AUTH,
            "kubernetes.io/dockerconfigjson",
            {".dockerconfigjson": json.dumps({"auths": login})},
        ),
        applier.config_map(CA, "kube-system", **authority),
    ]


def _secret(name: str, kind: str, data: dict[str, str]) -> applier.Object:
    metadata = {"name": name, "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "stringData": data}


def _repository(node: Node, port: int, *private: str) -> None:
    host = HOST if private else "127.0.0.1"
    served = Registry(node, f"charts-{port}.service", f"{host}:{port}")
    words = ("/usr/bin/python3", _PROGRAM, str(port), _FOLDER, *private)
    registries.have_unit(served, shlex.join(words))
