"""Every check finds what it is there for, says what to do about it, and is quiet otherwise."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rke2_units import layout, ports, unit_names
from rke2_units.doors import files
from rke2_units.doors.run import Completed
from rke2_units.machine import listening, processes
from rke2_units.machine.processes import Process
from rke2_units.node import checks, facts, own_processes
from rke2_units.node.checks import CHECKS, Check, Severity
from rke2_units.plan import static_pods
from rke2_units.plan.node import Node
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import MACHINE, RELEASE


def make_node(role: Role = Role.SERVER, **values: object) -> Node:
    given = {name.replace("_", "-"): value for name, value in values.items()}
    return Node(make_config(role, given), MACHINE, RELEASE)


SERVER = make_node()
GIB = 1024**3


def problems(name: str, node: Node = SERVER) -> list[str]:
    return [problem for check in CHECKS if check.name == name for problem in check.run(node)]


def always(value: object) -> Callable[..., object]:
    return lambda *_, **__: value


def files_say(monkeypatch: pytest.MonkeyPatch, **texts: str) -> None:
    """Has checks read these texts, by the file's name without its folder and suffix."""
    monkeypatch.setattr(files, "read_text", lambda path: texts.get(os.path.basename(path).partition(".")[0]))


def test_each_check_has_a_name_of_its_own_and_something_to_do() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.advice and "\n" not in check.advice for check in CHECKS)


def test_another_user_than_root_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert problems("root") == ["running as user 1000"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert problems("root") == []


@pytest.mark.parametrize(
    ("version", "fine"), [(None, False), (249, False), (251, False), (252, True), (257, True)]
)
def test_systemd_has_to_be_252_or_later(
    monkeypatch: pytest.MonkeyPatch, version: int | None, fine: bool
) -> None:
    monkeypatch.setattr(facts, "systemd_version", lambda: version)
    monkeypatch.setattr(os.path, "isdir", always(True))
    assert (problems("systemd") == []) is fine


def test_systemd_has_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "systemd_version", lambda: 252)
    monkeypatch.setattr(os.path, "isdir", always(False))
    assert problems("systemd") == ["systemd does not run as PID 1"]


def test_an_architecture_without_images_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    assert problems("architecture") == ["this machine is riscv64"]
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="aarch64"))
    assert problems("architecture") == []


@pytest.mark.parametrize(("state", "fine"), [("active", False), ("activating", False), ("inactive", True)])
def test_the_other_role_may_not_run(monkeypatch: pytest.MonkeyPatch, state: str, fine: bool) -> None:
    monkeypatch.setattr(os.path, "isdir", always(True))
    monkeypatch.setattr(checks, "run", always(Completed(0, f"{state}\n", "")))
    assert (problems("other-role") == []) is fine


def test_missing_cgroup_controllers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "cgroup_version", lambda: 2)
    monkeypatch.setattr(facts, "cgroup_controllers", lambda: frozenset(("cpu", "io", "pids")))
    assert problems("cgroups") == ["cgroup v2 without cpuset, memory"]
    monkeypatch.setattr(facts, "cgroup_controllers", lambda: frozenset(("cpu", "cpuset", "memory", "pids")))
    assert problems("cgroups") == []
    assert problems("cgroup-version") == []
    monkeypatch.setattr(facts, "cgroup_version", lambda: 1)
    assert len(problems("cgroup-version")) == 1


def test_modules_may_be_loaded_built_in_or_loadable(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = {"/sys/module/overlay"}
    monkeypatch.setattr(os.path, "isdir", lambda path: path in loaded)
    files_say(monkeypatch, modules="kernel/net/bridge/br_netfilter.ko\n")
    monkeypatch.setattr(checks, "find", always("/sbin/modprobe"))
    monkeypatch.setattr(
        checks, "run", lambda command, check: Completed(0 if command[-1] == "nf_conntrack" else 1, "", "")
    )
    found = problems("kernel-modules")
    assert len(found) == 1
    assert found[0].startswith("kernel module iptable_nat is not loaded and not available")


def test_the_module_for_bridges_is_asked_for_where_kube_proxy_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", always(False))
    monkeypatch.setattr(checks, "find", always(None))
    assert any("module br_netfilter " in problem for problem in problems("kernel-modules"))
    without = make_node(disable_kube_proxy=True)
    assert not any("module br_netfilter " in problem for problem in problems("kernel-modules", without))


def test_overlay_counts_when_the_kernel_has_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", always(False))
    files_say(monkeypatch, filesystems="nodev\tproc\nnodev\toverlay\n\text4\n")
    monkeypatch.setattr(checks, "find", always(None))
    assert not any("module overlay " in problem for problem in problems("kernel-modules"))


def with_listeners(
    monkeypatch: pytest.MonkeyPatch, listeners: dict[int, Process | None], ours: set[int]
) -> None:
    running = {process.pid: process for process in listeners.values() if process}
    monkeypatch.setattr(
        listening,
        "read_listening",
        lambda wanted: {port: {str(port)} for port in listeners if port in wanted},
    )
    monkeypatch.setattr(
        listening,
        "owners",
        always({str(port): process.pid for port, process in listeners.items() if process}),
    )
    monkeypatch.setattr(processes, "read_processes", lambda: running)
    monkeypatch.setattr(own_processes, "read_ours", always(ours))


def test_a_port_that_somebody_else_has_is_told_with_its_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = Process(7, 1, "etcd", "/usr/bin/etcd", "0::/system.slice/etcd.service")
    kubelet = Process(8, 1, "kubelet", "/var/lib/rancher/rke2/data/v1/bin/kubelet", "")
    with_listeners(monkeypatch, {2379: etcd, 10250: kubelet, 9345: None, 22: None}, ours={8})
    assert problems("ports") == ["port 2379 is in use by etcd (PID 7)", "port 9345 is in use"]


@pytest.mark.parametrize(
    ("state", "problem"), [("active", []), ("inactive", ["port 9345 is in use by systemd (PID 1)"])]
)
def test_the_supervisors_port_is_its_own_while_systemd_holds_it(
    monkeypatch: pytest.MonkeyPatch, state: str, problem: list[str]
) -> None:
    with_listeners(monkeypatch, {9345: Process(1, 0, "systemd", "", "0::/init.scope")}, ours=set())
    monkeypatch.setattr(checks, "run", lambda command, **_: Completed(0, f"{state}\n", ""))
    assert problems("ports") == problem


def test_an_agent_does_not_need_a_servers_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    with_listeners(monkeypatch, {ports.ETCD_CLIENT_PORT: None, ports.SUPERVISOR_PORT: None}, ours=set())
    assert problems("ports", make_node(Role.AGENT)) == []


def test_the_ports_of_an_agents_proxies_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with_listeners(monkeypatch, {port: None for port in (6442, 6443, 6444, 7000)}, ours=set())
    assert problems("ports", make_node(Role.AGENT)) == ["port 6443 is in use", "port 6444 is in use"]
    assert problems("ports", make_node(Role.AGENT, lb_server_port=7000)) == ["port 7000 is in use"]


def test_every_port_of_a_component_is_checked() -> None:
    every = {number for name, number in vars(ports).items() if name.endswith("_PORT")}
    assert checks.ports_of(SERVER) == every
    assert static_pods.PORTS.keys() == set(unit_names.STATIC_PODS)
    assert {port for pod in static_pods.PORTS.values() for port in pod.values()} <= every


def test_a_real_listener_is_found_with_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inodes = listening.read_listening([port])[port]
        assert listening.owners(inodes, [1, os.getpid()]) == {inode: os.getpid() for inode in inodes}
    assert listening.read_listening([port]) == {}


def test_the_kernels_socket_table_is_read() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
        "   1: 0100007F:192B 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n"
    )
    assert listening.listening(table) == {6443: {"4711"}}


@pytest.mark.parametrize(
    ("free", "failing"),
    [(0.5, ["disk"]), (1, ["disk-room"]), (4.9, ["disk-room"]), (5, []), (500, [])],
)
def test_little_disk_space_is_an_error_and_less_than_wanted_a_warning(
    monkeypatch: pytest.MonkeyPatch, free: float, failing: list[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free * GIB)))
    assert [name for name in ("disk", "disk-room") if problems(name)] == failing


def test_disk_space_is_that_of_the_file_system_that_will_hold_the_data(tmp_path: Path) -> None:
    node = make_node(data_dir=os.fspath(tmp_path / "not" / "yet" / "there"))
    assert isinstance(problems("disk", node), list)


@pytest.mark.parametrize(
    ("role", "memory", "failing"),
    [
        (Role.SERVER, 0.3, ["memory"]),
        (Role.SERVER, 2, ["memory-room"]),
        (Role.SERVER, 3.8, []),
        (Role.AGENT, 0.6, ["memory-room"]),
        (Role.AGENT, 1, []),
    ],
)
def test_memory_is_judged_by_role(
    monkeypatch: pytest.MonkeyPatch, role: Role, memory: float, failing: list[str]
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else int(memory * GIB))
    node = make_node(role)
    assert [name for name in ("memory", "memory-room") if problems(name, node)] == failing


def test_swap_areas_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    files_say(monkeypatch, swaps=header + "/dev/sda2 partition 1 0 -2\n/swapfile file 1 0 -3\n")
    assert problems("swap") == ["swap is on: /dev/sda2, /swapfile"]
    files_say(monkeypatch, swaps=header)
    assert problems("swap") == []


def test_missing_capabilities_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    files_say(monkeypatch, status="CapEff:\t000001fffeffefff\n")
    assert problems("capabilities") == ["CAP_NET_ADMIN is missing"]
    assert len(problems("cap-sys-resource")) == 1
    files_say(monkeypatch, status="CapEff:\t000001ffffffffff\n")
    assert problems("capabilities") == []
    assert problems("cap-sys-resource") == []


def test_a_name_in_the_hosts_file_needs_no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node1")
    files_say(monkeypatch, hosts="127.0.0.1 localhost\n127.0.1.1 node1.example node1 # node2\n")
    monkeypatch.setattr(checks, "run", always(Completed(2, "", "")))
    assert problems("name") == []
    monkeypatch.setattr(socket, "gethostname", lambda: "node2")
    assert problems("name") == ["the host name node2 does not resolve (within 5 seconds)"]


def test_missing_programs_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checks, "find", lambda program: None if program == "conntrack" else f"/bin/{program}"
    )
    assert problems("programs") == ["conntrack is missing: apt install conntrack"]


@pytest.mark.parametrize(("year", "fine"), [(1970, False), (2023, False), (2026, True)])
def test_a_clock_that_was_never_set_is_found(monkeypatch: pytest.MonkeyPatch, year: int, fine: bool) -> None:
    now = time.struct_time((year, 1, 1, 0, 0, 0, 0, 1, 0))
    monkeypatch.setattr(time, "gmtime", lambda: now)
    assert (problems("clock") == []) is fine


def test_errors_come_first_and_each_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def finds(problem: str) -> Callable[[Node], Iterator[str]]:
        return lambda node: iter([problem])

    monkeypatch.setattr(
        checks,
        "CHECKS",
        (
            Check("small", finds("may be better"), "improve it", Severity.WARNING),
            Check("great", finds("is broken"), "mend it"),
            Check("fine", lambda node: iter(()), "nothing"),
            Check("shared", finds("is the host's"), "ask the host", in_container=Severity.WARNING),
        ),
    )
    monkeypatch.setattr(checks, "in_container", lambda: True)
    found = checks.failures(SERVER)
    assert [(finding.check.name, finding.severity) for finding in found] == [
        ("great", Severity.ERROR),
        ("small", Severity.WARNING),
        ("shared", Severity.WARNING),
    ]
    assert checks.table(found).splitlines()[:2] == [
        "error    great   is broken",
        "                 -> mend it",
    ]
    monkeypatch.setattr(checks, "in_container", lambda: False)
    assert [finding.check.name for finding in checks.failures(SERVER)] == ["great", "shared", "small"]


def test_all_checks_run_on_this_machine_without_an_error() -> None:
    found = checks.failures(SERVER)
    assert all(finding.problem and "\n" not in finding.problem for finding in found)


def test_a_unit_of_rke2s_own_that_systemd_prefers_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "UNIT_DIRECTORY", str(tmp_path))
    assert problems("units") == []
    (tmp_path / "rke2-server.service").write_text("[Service]\nExecStart=/usr/local/bin/rke2 server\n")
    assert problems("units") == [
        f"{tmp_path}/rke2-server.service overrides the unit that this package installs"
    ]
