"""A plan is applied whole; what was killed or has failed at any point is completed by the next run."""

import errno
import json
import os
import resource
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rke2_units.doors.run import Completed
from rke2_units.errors import UserError
from rke2_units.layout import INSTALLATION_FILE, WRITTEN_FILES
from rke2_units.model import Directory, File, KernelParameter, Plan
from rke2_units.node import apply as module
from rke2_units.node import installation
from rke2_units.node.apply import Kind, apply, changes, set_kernel_parameters, tune_kernel, write
from rke2_units.node.installation import Installation
from rke2_units.unit_names import Role


def plan(files: dict[str, str], *, folders: tuple[str, ...] = (), mode: int = 0o644) -> Plan:
    return Plan(
        role=Role.SERVER,
        directories=tuple(Directory(path, 0o700) for path in folders),
        files=tuple(File(path, content, mode) for path, content in files.items()),
        units=(),
        enabled="rke2-server.service",
    )


OLD_FILES = {"/etc/a": "old a\n", "/usr/lib/b": "old b\n", "/usr/lib/gone": "old gone\n"}
NEW_FILES = {"/etc/a": "new a\n", "/usr/lib/b": "old b\n", "/usr/lib/added": "new added\n"}
OLD, NEW = plan(OLD_FILES), plan(NEW_FILES, folders=("/var/lib/data",))
BEFORE = Installation(Role.SERVER, "v1.35.0+rke2r1", "/var/lib/rancher/rke2")
AFTER = Installation(Role.SERVER, "v1.36.4+rke2r1", "/var/lib/rancher/rke2")
OWN = {INSTALLATION_FILE, WRITTEN_FILES, "/run/rke2-units/apply.lock"}


def contents(root: Path) -> dict[str, str]:
    return {
        f"/{path.relative_to(root)}": path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and f"/{path.relative_to(root)}" not in OWN
    }


def recorded(root: Path) -> set[str]:
    return set(json.loads((root / WRITTEN_FILES.lstrip("/")).read_text()))


def test_files_folders_and_the_installation_are_made(tmp_path: Path) -> None:
    found = apply(NEW, str(tmp_path), AFTER)
    assert contents(tmp_path) == NEW_FILES
    assert stat.S_IMODE((tmp_path / "var/lib/data").stat().st_mode) == 0o700
    assert installation.read(str(tmp_path)) == AFTER
    assert {change.kind for change in found} == {Kind.ADD}
    assert [change.path for change in found] == ["/var/lib/data", *NEW_FILES, INSTALLATION_FILE]


def test_the_second_time_nothing_changes(tmp_path: Path) -> None:
    apply(NEW, str(tmp_path), AFTER)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert changes(NEW, str(tmp_path), AFTER) == []
    assert apply(NEW, str(tmp_path), AFTER) == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_we_wrote_and_no_longer_want_is_removed_and_nothing_else(tmp_path: Path) -> None:
    apply(OLD, str(tmp_path))
    (tmp_path / "usr/lib/of-the-administrator").write_text("kept")
    found = apply(NEW, str(tmp_path))
    assert contents(tmp_path) == {**NEW_FILES, "/usr/lib/of-the-administrator": "kept"}
    kinds = {change.path: change.kind for change in found}
    assert kinds == {
        "/var/lib/data": Kind.ADD,
        "/etc/a": Kind.CHANGE,
        "/usr/lib/added": Kind.ADD,
        "/usr/lib/gone": Kind.REMOVE,
    }
    assert recorded(tmp_path) == set(NEW_FILES)


def test_a_folder_goes_with_its_last_file_where_it_was_made_for_it(tmp_path: Path) -> None:
    written = ("/certs.d/a/hosts.toml", "/certs.d/b/hosts.toml", "/etc/x/y.conf", "/certs.d/z")
    folders = ("/certs.d", "/certs.d/a", "/certs.d/b")
    apply(plan(dict.fromkeys(written, ""), folders=folders), str(tmp_path))
    (tmp_path / "certs.d/b/ca.crt").write_text("the administrator's")
    apply(plan({}, folders=("/certs.d",)), str(tmp_path))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("[!r]*") if path.is_dir()) == [
        "certs.d",
        "certs.d/b",
        "etc",
        "etc/x",
        "var",
        "var/lib",
    ]
    assert contents(tmp_path) == {"/certs.d/b/ca.crt": "the administrator's"}


def test_a_folder_that_a_killed_run_left_empty_goes_with_the_next(tmp_path: Path) -> None:
    apply(plan({"/certs.d/a/hosts.toml": ""}, folders=("/certs.d", "/certs.d/a")), str(tmp_path))
    (tmp_path / "certs.d/a/hosts.toml").unlink()
    apply(plan({}, folders=("/certs.d",)), str(tmp_path))
    assert not (tmp_path / "certs.d/a").exists()


def test_a_folder_of_the_administrators_keeps_its_mode(tmp_path: Path) -> None:
    wanted = replace(plan({}), directories=(Directory("/etc/ours", 0o755, keep=True),))
    apply(wanted, str(tmp_path))
    folder = tmp_path / "etc/ours"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    folder.chmod(0o700)
    assert changes(wanted, str(tmp_path)) == []
    apply(wanted, str(tmp_path))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_mode_alone_is_a_change(tmp_path: Path) -> None:
    apply(plan({"/etc/a": "a"}, folders=("/var/a",)), str(tmp_path))
    os.chmod(tmp_path / "var/a", 0o755)
    wanted = plan({"/etc/a": "a"}, folders=("/var/a",), mode=0o600)
    assert [(change.kind, change.path) for change in changes(wanted, str(tmp_path))] == [
        (Kind.CHANGE, "/var/a"),
        (Kind.CHANGE, "/etc/a"),
    ]
    apply(wanted, str(tmp_path))
    assert changes(wanted, str(tmp_path)) == []


def test_looking_at_changes_writes_nothing(tmp_path: Path) -> None:
    changes(NEW, str(tmp_path), AFTER)
    assert list(tmp_path.iterdir()) == []


def test_a_render_leaves_no_record(tmp_path: Path) -> None:
    assert write(NEW, str(tmp_path)) == list(NEW_FILES)
    assert contents(tmp_path) == NEW_FILES
    assert not (tmp_path / WRITTEN_FILES.lstrip("/")).exists()


STEPS = ("mkdir", "fsync", "replace", "unlink", "fchmod")


@contextmanager
def at_step(number: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Calls `act` before the number-th of all steps that change a file system."""
    counter = [0]
    patch = pytest.MonkeyPatch()

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **keywords: object) -> object:
            counter[0] += 1
            if counter[0] == number:
                act()
            return real(*arguments, **keywords)

        return step

    for name in STEPS:
        patch.setattr(os, name, counted(getattr(os, name)))
    try:
        yield counter
    finally:
        patch.undo()


def steps_of_a_run(root: Path) -> int:
    apply(OLD, str(root), BEFORE)
    with at_step(-1, lambda: None) as counter:
        apply(NEW, str(root), AFTER)
    return counter[0]


def is_whole(root: Path) -> bool:
    """Every file is an old or a new one, and whatever is there is in the record."""
    present = {path: text for path, text in contents(root).items() if ".rke2-units-" not in path}
    return (
        all(text in (OLD_FILES.get(path), NEW_FILES.get(path)) for path, text in present.items())
        and set(present) <= recorded(root)
        and installation.read(str(root)) in (BEFORE, AFTER)
    )


def is_complete(root: Path) -> bool:
    return (
        contents(root) == NEW_FILES
        and recorded(root) == set(NEW_FILES)
        and installation.read(str(root)) == AFTER
        and not list(root.rglob(".rke2-units-*"))
    )


def test_killed_at_any_step_the_next_run_completes_it(tmp_path: Path) -> None:
    steps = steps_of_a_run(tmp_path / "count")
    assert steps > 20
    for number in range(1, steps + 1):
        root = tmp_path / str(number)
        apply(OLD, str(root), BEFORE)
        child = os.fork()
        if child == 0:
            with at_step(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                apply(NEW, str(root), AFTER)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert is_whole(root), f"killed at step {number}"
        apply(NEW, str(root), AFTER)
        assert is_complete(root), f"killed at step {number}"


def test_an_error_at_any_step_is_told_in_one_line_and_the_next_run_completes_it(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for number in range(1, steps_of_a_run(tmp_path / "count") + 1):
        root = tmp_path / str(number)
        apply(OLD, str(root), BEFORE)
        with at_step(number, fail), pytest.raises(UserError, match="No space left on device") as error:
            apply(NEW, str(root), AFTER)
        assert "\n" not in str(error.value)
        assert is_whole(root), f"failed at step {number}"
        assert not list(root.rglob(".rke2-units-*")), f"failed at step {number}"
        apply(NEW, str(root), AFTER)
        assert is_complete(root), f"failed at step {number}"


def test_a_write_that_the_kernel_cuts_off_leaves_all_old_files(tmp_path: Path) -> None:
    apply(OLD, str(tmp_path), BEFORE)
    large = plan({**NEW_FILES, "/usr/lib/large": "x" * 100_000})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*/usr/lib/large: File too large"):
            apply(large, str(tmp_path), AFTER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert contents(tmp_path) == OLD_FILES
    assert installation.read(str(tmp_path)) == BEFORE


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_file_system_that_is_full_leaves_all_old_files(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=False)
    if mounted.returncode != 0:
        pytest.skip("may not mount here")
    try:
        apply(OLD, str(tmp_path), BEFORE)
        with pytest.raises(UserError, match="No space left on device") as error:
            apply(plan({**NEW_FILES, "/usr/lib/large": "x" * 400_000}), str(tmp_path), AFTER)
        assert error.value.hint and error.value.hint.startswith("free some space")
        assert contents(tmp_path) == OLD_FILES
        assert installation.read(str(tmp_path)) == BEFORE
        apply(NEW, str(tmp_path), AFTER)
        assert is_complete(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_only_one_changes_the_node_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_LOCK_PATIENCE", 0.1)
    with installation.lock(str(tmp_path)), pytest.raises(UserError, match="another rke2-units is changing"):
        apply(NEW, str(tmp_path))
    assert contents(tmp_path) == {}
    apply(NEW, str(tmp_path))
    assert contents(tmp_path) == NEW_FILES


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with installation.lock(str(tmp_path)):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    apply(NEW, str(tmp_path))
    assert contents(tmp_path) == NEW_FILES


def test_modules_are_loaded_one_by_one_and_failures_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run(command: tuple[str, ...], check: bool) -> Completed:
        commands.append(command)
        return Completed(1 if command[-1] in ("missing", "absent") else 0, "", "")

    monkeypatch.setattr(module, "run", run)
    modules, sysctls = "/etc/modules-load.d/rke2-units.conf", "/etc/sysctl.d/90-rke2-units.conf"
    wanted = plan(
        {
            modules: "# comment\n\noverlay\nmissing\nbr_netfilter\nabsent\n",
            sysctls: "net.ipv4.ip_forward = 1\n",
            "/etc/other": "overlay2\n",
        }
    )
    assert set_kernel_parameters(wanted) == [f"kernel modules not loaded: missing, absent ({modules})"]
    assert [command[-1] for command in commands] == ["overlay", "missing", "br_netfilter", "absent", sysctls]


@pytest.mark.parametrize(
    ("now", "untouched", "then"),
    [
        # An administrator's larger one, the kernel's own on a large machine, a smaller one.
        ("1048576", None, "1048576"),
        ("131072", None, "131072"),
        ("65536", None, "131072"),
        # The kernel's own value is changed, whatever else is somebody's wish.
        ("432000", 432000, "131072"),
        ("131072", 432000, "131072"),
        ("300", 432000, "300"),
        ("500000", 432000, "500000"),
        # Nothing to be read as a number.
        ("", None, ""),
    ],
)
def test_a_kernel_parameter_that_somebody_has_set_stays(
    tmp_path: Path, now: str, untouched: int | None, then: str
) -> None:
    file = tmp_path / "proc/sys/net/netfilter/a"
    file.parent.mkdir(parents=True)
    file.write_text(f"{now}\n")
    wanted = KernelParameter("net.netfilter.a", 131072, untouched)
    tuned = replace(plan({}), kernel_parameters=(wanted, KernelParameter("net.missing", 1)))
    said = tune_kernel(tuned, os.fspath(tmp_path))
    assert file.read_text().strip() == then
    assert said == ([] if now == then else [f"net.netfilter.a is {then} now, it was {now}"])
    assert tune_kernel(tuned, os.fspath(tmp_path)) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(now=st.integers(0, 2**31 - 1), value=st.integers(1, 2**31 - 1))
def test_no_kernel_parameter_is_ever_lowered(tmp_path: Path, now: int, value: int) -> None:
    file = tmp_path / "proc/sys/a"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{now}\n")
    tune_kernel(replace(plan({}), kernel_parameters=(KernelParameter("a", value),)), os.fspath(tmp_path))
    assert int(file.read_text()) == max(now, value)
