import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rke2_units.lean import console
from tests.unit.program_values import settings_values

ROOT = Path(__file__).parents[3]
PROGRAMS = ("content", "images", "image", "gate", "static_pod")
# All that may be imported on the way to a program's first action, beside what Python itself starts with.
LIGHT = set(
    "__future__ _collections _collections_abc _functools _heapq _json _operator "
    "_posixsubprocess _signal _socket _sre _stat _weakrefset abc array codecs collections "
    "contextlib copyreg enum errno fcntl functools genericpath heapq io itertools json keyword "
    "math operator os posixpath re reprlib rke2_units select selectors signal socket stat sys "
    "time types".split()
)


def start(program: str, settings: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        f"rke2_units.programs.{program}",
        "--settings",
        str(settings),
        *arguments,
    ]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_imports_only_what_starts_fast(program: str) -> None:
    code = (
        "import sys; before = set(sys.modules); "
        f"import rke2_units.programs.{program}; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - LIGHT == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_without_settings_says_how_it_is_called(program: str) -> None:
    command = [sys.executable, "-m", f"rke2_units.programs.{program}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("<3>usage: ")


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_error_is_one_line_for_the_journal(tmp_path: Path, program: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings_values(tmp_path)))
    with start(program, file, "too", "many", "words") as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith("<3>")
    assert errors.count("\n") == 1


def test_settings_that_only_a_person_can_mend_have_their_own_exit_code(tmp_path: Path) -> None:
    with start("gate", tmp_path / "nothing.json", "etcd") as process:
        process.communicate()
    assert process.returncode == 78


def test_a_program_that_waits_ends_quietly_and_at_once_when_its_unit_is_stopped(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings_values(tmp_path)))
    with start("gate", file, "etcd") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "<6>waiting for kubelet (connection refused)\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert time.monotonic() - began < 1
        assert process.stderr.read() == ""


def test_what_is_waited_for_is_the_units_status(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings_values(tmp_path)))
    address = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(10)
        with start("gate", file, "etcd", NOTIFY_SOCKET=address) as process:
            assert notify.recv(1000) == b"STATUS=waiting for kubelet (connection refused)"
            process.terminate()
            process.communicate()


def test_a_wait_is_reported_on_change_then_after_ten_seconds_then_every_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    waiting = console.Waiting()
    for tenth in range(2000):
        now = tenth / 10
        waiting.report("kubelet" if now < 5 else "etcd", f"at {now:.0f} s")
    assert capsys.readouterr().err.splitlines() == [
        f"<6>waiting for {what} (at {seconds} s)"
        for what, seconds in (
            ("kubelet", 0),
            ("etcd", 5),
            ("etcd", 15),
            ("etcd", 75),
            ("etcd", 135),
            ("etcd", 195),
        )
    ]


def test_the_status_follows_the_reason_and_the_journal_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = list[str]()
    monkeypatch.setattr(console, "status", told.append)
    waiting = console.Waiting()
    for reason in ("its container has not started", "its container has not started", "HTTP 503"):
        waiting.report("etcd", reason)
    assert told == ["waiting for etcd (its container has not started)", "waiting for etcd (HTTP 503)"]
    assert capsys.readouterr().err == "<6>waiting for etcd (its container has not started)\n"
