"""What takes the network away from pods is found where it runs, and nowhere else."""

import os
from pathlib import Path

import pytest

from rke2_units.doors.run import Completed
from rke2_units.node import conflicts
from rke2_units.node.checks import CHECKS, Severity

RKE2S_ADVICE = (
    "[keyfile]\nunmanaged-devices=interface-name:flannel*;interface-name:cali*;interface-name:cni*;{}"
)
ALL = RKE2S_ADVICE.format("interface-name:vxlan.calico\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which NetworkManager's and ufw's files are looked for."""
    for name in ("_NETWORK_MANAGER_FILE", "_UFW_CONFIGURATION"):
        monkeypatch.setattr(conflicts, name, f"{tmp_path}{getattr(conflicts, name)}")
    folders = tuple(f"{tmp_path}{folder}" for folder in conflicts._NETWORK_MANAGER_FOLDERS)
    monkeypatch.setattr(conflicts, "_NETWORK_MANAGER_FOLDERS", folders)
    return tmp_path


def place(machine: Path, path: str, text: str) -> None:
    file = machine / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def systemd_says(monkeypatch: pytest.MonkeyPatch, answers: dict[tuple[str, str], str]) -> None:
    def run(command: list[str], check: bool) -> Completed:
        answer = answers.get((command[1], command[2]), "inactive")
        return Completed(0 if answer in ("active", "enabled") else 3, f"{answer}\n", "")

    monkeypatch.setattr(conflicts, "run", run)
    monkeypatch.setattr(os.path, "isdir", lambda path: True)


def test_each_is_a_warning_that_says_what_to_do() -> None:
    found = {check.name: check for check in CHECKS}
    for name in ("firewall", "network-manager", "nm-cloud-setup"):
        assert found[name].severity is Severity.WARNING and found[name].advice


@pytest.mark.parametrize(
    ("state", "ufw", "found"),
    [
        ("inactive", None, []),
        ("active", None, ["firewalld is active"]),
        ("inactive", "ENABLED=no\n", []),
        ("inactive", "# ENABLED=yes\nENABLED=no", []),
        ("inactive", "ENABLED=yes\n", ["ufw is enabled"]),
        ("active", "ENABLED=yes\n", ["firewalld is active", "ufw is enabled"]),
    ],
)
def test_firewalls_are_found(
    machine: Path, monkeypatch: pytest.MonkeyPatch, state: str, ufw: str | None, found: list[str]
) -> None:
    systemd_says(monkeypatch, {("is-active", "firewalld.service"): state})
    if ufw is not None:
        place(machine, "/etc/ufw/ufw.conf", ufw)
    assert list(conflicts.firewalls()) == found


@pytest.mark.parametrize(
    ("placed", "managed"),
    [
        ({}, "cali0123456789a, flannel.1, vxlan.calico, cni0"),
        ({"/etc/NetworkManager/conf.d/rke2-canal.conf": ALL}, ""),
        ({"/etc/NetworkManager/NetworkManager.conf": ALL}, ""),
        ({"/etc/NetworkManager/conf.d/rke2-canal.conf": RKE2S_ADVICE.format("")}, "vxlan.calico"),
        ({"/etc/NetworkManager/conf.d/a.conf": "[keyfile]\nunmanaged-devices=*,except:type:ethernet"}, ""),
        # The last one counts, unless it adds.
        (
            {
                "/etc/NetworkManager/conf.d/a.conf": ALL,
                "/etc/NetworkManager/conf.d/b.conf": "[keyfile]\nunmanaged-devices=interface-name:~cali*",
            },
            "flannel.1, vxlan.calico, cni0",
        ),
        (
            {
                "/etc/NetworkManager/conf.d/a.conf": ALL,
                "/etc/NetworkManager/conf.d/b.conf": "[keyfile]\nunmanaged-devices+=mac:00:22:68:1c:59:b1",
            },
            "",
        ),
        # One of /etc takes the place of its namesake.
        (
            {
                "/etc/NetworkManager/conf.d/a.conf": "[keyfile]\n",
                "/usr/lib/NetworkManager/conf.d/a.conf": ALL,
            },
            "cali0123456789a, flannel.1, vxlan.calico, cni0",
        ),
        ({"/usr/lib/NetworkManager/conf.d/a.conf": ALL}, ""),
        ({"/etc/NetworkManager/conf.d/a.conf.bak": ALL}, "cali0123456789a, flannel.1, vxlan.calico, cni0"),
    ],
)
def test_network_manager_has_to_leave_the_interfaces_of_pods(
    machine: Path, monkeypatch: pytest.MonkeyPatch, placed: dict[str, str], managed: str
) -> None:
    for path, text in placed.items():
        place(machine, path, text)
    systemd_says(monkeypatch, {})
    assert list(conflicts.network_manager()) == []
    systemd_says(monkeypatch, {("is-active", "NetworkManager.service"): "active"})
    said = [f"NetworkManager is active, and manages interfaces such as {managed}"] if managed else []
    assert list(conflicts.network_manager()) == said


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ({}, []),
        ({("is-active", "nm-cloud-setup.timer"): "active"}, ["nm-cloud-setup.timer is in use"]),
        ({("is-enabled", "nm-cloud-setup.service"): "enabled"}, ["nm-cloud-setup.service is in use"]),
        ({("is-enabled", "nm-cloud-setup.service"): "disabled"}, []),
    ],
)
def test_cloud_setup_is_found_before_the_next_boot(
    monkeypatch: pytest.MonkeyPatch, answers: dict[tuple[str, str], str], found: list[str]
) -> None:
    systemd_says(monkeypatch, answers)
    assert list(conflicts.cloud_setup()) == found
