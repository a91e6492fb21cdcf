import json
import os
import shutil
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.layout import CONTAINERD_SOCKET
from rke2_units.lean.containers import Containers, ctr, named
from rke2_units.unit_names import CONTAINERD_UNIT
from tests.unit.fake_pods import add_ctr, add_pod
from tests.unit.program_values import make_settings


def test_the_running_containers_of_a_component_know_their_pods_uid(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    add_pod(settings, "etcd", "new")
    add_pod(settings, "etcd", "old")
    add_pod(settings, "kube-apiserver", "other")
    tasks = Containers(settings).tasks("etcd")
    assert [(task.is_sandbox, task.uid) for task in tasks[:2]] == [(True, "new"), (True, "old")]
    assert {(task.is_sandbox, task.uid) for task in tasks[2:]} == {(False, "new"), (False, "old")}


def test_a_pod_of_the_same_name_elsewhere_is_not_ours(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    add_pod(settings, "etcd", "x", namespace="default")
    assert Containers(settings).tasks("etcd") == []


def test_there_is_nothing_before_containerd_has_run(tmp_path: Path) -> None:
    assert Containers(make_settings(tmp_path)).tasks("etcd") == []


def test_a_bundle_that_is_being_made_or_removed_is_passed_over(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    (Path(settings.bundles) / "empty").mkdir(parents=True)
    (Path(settings.bundles) / "half").mkdir()
    (Path(settings.bundles) / "half/config.json").write_text('{"annotations": {')
    containers = Containers(settings)
    assert containers.tasks("etcd") == []
    add_pod(settings, "etcd", "x")
    shutil.copy(
        Path(settings.bundles) / "sandbox-etcd-x/config.json", Path(settings.bundles) / "half/config.json"
    )
    assert len(containers.tasks("etcd")) == 3


def test_containers_get_sigterm_and_then_the_sandbox_goes(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    add_pod(settings, "etcd", "x")
    calls = add_ctr(settings)
    containers = Containers(settings)
    containers.stop(containers.tasks("etcd"))
    assert calls() == [
        "tasks kill --signal SIGTERM container-etcd-x",
        "tasks kill --signal SIGKILL sandbox-etcd-x",
    ]
    assert containers.tasks("etcd") == []


def test_a_container_that_ignores_sigterm_is_killed_after_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path)
    add_pod(settings, "etcd", "x")
    calls = add_ctr(settings, ignored="SIGTERM")
    monkeypatch.setattr("rke2_units.lean.containers._GRACE", 0.2)
    containers = Containers(settings)
    containers.stop(containers.tasks("etcd"))
    assert [call.split()[3] for call in calls()] == ["SIGTERM", "SIGKILL", "SIGKILL"]


def test_containers_that_outlive_sigkill_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path)
    add_pod(settings, "etcd", "x")
    add_ctr(settings, ignored="SIG*")
    monkeypatch.setattr("rke2_units.lean.containers._GRACE", 0.0)
    monkeypatch.setattr("rke2_units.lean.containers._DELETION", 0.2)
    containers = Containers(settings)
    with pytest.raises(UserError, match="containers of etcd-node1 still run after SIGKILL: sandbox-etcd-"):
        containers.stop(containers.tasks("etcd"))


def test_a_containerd_that_is_down_is_said(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    add_pod(settings, "etcd", "x")
    ctr = tmp_path / "bin/ctr"
    ctr.parent.mkdir()
    ctr.write_text("#!/bin/sh\necho 'ctr: failed to dial' >&2\nexit 1\n")
    ctr.chmod(0o755)
    containers = Containers(settings)
    with pytest.raises(UserError, match="ctr: failed to dial.*is the containerd behind /.* running"):
        containers.stop(containers.tasks("etcd"))


def test_annotations_of_another_shape_are_survived(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    bundle = Path(settings.bundles) / "x"
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(json.dumps({"annotations": None}))
    assert Containers(settings).tasks("etcd") == []


def test_containerd_is_named_as_its_administrator_knows_it(tmp_path: Path) -> None:
    assert named(make_settings(tmp_path, containerd_socket=CONTAINERD_SOCKET)) == CONTAINERD_UNIT
    foreign = make_settings(tmp_path, containerd_socket="/run/containerd/containerd.sock")
    assert named(foreign) == "the containerd behind /run/containerd/containerd.sock"


@pytest.mark.parametrize(
    ("place", "hint"), [("bin/ctr", "rke2-content.service"), ("../ctr", "apt install containerd")]
)
def test_a_missing_ctr_is_said_to_come_from_where_it_belongs(tmp_path: Path, place: str, hint: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    settings = make_settings(data, ctr=os.path.normpath(data / place))
    with pytest.raises(UserError) as error:
        ctr(settings, "version", timeout=5)
    assert hint in str(error.value.hint)
