"""The charts of the tests (tests/charts), packaged by helm; and a runtime image that ships some of them."""

import base64
import json
import tempfile
from pathlib import Path

from tests.nodes import helm, image_archive
from tests.nodes.cache import cached, progress, recipe_hash
from tests.nodes.content import Content
from tests.nodes.debian import command
from tests.nodes.image_archive import Copy, Image, Text, write_archive

SOURCES = Path(__file__).parents[1] / "charts"
# Each chart, and the versions that it is packaged as: nothing but the number differs.
VERSIONS = {
    "web": ("1.0.0", "1.1.0"),
    "widgets": ("1.0.0",),
    "packaged": ("1.0.0",),
    "rke2-kube-proxy": ("1.20.2",),
}
# What the runtime image ships, and whether as a bootstrap chart. All but kube-proxy show their values only.
SHIPPED = {
    "rke2-canal": True,
    "rke2-cilium": True,
    "rke2-coredns": True,
    "rke2-ingress-nginx": False,
    "rke2-kube-proxy": True,
    "rke2-metrics-server": False,
}
_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "kubectl", "kubelet", "runc")


def packages() -> Path:
    """A directory with CHART-VERSION.tgz of every chart; shared, never to be written."""
    sources = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    names = [str(path.relative_to(SOURCES)) for path in sources]
    recipe = recipe_hash(Path(__file__), *names, *sources, str(helm.program()))
    return cached("charts", recipe, _package)


def package(chart: str, version: str) -> Path:
    """One chart as helm packaged it."""
    return packages() / f"{chart}-{version}.tgz"


def content_of(chart: str, version: str) -> str:
    """A chart as HelmChart objects carry it: spec.chartContent."""
    return base64.b64encode(package(chart, version).read_bytes()).decode()


def runtime_image(content: Content) -> Path:
    """An archive of the release's runtime image that ships charts, as RKE2's do."""
    sources = (Path(__file__), Path(str(image_archive.__file__)))
    recipe = recipe_hash(*sources, str(content.images.parent), str(packages()))
    name = f"runtime-with-charts-{content.suite}"
    return cached(name, recipe, lambda made: _write_runtime(made, content)) / "rke2-runtime.tar"


def _package(directory: Path) -> None:
    progress("charts: packaging the charts of the tests")
    with tempfile.TemporaryDirectory(dir=directory) as home:
        for chart, versions in VERSIONS.items():
            for version in versions:
                words = ("package", SOURCES / chart, "--version", version, "--destination", directory)
                command(helm.program(), *words, env={"HOME": home})


def _write_runtime(directory: Path, content: Content) -> None:
    progress(f"runtime-with-charts-{content.suite}: writing rke2-runtime.tar")
    tag = content.release.replace("+", "-")
    shipped = {f"charts/{name}.yaml": Text(_manifest(name, content)) for name in SHIPPED}
    programs = {f"bin/{name}": Copy(content.programs / name) for name in _PROGRAMS}
    image = Image(f"docker.io/rancher/rke2-runtime:{tag}", {**programs, **shipped})
    write_archive(image, directory / "rke2-runtime.tar")


def _manifest(name: str, content: Content) -> str:
    """A chart's manifest as RKE2 ships it."""
    own = name in VERSIONS
    chart = name if own else "packaged"
    [version] = VERSIONS[chart]
    spec: dict[str, object] = {
        "bootstrap": SHIPPED[name],
        "chartContent": content_of(chart, version),
        "failurePolicy": "retry",
        "forceConflicts": True,
        "takeOwnership": True,
    }
    if own:
        image = f"docker.io/rancher/hardened-kubernetes:{content.release.replace('+', '-')}"
        spec["valuesContent"] = json.dumps({"image": image})
    metadata = {
        "name": name,
        "namespace": "kube-system",
        "annotations": {
            "helm.cattle.io/chart-url": f"https://charts.example/{name}-{version}.tgz",
            "rke2.cattle.io/inject-cluster-config": "true",
        },
    }
    chart_object = {"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": metadata}
    return json.dumps({**chart_object, "spec": spec}, indent=2) + "\n"
