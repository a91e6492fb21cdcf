"""Bundles and logs of pods on disk, as containerd and the kubelet leave them, and a stand-in for ctr."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

from rke2_units.lean.settings import Settings

PREFIX = "io.kubernetes.cri."


def add_pod(settings: Settings, component: str, uid: str, namespace: str = "kube-system") -> None:
    """A running pod with a sandbox and one container."""
    name = f"{component}-{settings.node_name}"
    common = {
        f"{PREFIX}sandbox-id": f"sandbox-{component}-{uid}",
        f"{PREFIX}sandbox-name": name,
        f"{PREFIX}sandbox-namespace": namespace,
    }
    sandbox = {
        f"{PREFIX}container-type": "sandbox",
        f"{PREFIX}sandbox-log-directory": f"/var/log/pods/{namespace}_{name}_{uid}",
    }
    container = {f"{PREFIX}container-type": "container", f"{PREFIX}container-name": component}
    for identifier, own in (("sandbox", sandbox), ("container", container)):
        bundle = Path(settings.bundles) / f"{identifier}-{component}-{uid}"
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps({"annotations": common | own}))


def add_log(root: Path, component: str, uid: str, number: int, text: str = "") -> None:
    directory = root / f"kube-system_{component}-node1_{uid}/{component}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{number}.log").write_text(f"2026-01-01T00:00:00Z stderr F {text}\n" if text else "")


def add_ctr(settings: Settings, ignored: str = "none") -> Callable[[], list[str]]:
    """A ctr that ends tasks by removing their bundle, as containerd would; the calls it has had."""
    ctr = Path(settings.data_directory) / "bin/ctr"
    ctr.parent.mkdir(exist_ok=True)
    log = ctr.with_name("calls")
    # --address SOCKET --namespace NAMESPACE tasks kill --signal SIGNAL ID
    ctr.write_text(
        f"""#!/bin/sh
shift 4
echo "$*" >> {log}
case "$4" in {ignored}) ;; *) rm -r {settings.bundles}/$5 ;; esac
"""
    )
    ctr.chmod(ctr.stat().st_mode | stat.S_IXUSR)
    return lambda: log.read_text().splitlines() if log.exists() else []
