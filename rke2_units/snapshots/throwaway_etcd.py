"""An etcd of its own on a data folder, beside whatever else runs: to look into a snapshot, or to change it.

It listens on sockets in a folder that only its user can enter, as whoever reaches it can read every Secret.
"""

import json
import os
import select
import shutil
import signal
import time
from contextlib import suppress
from types import TracebackType

from rke2_units.errors import UserError
from rke2_units.lean import processes
from rke2_units.lean.etcd import Etcd, EtcdError

# etcd 3.4 takes nothing else for the name of a socket: HOST:PORT, without a path.
_CLIENT, _PEER = "client:0", "peer:0"
_INTERVAL = 0.1
# From SIGTERM to SIGKILL, in seconds.
_GRACE = 30.0
# The end of its log that is searched for the reason of a failure, in bytes.
_LOG_END = 64 << 10
# Where etcd finds the folder of its data open.
_DATA = 3
# Since etcd 3.5.
_NO_FSYNC = "--unsafe-no-fsync"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class ThrowawayEtcd:
    """A context manager: etcd runs and is ready inside. It dies with this process, however that ends.

    The folder FOLDER.run is its own until then. UserError when it does not start within `timeout` seconds.
    """

    def __init__(
        self,
        folder: str,
        *,
        program: str,
        etcdctl: str,
        name: str = "throwaway",
        user: tuple[int, int] | None = None,
        force_new_cluster: bool = False,
        is_kept: bool = True,
        timeout: float = 300.0,
    ) -> None:
        """`folder` has its data, `program` is etcd. Its member gets this name.

        `user` is whom it runs as, by user and group, and who gets the data; whether they could open the
        folder by its path does not matter. `force_new_cluster`: this member is the only one from now on,
        whoever else there was. What is not `is_kept` need not reach the disk.
        """
        self._folder = folder
        self._run = f"{folder}.run"
        self._program = program
        self._name = name
        self._user = user
        self._force = force_new_cluster
        self._is_kept = is_kept
        self._timeout = timeout
        self._process = 0
        self._handle = -1
        self._log_file = -1
        self.etcd = Etcd(etcdctl, [f"unix://{_CLIENT}"], folder=self._run)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process

    def __enter__(self) -> "ThrowawayEtcd":
        shutil.rmtree(self._run, ignore_errors=True)
        os.mkdir(self._run, 0o700)
        try:
            if self._user:
                os.chown(self._run, *self._user)
                _give(self._folder, self._user)
            self._start()
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _start(self) -> None:
        # Kept open: its folder may belong to another user.
        self._log_file = os.open(
            f"{self._run}/log", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        data = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._process = os.posix_spawnp(
                "env",
                self._command(),
                {"PATH": _PATH},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing, 0),
                    (os.POSIX_SPAWN_DUP2, self._log_file, 1),
                    (os.POSIX_SPAWN_DUP2, self._log_file, 2),
                    (os.POSIX_SPAWN_DUP2, data, _DATA),
                ],
            )
        finally:
            os.close(nothing)
            os.close(data)
        self._handle = os.pidfd_open(self._process)

    def _command(self) -> list[str]:
        limits = ["setpriv", "--pdeathsig=KILL", "--no-new-privs"]
        if self._user:
            limits += [f"--reuid={self._user[0]}", f"--regid={self._user[1]}", "--clear-groups"]
        return [
            *("env", f"--chdir={self._run}", *limits, self._program),
            f"--name={self._name}",
            # The folders above it may be closed to the user.
            f"--data-dir={f'/proc/self/fd/{_DATA}' if self._user else self._folder}",
            f"--listen-client-urls=unix://{_CLIENT}",
            f"--advertise-client-urls=unix://{_CLIENT}",
            f"--listen-peer-urls=unix://{_PEER}",
            # Whatever its size, it can be written to.
            "--quota-backend-bytes=-1",
            "--logger=zap",
            "--log-outputs=stderr",
            "--log-level=warn",
            *(["--force-new-cluster"] if self._force else []),
            *([] if self._is_kept or not _knows(self._program, _NO_FSYNC) else [_NO_FSYNC]),
        ]

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + self._timeout
        reason = "its socket is not there"
        while time.monotonic() < end:
            if self._has_ended(_INTERVAL):
                raise UserError(f"etcd cannot open {self._folder}: {_last_words(self._log())}")
            if os.path.exists(f"{self._run}/{_CLIENT}"):
                try:
                    # Only a member that has a leader answers.
                    self.etcd.get("ready")
                except EtcdError as error:
                    reason = error.message
                else:
                    return
        raise UserError(f"etcd does not open {self._folder} within {self._timeout:.0f} s: {reason}")

    def _has_ended(self, seconds: float) -> bool:
        """Whether the process ends within so many seconds."""
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(1000 * seconds))

    def _log(self) -> str:
        size = os.fstat(self._log_file).st_size
        return os.pread(self._log_file, _LOG_END, max(0, size - _LOG_END)).decode(errors="replace")

    def _end(self) -> None:
        if self._process:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.kill(self._process, number)
                if self._has_ended(_GRACE):
                    break
            os.waitpid(self._process, 0)
            os.close(self._handle)
            self._process, self._handle = 0, -1
        if self._log_file >= 0:
            os.close(self._log_file)
            self._log_file = -1
        shutil.rmtree(self._run, ignore_errors=True)


def _give(folder: str, user: tuple[int, int]) -> None:
    os.chown(folder, *user)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(f"{root}/{name}", *user, follow_symlinks=False)


def _knows(program: str, option: str) -> bool:
    said = processes.run([program, "--help"], timeout=60, environment={"PATH": _PATH})
    return option in said.output + said.errors


def _last_words(log: str) -> str:
    """What etcd ended for: its last message of an error, else the last line."""
    said = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(said):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic"):
            return ": ".join(str(entry[key]) for key in ("msg", "error") if entry.get(key))
    return said[-1] if said else "it has said nothing"
