import json
import os
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean import chart_staging
from rke2_units.programs import charts
from tests.unit.kubernetes_api import Reply, refused, served

CHART = """\
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata:
  annotations: {rke2.cattle.io/inject-cluster-config: "true"}
  name: a
spec:
  bootstrap: true
"""
NAMES = (
    "rke2-canal",
    "rke2-calico",
    "rke2-calico-crd",
    "rke2-coredns",
    "rke2-ingress-nginx",
    "rke2-traefik",
)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    (tmp_path / "charts").mkdir()
    for name in (*NAMES, "rke2-traefik-crd"):
        (tmp_path / f"charts/{name}.yaml").write_text(CHART)
    (tmp_path / "manifests").mkdir()
    return tmp_path / "manifests"


def settings(root: Path, **changes: object) -> chart_staging.Staging:
    staging: dict[str, object] = {
        "charts": str(root / "charts"),
        "values": {"global.clusterDNS": "10.43.0.10"},
        "network": ["rke2-canal"],
        "ingress": ["traefik"],
        "default_ingress": "traefik",
    }
    values: dict[str, object] = {
        "manifests": str(root / "manifests"),
        "disabled": ["rke2-calico", "rke2-calico-crd"],
        "kubernetes": {"url": "https://127.0.0.1:1", "authority": "", "certificate": "", "key": ""},
    }
    for name, value in changes.items():
        (staging if name in staging else values)[name] = value
    (root / "applier.json").write_text(json.dumps(values | {"staging": staging}))
    return chart_staging.read(str(root / "applier.json"))


def stage(root: Path, **changes: object) -> None:
    charts.program(settings(root, **changes), [])


def set_of(path: Path) -> object:
    return yaml.safe_load(path.read_text())["spec"]["set"]


def test_selected_charts_get_the_clusters_values_and_disabled_ones_are_left_out(
    tmp_path: Path, manifests: Path
) -> None:
    stage(tmp_path)
    assert sorted(path.name for path in manifests.iterdir()) == [
        "rke2-canal.yaml",
        "rke2-coredns.yaml",
        "rke2-ingress-nginx.yaml",
        "rke2-traefik-crd.yaml",
        "rke2-traefik.yaml",
    ]
    values = {"global.clusterDNS": "10.43.0.10", "global.systemDefaultIngressClass": "traefik"}
    assert set_of(manifests / "rke2-canal.yaml") == set_of(manifests / "rke2-traefik-crd.yaml") == values
    assert (manifests / "rke2-canal.yaml").stat().st_mode & 0o777 == 0o600


def test_an_ingress_controller_that_is_not_wanted_becomes_a_comment(tmp_path: Path, manifests: Path) -> None:
    stage(tmp_path, ingress=["ingress-nginx"])
    for name in ("rke2-traefik.yaml", "rke2-traefik-crd.yaml"):
        assert yaml.safe_load((manifests / name).read_text()) is None
    stage(tmp_path, ingress=["none"])
    assert yaml.safe_load((manifests / "rke2-ingress-nginx.yaml").read_text()) is None
    assert "none" in str(set_of(manifests / "rke2-canal.yaml"))


def test_charts_of_the_users_own_get_the_values_and_other_manifests_stay(
    tmp_path: Path, manifests: Path
) -> None:
    (manifests / "mine").mkdir()
    (manifests / "mine/chart.yml").write_text(f"# mine\n{CHART}")
    (manifests / "mine/plain.yaml").write_text("a: [\n")
    (manifests / "mine/broken.yaml").write_text(f"{CHART}  set: [\n")
    stage(tmp_path)
    assert "global.clusterDNS" in str(set_of(manifests / "mine/chart.yml"))
    assert (manifests / "mine/chart.yml").read_text().startswith("# mine\n")
    assert (manifests / "mine/plain.yaml").read_text() == "a: [\n"
    assert (manifests / "mine/broken.yaml").read_text() == f"{CHART}  set: [\n"


def test_a_chart_with_byte_order_marks_gets_the_values(tmp_path: Path, manifests: Path) -> None:
    for name, text in (
        ("one", f"\ufeff{CHART}"),
        ("two", f"a: b\n---\n\ufeff{CHART}"),
        ("three", f"# a\n\ufeff{CHART}"),
    ):
        (manifests / f"{name}.yaml").write_text(text)
    (manifests / "other.yaml").write_text("\ufeffa: b\n")
    stage(tmp_path)
    for name in ("one", "two", "three"):
        (found,) = [
            each for each in yaml.safe_load_all((manifests / f"{name}.yaml").read_text()) if "spec" in each
        ]
        assert found["spec"]["set"]["global.clusterDNS"] == "10.43.0.10"
    assert (manifests / "other.yaml").read_text() == "\ufeffa: b\n"


def test_only_what_differs_is_written(tmp_path: Path, manifests: Path) -> None:
    stage(tmp_path)
    before = {path: path.stat() for path in manifests.iterdir()}
    stage(tmp_path)
    assert {path: path.stat() for path in manifests.iterdir()} == before
    stage(tmp_path, values={"global.clusterDNS": "10.43.0.53"})
    changed = {path.name for path, stat in before.items() if path.stat().st_ino != stat.st_ino}
    assert changed == {path.name for path in before} - {"rke2-ingress-nginx.yaml"}


def test_without_content_the_users_own_charts_get_the_values(tmp_path: Path, manifests: Path) -> None:
    (manifests / "mine.yaml").write_text(CHART)
    stage(tmp_path, charts="")
    assert [path.name for path in manifests.iterdir()] == ["mine.yaml"]
    assert "global.clusterDNS" in str(set_of(manifests / "mine.yaml"))


@pytest.mark.parametrize(
    ("path", "disabled"),
    [
        ("rke2-coredns.yaml", True),
        ("folder/rke2-coredns.yml", True),
        ("rke2-coredns/a.yaml", True),
        ("rke2-coredns-crd.yaml", False),
        ("a.yaml", False),
        ("whole.yaml", True),
    ],
)
def test_disable_names_a_file_or_a_folder(path: str, disabled: bool) -> None:
    assert charts.is_disabled(path, ("rke2-coredns", "whole.yaml")) is disabled


def test_an_ingress_controller_that_is_installed_stays_the_default(tmp_path: Path, manifests: Path) -> None:
    pem = tmp_path / "own.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=a", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "-", "-out", "-"]
    pem.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    installed: dict[str, object] = {"spec": {"set": {"global.systemDefaultIngressClass": "ingress-nginx"}}}
    with served(context) as apiserver:
        identity = {name: str(pem) for name in ("authority", "certificate", "key")}
        kubernetes = {"url": f"https://127.0.0.1:{apiserver.port}", **identity}
        apiserver.answer = lambda request: (
            Reply(body=installed) if request.path.endswith("/rke2-traefik") else refused(404, "NotFound")
        )
        stage(tmp_path, ingress=[], kubernetes=kubernetes)
        assert "bootstrap" in (manifests / "rke2-ingress-nginx.yaml").read_text()
        assert "bootstrap" not in (manifests / "rke2-traefik.yaml").read_text()
        installed["spec"] = {}
        stage(tmp_path, ingress=[], kubernetes=kubernetes)
        assert "bootstrap" not in (manifests / "rke2-ingress-nginx.yaml").read_text()
        assert "bootstrap" in (manifests / "rke2-traefik.yaml").read_text()
        apiserver.answer = lambda request: refused(403, "Forbidden")
        with pytest.raises(UserError, match="HTTP 403"):
            stage(tmp_path, ingress=[], kubernetes=kubernetes)


def test_an_apiserver_that_does_not_answer_is_an_error_with_a_way_around(
    tmp_path: Path, manifests: Path
) -> None:
    with pytest.raises(
        UserError, match="cannot find out .*: 127.0.0.1:1: .*ingress-controller in config.yaml"
    ):
        stage(tmp_path, ingress=[])


def test_settings_that_are_none_say_who_writes_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'charts' is not a text.*rke2-server"):
        settings(tmp_path, charts=1)


def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, manifests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(tmp_path)
    before = (manifests / "rke2-canal.yaml").read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        stage(tmp_path, values={"global.clusterDNS": "10.43.0.53"})
    assert (manifests / "rke2-canal.yaml").read_text() == before
    assert not [path for path in manifests.iterdir() if path.name.startswith(".")]


def test_a_file_that_may_not_be_read_keeps_no_other_chart_away(
    tmp_path: Path,
    manifests: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (manifests / "own.yaml").write_text(CHART)
    (manifests / "round.yaml").symlink_to("round.yaml")
    content = charts._content

    def not_for_us(path: str) -> bytes:
        if path.endswith("own.yaml"):
            raise PermissionError(13, "Permission denied", path)
        return content(path)

    monkeypatch.setattr(charts, "_content", not_for_us)
    stage(tmp_path)
    assert set_of(manifests / "rke2-canal.yaml") == {
        "global.clusterDNS": "10.43.0.10",
        "global.systemDefaultIngressClass": "traefik",
    }
    said = "".join(capsys.readouterr())
    assert f"own.yaml is not changed: Permission denied (chown root:root {manifests}/own.yaml)" in said


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        (
            {"network": ["rke2-multus", "rke2-canal"]},
            "the runtime image has no chart rke2-multus, which cni",
        ),
        ({"network": ["rke2-multus"], "charts": ""}, ""),
        ({"network": ["rke2-flannel"]}, ""),
    ],
)
def test_a_network_plugin_without_a_chart_is_warned_of(
    manifests: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], told: str
) -> None:
    (manifests / "rke2-flannel.yaml").write_text("# the user's own\n")
    found = chart_staging.lacking_network(settings(manifests.parent, **changes))
    assert found.startswith(told) if told else found == ""
    stage(manifests.parent, **changes)
    printed = "".join(capsys.readouterr())
    assert (told in printed) if told else ("has no chart" not in printed)
