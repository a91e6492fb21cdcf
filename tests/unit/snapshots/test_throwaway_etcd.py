"""The throwaway etcd: how it is started, what is said when it does not start, and that it goes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.snapshots.throwaway_etcd import ThrowawayEtcd

# Makes its socket and runs on; keeps its arguments.
RUNS = """\
#!/bin/sh
printf '%s\\n' "$PWD" "$@" >../arguments
touch client:0
exec sleep 600
"""
ANSWERS = """\
#!/bin/sh
[ -e client:0 ] && echo '{"header":{}}'
"""


class Made:
    """A data folder and stand-ins for the programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "etcd"
        self.data.mkdir(mode=0o700)
        self.program("program", RUNS)
        self.program("etcdctl", ANSWERS)

    def program(self, name: str, text: str) -> None:
        path = self.root / name
        path.write_text(text)
        path.chmod(0o755)

    def etcd(
        self, *, force_new_cluster: bool = False, is_kept: bool = True, timeout: float = 30
    ) -> ThrowawayEtcd:
        return ThrowawayEtcd(
            str(self.data),
            program=str(self.root / "program"),
            etcdctl=str(self.root / "etcdctl"),
            name="node1-0123abcd",
            force_new_cluster=force_new_cluster,
            is_kept=is_kept,
            timeout=timeout,
        )


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_it_listens_on_sockets_of_a_folder_that_nobody_else_can_enter(made: Made) -> None:
    with made.etcd() as running:
        folder, *arguments = (made.root / "arguments").read_text().splitlines()
        assert folder == f"{made.data}.run"
        assert os.stat(folder).st_mode & 0o777 == 0o700
        listening = [argument for argument in arguments if argument.startswith("--listen")]
        assert listening == ["--listen-client-urls=unix://client:0", "--listen-peer-urls=unix://peer:0"]
        assert f"--data-dir={made.data}" in arguments
        assert "--force-new-cluster" not in arguments
        assert running.etcd.get("key") is None
        pid = running.pid
        assert is_running(pid)
    assert not is_running(pid)
    assert not os.path.exists(folder)


def test_a_new_cluster_is_forced_when_that_is_wanted(made: Made) -> None:
    with made.etcd(force_new_cluster=True):
        assert "--force-new-cluster" in (made.root / "arguments").read_text().splitlines()


@pytest.mark.parametrize(("is_kept", "knows"), [(False, True), (False, False), (True, True)])
def test_what_is_not_kept_need_not_reach_the_disk(made: Made, is_kept: bool, knows: bool) -> None:
    words = "--unsafe-no-fsync 'false'" if knows else "--force-new-cluster 'false'"
    made.program(
        "program", RUNS.replace("printf", f'[ "$1" != --help ] || {{ echo "{words}"; exit; }}\nprintf')
    )
    with made.etcd(is_kept=is_kept):
        arguments = (made.root / "arguments").read_text().splitlines()
    assert ("--unsafe-no-fsync" in arguments) == (knows and not is_kept)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (
            ['{"level":"fatal","msg":"discovery failed","error":"invalid database"}', "exit status 1"],
            "etcd cannot open .*/etcd: discovery failed: invalid database",
        ),
        (['{"level":"warn","msg":"odd"}', "panic: freepages"], "cannot open .*/etcd: panic: freepages"),
        ([], "it has said nothing"),
    ],
)
def test_its_own_reason_is_told_when_it_ends(made: Made, said: list[str], complaint: str) -> None:
    lines = "".join(f"echo '{line}' >&2\n" for line in said)
    made.program("program", f"#!/bin/sh\n{lines}exit 1\n")
    with pytest.raises(UserError, match=complaint), made.etcd():
        pass
    assert not os.path.exists(f"{made.data}.run")


@pytest.mark.parametrize(
    ("etcdctl", "complaint"),
    [
        ("#!/bin/sh\necho 'Error: etcdserver: no leader' >&2; exit 1\n", "no leader"),
        (ANSWERS, "its socket is not there"),
    ],
)
def test_a_start_has_an_end(made: Made, etcdctl: str, complaint: str) -> None:
    made.program("etcdctl", etcdctl)
    if "socket" in complaint:
        made.program("program", "#!/bin/sh\nexec sleep 600\n")
    with pytest.raises(UserError, match=f"does not open .*/etcd within 1 s: .*{complaint}"):
        with made.etcd(timeout=1):
            pass


def test_it_dies_with_a_process_that_is_killed(made: Made) -> None:
    script = f"""
import time
from rke2_units.snapshots.throwaway_etcd import ThrowawayEtcd
with ThrowawayEtcd({str(made.data)!r}, program={str(made.root / "program")!r},
                   etcdctl={str(made.root / "etcdctl")!r}) as running:
    print(running.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(json.loads(parent.stdout.readline()))
        assert is_running(pid)
        os.kill(parent.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(pid)
    # What the killed run has left is no obstacle.
    with made.etcd():
        pass
