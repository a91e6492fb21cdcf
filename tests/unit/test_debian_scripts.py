"""The package's scripts, run in a folder that stands for the machine."""

import os
import subprocess
from pathlib import Path

import pytest

PRERM = Path(__file__).parents[2] / "debian/rke2-units.prerm"


@pytest.mark.parametrize(
    ("installed", "state", "container", "refused"),
    [
        (True, "active", False, "rke2-server.service"),
        (True, "inactive", True, "containers of this node"),
        (True, "inactive", False, ""),
        # RKE2's own unit has the same name: killall would refuse to end it, and its node stays as it is.
        (False, "active", False, ""),
        (False, "active", True, ""),
    ],
)
def test_the_package_is_kept_where_a_node_of_ours_runs_and_only_there(
    installed: bool, state: str, container: bool, refused: str, tmp_path: Path
) -> None:
    for folder in ("bin", "run/systemd/system", "var/lib/rke2-units"):
        (tmp_path / folder).mkdir(parents=True)
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(f"#!/bin/sh\necho {state}\n")
    systemctl.chmod(0o755)
    if installed:
        (tmp_path / "var/lib/rke2-units/installation.json").write_text("{}")
    if container:
        (tmp_path / "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/x").mkdir(parents=True)
    script = PRERM.read_text().replace(" /var/", f" {tmp_path}/var/").replace(" /run/", f" {tmp_path}/run/")
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "DPKG_ROOT": ""}
    done = subprocess.run(
        ["sh", "-s", "remove"], input=script, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) is bool(refused)
    assert refused in done.stderr
