"""Runs helm as a child process with limits on time and memory; its journal lines carry chart and release."""

from __future__ import annotations

import os
import re
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rke2_units import printable
from rke2_units.applier.charts import command
from rke2_units.applier.charts.command import Version
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import UserError

# Bytes of private writable memory: the largest charts of RKE2 need a third of it.
MEMORY_LIMIT = 1 << 30
_LONGEST_LINE = 8192
_LONGEST_WORDS = 1000
_VERSION = re.compile(r"v(\d+)\.(\d+)\.")


@dataclass(frozen=True)
class Ended:
    """How a run ended. `words`: helm's error message as one line, "" if it succeeded."""

    words: str = ""
    # helm was killed because `stop` was set: the state of the release is unknown.
    interrupted: bool = False
    # After a failure: the last lines of the output as one line, since they explain some errors.
    output: str = ""


class Helm:
    """The helm program of this node."""

    def __init__(self, program: str, kubeconfig: str) -> None:
        """`program` and `kubeconfig` are paths. A missing file is an error of run(), not of this."""
        self.program = program
        self._kubeconfig = kubeconfig
        self._known: tuple[tuple[int, int, int], Version, str] | None = None

    def version(self) -> tuple[Version, str]:
        """Major and minor version, and the whole as text; UserError when helm cannot run or is too old."""
        try:
            state = os.stat(self.program)
        except OSError as error:
            raise UserError(f"helm is not installed: {self.program}: {error.strerror}") from None
        stamp = (state.st_dev, state.st_ino, state.st_mtime_ns)
        if self._known is None or self._known[0] != stamp:
            version, text = self._ask_version()
            command.check_version(version)
            self._known = (stamp, version, text)
        return self._known[1], self._known[2]

    def run(
        self,
        arguments: Sequence[str],
        directory: str,
        driver: str,
        fields: Mapping[str, str],
        *,
        limit: float,
        stop: threading.Event,
    ) -> Ended:
        """Runs helm in the directory until it ends, `limit` seconds are over or `stop` is set; never raises.

        helm is ended by SIGKILL only: on SIGTERM it marks the release as failed, and the failure policy
        would uninstall it; after SIGKILL the release is still pending, and the next run resumes it.
        """
        environment = command.environment(directory, self._kubeconfig, driver, os.environ)
        try:
            child = subprocess.Popen(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=environment,
                process_group=0,
                umask=0o077,
            )
        except OSError as error:
            return Ended(f"cannot run {self.program}: {error.strerror}")
        with suppress(ProcessLookupError):
            resource.prlimit(child.pid, resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
        lines = _Lines(fields)
        killed = _follow(child, lines, time.monotonic() + limit, stop)
        status = child.wait()
        if killed:
            words = "" if stop.is_set() else f"helm timed out after {limit:g} seconds"
            return Ended(words, interrupted=stop.is_set())
        if status == 0:
            return Ended()
        how = (
            f"helm failed with exit status {status}"
            if status > 0
            else f"helm was killed by signal {-status}"
        )
        return Ended(lines.words() or how, output=_one_line(lines.output))

    def _ask_version(self) -> tuple[Version, str]:
        try:
            done = subprocess.run(
                [self.program, "version", "--template={{.Version}}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=command.environment("/nonexistent", self._kubeconfig, "secret", {}),
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"cannot run {self.program}: {error}") from None
        found = _VERSION.match(done.stdout)
        if found is None:
            raise UserError(
                f"unexpected output of {self.program} version: {(done.stdout + done.stderr)[:200]!r}"
            )
        return (int(found[1]), int(found[2])), done.stdout.strip().removeprefix("v")


class _Lines:
    """Logs helm's lines to the journal, and keeps the last errors."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)
        self._errors: list[str] = []
        self.output: list[str] = []
        self._notes = False

    def take(self, line: str, is_error: bool) -> None:
        line = line.rstrip()
        if not is_error:
            # A chart's notes are meant for a person at a terminal, and may show secret values.
            self._notes = self._notes or line == "NOTES:"
            if line and not self._notes:
                self.output = [*self.output[-1:], line]
                journal.log(Level.INFO, line, **self._fields)
            return
        if not line:
            return
        if line.startswith("Error:"):
            self._errors.clear()
        self._errors = [*self._errors[-9:], line]
        journal.log(Level.WARNING, line, **self._fields)

    def words(self) -> str:
        return _one_line(self._errors).removeprefix("Error: ")


def _one_line(lines: Sequence[str]) -> str:
    text = " | ".join(map(printable.line, lines))
    return text if len(text) <= _LONGEST_WORDS else f"{text[: _LONGEST_WORDS - 1]}…"


def _follow(child: subprocess.Popen[bytes], lines: _Lines, end: float, stop: threading.Event) -> bool:
    """Logs helm's lines until it ends; True if it had to be killed."""
    killed = False
    with selectors.DefaultSelector() as selector:
        for pipe, is_error in ((child.stdout, False), (child.stderr, True)):
            assert pipe is not None  # noqa: S101 (both are asked for above)
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, (is_error, bytearray()))
        while selector.get_map():
            for key, _ in selector.select(timeout=0.5):
                is_error, pending = key.data
                data = os.read(key.fd, 65536)
                pending += data
                *whole, rest = bytes(pending).split(b"\n")
                if not data or len(rest) > _LONGEST_LINE:
                    whole.append(rest)
                    rest = b""
                pending[:] = rest
                for line in whole:
                    lines.take(line[:_LONGEST_LINE].decode(errors="replace"), is_error)
                if not data:
                    selector.unregister(key.fileobj)
            if not killed and (stop.is_set() or time.monotonic() > end):
                killed = True
                _kill(child)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    return killed


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
