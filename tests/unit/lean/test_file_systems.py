import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rke2_units.lean import console, file_systems
from rke2_units.lean.file_systems import name_full

NO_SPACE = "No space left on device"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """/var is full of files, /run of bytes, / is not; /data is on another machine that does not answer."""
    free = {"/": (500, 1000, 9), "/var": (900, 1000, 0), "/run": (0, 64, 9), "/data": (0, 1, 0)}

    def statvfs(mount: str) -> SimpleNamespace:
        assert mount != "/data"
        available, blocks, inodes = free[mount]
        return SimpleNamespace(
            f_bavail=available, f_blocks=blocks, f_frsize=1 << 20, f_files=100, f_favail=inodes
        )

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(os.path, "ismount", lambda path: path in free)
    monkeypatch.setattr(file_systems, "_mounts", lambda: ["/", "/var", "/run"])


VAR = "the file system at /var has 900 of 1000 MiB free, and no free inodes"
RUN = "the file system at /run has 0 of 64 MiB free"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (NO_SPACE, f"{VAR}, {RUN}"),
        ("etcd ended 3 times: wal: no space left on device", f"{VAR}, {RUN}"),
        # What is named counts, full or not: what took up the space may be gone by now.
        (f"write /run/a/b: {NO_SPACE}", RUN),
        (f'cannot write "/etc/x": {NO_SPACE}', "the file system at / has 500 of 1000 MiB free"),
        (f"copy /run/a to /var/b: {NO_SPACE}", f"{RUN}, {VAR}"),
        (f"https://registry.example/v2/a: {NO_SPACE}", f"{VAR}, {RUN}"),
    ],
)
@pytest.mark.usefixtures("machine")
def test_what_is_full_is_named(text: str, named: str) -> None:
    assert name_full(text) == f"{text}; {named}"
    # Who hands it on adds nothing.
    assert name_full(name_full(text)) == name_full(text)


@pytest.mark.parametrize("text", ["", "permission denied", "no space left on the device in the text"])
@pytest.mark.usefixtures("machine")
def test_another_cause_is_left_as_it_is(text: str) -> None:
    assert name_full(text) == text


def test_pods_and_other_machines_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def stat(path: str) -> SimpleNamespace:
        looked.append(path)
        return SimpleNamespace(st_dev=len(looked))

    mounts = """\
/dev/vda1 / ext4 rw 0 0
nas:/x /mnt/nas nfs4 rw 0 0
tmpfs /var/lib/kubelet/pods/1/volumes/x tmpfs rw 0 0
overlay /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/1/rootfs overlay rw 0 0
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
"""
    real = tmp_path / "mounts"
    real.write_text(mounts)
    opened = open(real, encoding="utf-8")
    monkeypatch.setattr("builtins.open", lambda *_, **__: opened)
    monkeypatch.setattr(os, "stat", stat)
    assert file_systems._mounts() == ["/", "/run"]
    assert looked == ["/", "/run"]


@pytest.mark.usefixtures("machine")
def test_a_program_that_finds_no_space_names_the_file_system(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["program", "--settings", "file"])

    def program(file: str, arguments: list[str]) -> None:
        # As write() raises it: without a name.
        raise OSError(errno.ENOSPC, NO_SPACE)

    with pytest.raises(SystemExit):
        console.run(program, "usage")
    assert capsys.readouterr().err == f"<3>{NO_SPACE}; {VAR}, {RUN}\n"
