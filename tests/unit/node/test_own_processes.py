"""Our processes are told from others by program, ancestry, container and unit."""

import json
import os
from pathlib import Path

import pytest

from rke2_units.doors import files
from rke2_units.layout import Paths
from rke2_units.machine.processes import Process
from rke2_units.node.own_processes import container_ids, ours

CONTENT = "/var/lib/rancher/rke2/data"
BIN = f"{CONTENT}/v1.36.4-rke2r1-0123456789ab/bin"
CONTAINER = "5c3e" * 16


def table(*processes: Process) -> dict[int, Process]:
    return {process.pid: process for process in processes}


def process(pid: int, parent: int, executable: str = "/bin/sh", cgroups: str = "0::/user.slice") -> Process:
    return Process(pid, parent, os.path.basename(executable), executable, cgroups)


NODE = table(
    process(1, 0, "/lib/systemd/systemd", "0::/init.scope"),
    process(10, 1, f"{BIN}/containerd", "0::/system.slice/rke2-containerd.service"),
    process(11, 1, f"{BIN}/containerd-shim-runc-v2", "0::/system.slice/rke2-containerd.service"),
    process(12, 11, "/pause", "0::/kubepods.slice/pod1"),
    process(13, 11, "/bin/nginx", "0::/kubepods.slice/pod1"),
    process(14, 13, "/bin/nginx", "0::/kubepods.slice/pod1"),
    process(15, 1, "/bin/orphan", f"0::/kubepods.slice/cri-containerd-{CONTAINER}.scope"),
    process(16, 1, "/usr/bin/python3", "1:name=systemd:/system.slice/rke2-server.service\n"),
    process(20, 1, "/usr/bin/containerd", "0::/system.slice/containerd.service"),
    process(21, 1, "/usr/bin/containerd-shim-runc-v2", "0::/system.slice/containerd.service"),
    process(22, 21, "/bin/foreign", "0::/default/foreign"),
    process(23, 1, "/usr/bin/backup", "0::/system.slice/rke2-backup.service"),
    process(24, 1, f"{CONTENT}/charts/bin.txt", "0::/user.slice"),
    process(30, 1, "/usr/sbin/sshd"),
    process(31, 30, "/bin/bash"),
    process(32, 31, "/usr/bin/python3"),
)


def test_programs_of_ours_shims_pods_orphans_and_units_are_ours_and_nothing_else() -> None:
    assert ours(NODE, CONTENT, [CONTAINER], 32) == {10, 11, 12, 13, 14, 15, 16}


def test_a_command_that_runs_inside_a_pod_of_ours_does_not_end_itself() -> None:
    found = ours({**NODE, **table(process(40, 14, "/usr/bin/python3"))}, CONTENT, [], 40)
    assert found & {40, 14, 13, 11} == set()
    assert 12 in found


@pytest.mark.parametrize(
    ("unit", "is_ours"),
    [
        ("rke2-etcd-snapshot-request@3-1234-0.service", True),
        ("rke2-etcd-snapshot-request@.service", True),
        ("rke2-etcd-snapshot-requests@3.service", False),
        ("getty@tty1.service", False),
        ("rke2-static-pod@mine.service", False),
    ],
)
def test_an_instance_of_a_sockets_unit_is_ours(unit: str, is_ours: bool) -> None:
    cgroups = f"0::/system.slice/system-{unit.partition('@')[0]}.slice/{unit}"
    found = ours({**NODE, **table(process(50, 1, "/usr/bin/python3", cgroups))}, CONTENT, [], 32)
    assert (50 in found) is is_ours


def test_what_descends_from_the_machines_own_shim_in_our_unit_is_ours() -> None:
    unit = "0::/system.slice/rke2-containerd.service"
    host = table(
        process(1, 0, "/lib/systemd/systemd"),
        process(10, 1, "/usr/bin/containerd", unit),
        process(11, 1, "/usr/bin/containerd-shim-runc-v2", unit),
        process(12, 11, "/bin/moved", "0::/elsewhere"),
        process(20, 1, "/usr/bin/containerd", "0::/system.slice/containerd.service"),
        process(21, 1, "/usr/bin/containerd-shim-runc-v2", "0::/system.slice/containerd.service"),
        process(22, 21, "/bin/foreign", "0::/default/foreign"),
        process(30, 1, "/bin/sh"),
    )
    assert ours(host, CONTENT, [], 30) == {10, 11, 12}


def test_pods_in_a_foreign_containerd_are_ours_and_its_other_containers_are_not(tmp_path: Path) -> None:
    paths = Paths(os.fspath(tmp_path / "data"))
    socket = tmp_path / "containerd/containerd.sock"
    settings = {
        "data_directory": paths.data,
        "node_name": "node1",
        "containerd_socket": os.fspath(socket),
        "content": {"image": "x", "directory": "v1", "archives": paths.images},
        "images": {"archives": paths.images},
        "static_pods": {},
        "health_checks": {},
    }
    files.write_atomic(paths.program_settings, json.dumps(settings), 0o644)
    annotations = {"5a5a": {"io.kubernetes.cri.sandbox-id": "5a5a"}, "f0f0": {}}
    for identifier, found in annotations.items():
        bundle = socket.parent / "io.containerd.runtime.v2.task/k8s.io" / identifier
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps({"annotations": found}))
    assert "5a5a" in container_ids(paths)
    assert "f0f0" not in container_ids(paths)


def test_of_another_data_directory_only_what_our_units_run_is_ours() -> None:
    assert ours(NODE, "/srv/other/data", [], 32) == {10, 11, 12, 13, 14, 16}
