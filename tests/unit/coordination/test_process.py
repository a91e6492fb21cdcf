"""A process of threads, as systemd sees it."""

import os
import signal
import subprocess
import sys

import pytest

from rke2_units.coordination import process
from rke2_units.errors import ExitCode

CODE = """
import os, sys, threading
from rke2_units.coordination import process
from rke2_units.coordination.lease import Lease
from rke2_units.doors.kubernetes import Client

def say(word):
    # In one piece, whatever another thread says at the same time.
    os.write(1, (word + "\\n").encode())

def work(stop):
    if sys.argv[1] == "die":
        raise ValueError("it broke")
    stop.wait()
    say("stopped")

def status():
    say("asked")
    return "well"

lease = Lease(Client("http://127.0.0.1:1"), "name", "node_boot", work="acts")
sys.exit(process.run({"worker": work}, lease, status, patience=5, on_stop=lambda: say("told")))
"""


def started(how: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "NOTIFY_SOCKET": ""}
    environment.pop("JOURNAL_STREAM", None)
    return subprocess.Popen(
        [sys.executable, "-c", CODE, how],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_works_until_it_is_told_to_stop_and_lets_its_threads_end() -> None:
    child = started("live")
    assert child.stdout and child.stdout.readline() == "asked\n"
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert sorted(set(output.split()) - {"asked"}) == ["stopped", "told"]


def test_a_thread_that_dies_takes_the_process_along() -> None:
    child = started("die")
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "thread worker died: ValueError('it broke')" in errors


@pytest.mark.parametrize(
    ("problems", "text"),
    [
        ([], "all is well"),
        (["one"], "degraded: one"),
        (["one", "two", "three"], "degraded: one (and 2 more: journalctl -u rke2-a)"),
    ],
)
def test_a_status_is_one_line(problems: list[str], text: str) -> None:
    assert process.summary(problems, "all is well", "rke2-a.service") == text


def test_a_status_that_tells_of_a_problem_is_soon_brought_up_to_date() -> None:
    assert process.pause_after(process.summary(["one"], "all is well", "rke2-a.service")) <= 1
    assert process.pause_after("all is well") == 5


@pytest.mark.parametrize("arguments", [[], ["--settings"], ["--settings", "a", "b"], ["--config", "a"]])
def test_other_arguments_are_answered_with_the_usage(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["package", *arguments])
    assert process.main("a.package", lambda file: pytest.fail(f"it was run with {file}")) == ExitCode.USAGE
    assert capsys.readouterr().err == "usage: python3 -m a.package --settings FILE\n"
