"""What the kubelet would refuse is named before anything is installed or started."""

import os
import re
from pathlib import Path

import pytest

from rke2_units.errors import ConfigurationError, ExitCode
from rke2_units.machine import kernel_parameters
from rke2_units.machine.kernel_parameters import WANTED
from rke2_units.node.checks import CHECKS, Severity
from rke2_units.unit_names import Role
from tests.unit.configs import make_config

REPOSITORY = Path(__file__).parents[3]
# What a plain Debian has.
PLAIN = {**WANTED, "vm.overcommit_memory": 0, "kernel.panic": 0, "kernel.panic_on_oops": 0}
CIS = {"profile": "cis"}
ALONE = {"protect-kernel-defaults": True}


def machine(root: Path, values: dict[str, int]) -> str:
    for name, value in values.items():
        file = root / "proc/sys" / name.replace(".", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return os.fspath(root)


@pytest.mark.parametrize(
    ("values", "on_the_machine", "named"),
    [
        ({}, PLAIN, []),
        ({"profile": "etcd"}, PLAIN, []),
        ({"protect-kernel-defaults": False}, PLAIN, []),
        (CIS, WANTED, []),
        (ALONE, WANTED, []),
        (CIS, PLAIN, ["vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops"]),
        (ALONE, {**WANTED, "vm.panic_on_oom": 1}, ["vm.panic_on_oom"]),
        # Larger is not what the kubelet asks for either.
        (CIS, {**WANTED, "kernel.keys.root_maxkeys": 2000000}, ["kernel.keys.root_maxkeys"]),
        (CIS, {}, list(WANTED)),
    ],
)
def test_all_that_is_wrong_is_named_with_what_it_has_to_be(
    tmp_path: Path, values: dict[str, object], on_the_machine: dict[str, int], named: list[str]
) -> None:
    for role in Role:
        found = kernel_parameters.wrong(make_config(role, values), machine(tmp_path, on_the_machine))
        assert [line.split()[0] for line in found] == named
        for name, line in zip(named, found, strict=True):
            assert line.endswith(f"has to be {WANTED[name]}")
            assert "with profile (" in line or "with protect-kernel-defaults (" in line


def test_a_start_is_refused_with_all_of_them_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_parameters, "_value", lambda name, root: "7")
    kernel_parameters.refuse_wrong(make_config(Role.SERVER, {}))
    with pytest.raises(ConfigurationError) as raised:
        kernel_parameters.refuse_wrong(make_config(Role.AGENT, CIS))
    assert raised.value.exit_code == ExitCode.CONFIGURATION
    assert all(f"{name} is 7" in str(raised.value) for name in WANTED)
    assert "60-rke2-cis.conf" in str(raised.value) and "\n" not in str(raised.value)


def test_an_install_is_refused() -> None:
    [check] = [check for check in CHECKS if check.name == "kernel-parameters"]
    assert (check.severity, check.in_container) == (Severity.ERROR, None)
    assert check.advice == kernel_parameters.ADVICE


def test_the_packages_file_says_the_same() -> None:
    name = os.path.basename(kernel_parameters.SYSCTL_FILE)
    text = (REPOSITORY / "debian" / name).read_text()
    assert dict(re.findall(r"^([\w.]+) = (\d+)$", text, re.MULTILINE)) == {
        parameter: str(value) for parameter, value in WANTED.items()
    }
    shipped = (REPOSITORY / "debian/rke2-units.install").read_text().splitlines()
    assert f"debian/{name} {os.path.dirname(kernel_parameters.SYSCTL_FILE).lstrip('/')}" in shipped
