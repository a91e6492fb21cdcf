"""What wakes the daemon, in processes of its own: a process has its signals but once."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# A daemon that has a pipe in place of the system bus, and prints what becomes of each wait.
DAEMON = """
import os, sys, threading
from rke2_units.daemon.events import Events, StopRequested

class Bus:
    def __init__(self):
        self.end, self.other = os.pipe()
        self.signals = 0
    def watch(self): pass
    def fileno(self): return self.end
    def drain(self):
        came, self.signals = self.signals, 0
        return came

bus = Bus()
events = Events(bus)
def wait(seconds):
    try:
        events.wait(seconds)
        print("woken", flush=True)
    except StopRequested:
        print("stop", flush=True)
"""


def daemon(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DAEMON + code],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(code: str, **environment: str) -> list[str]:
    out, _ = daemon(code, **environment).communicate(timeout=60)
    return out.split()


@pytest.mark.parametrize(
    "woken",
    [
        pytest.param("events.wake()", id="by another thread"),
        pytest.param("bus.signals = 1", id="by what came with an answer of the bus"),
    ],
)
def test_what_happened_before_the_wait_ends_it_at_once(woken: str) -> None:
    assert said(f"{woken}; wait(3600)") == ["woken"]


@pytest.mark.parametrize("woken", ["events.wake()", "os.write(bus.other, b'!'); setattr(bus, 'signals', 1)"])
def test_what_happens_during_the_wait_ends_it(woken: str) -> None:
    assert said(f"threading.Timer(0.2, lambda: ({woken.replace('; ', ', ')})).start(); wait(3600)") == [
        "woken"
    ]


def test_any_number_of_calls_block_nobody() -> None:
    # More than a pipe holds.
    assert said("for _ in range(100_000): events.wake()\nwait(3600)") == ["woken"]


def test_a_wait_ends_with_its_time_and_a_rest_not_before() -> None:
    code = "import time; wait(0.05); began = time.monotonic(); events.wake(); events.rest(0.3)"
    assert said(f"{code}; print(time.monotonic() - began >= 0.3)") == ["woken", "True"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("call", ["wait(3600)", "threading.Event().wait(0.5); wait(3600)"])
def test_a_signal_ends_whatever_is_waited_for(number: signal.Signals, call: str) -> None:
    process = daemon(f"print('ready', flush=True); {call}")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert out == "stop\n" and process.returncode == 0


def test_systemds_watchdog_is_fed_while_nothing_happens(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(10)
        # Half a second, so that it is fed each quarter.
        assert said("events.rest(1.1)", NOTIFY_SOCKET=path, WATCHDOG_USEC="500000") == []
        fed = 0
        systemd.setblocking(False)
        while True:
            try:
                assert b"WATCHDOG=1" in systemd.recv(100)
            except BlockingIOError:
                break
            fed += 1
    assert fed >= 3
