"""Programs are run with an environment of our own, and what goes wrong is told in one line."""

import os
import signal
from pathlib import Path

import pytest

from rke2_units.doors import run as door
from rke2_units.doors.run import run
from rke2_units.errors import UserError


def test_output_errors_and_status_are_returned() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.status, done.output, done.errors) == (3, "out\n", "err\n")


def test_nothing_of_the_callers_environment_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_OF_SOMEBODY", "x")
    seen = run(["env"], environment={"OURS": "y"}).output.splitlines()
    assert "OURS=y" in seen
    assert "LANG=C.UTF-8" in seen
    assert not any(line.startswith("LD_PRELOAD_OF_SOMEBODY") for line in seen)


def test_standard_input_is_empty_unless_given() -> None:
    assert run(["cat"]).output == ""
    assert run(["cat"], input="text").output == "text"


def test_a_failed_program_is_told_with_its_last_lines() -> None:
    with pytest.raises(UserError) as error:
        run(["sh", "-c", "for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 4"])
    assert "\n" not in str(error.value)
    assert "(exit status 4): line 3 | line 4 | line 5 | line 6 | line 7" in str(error.value)


def test_a_program_that_a_signal_ended_is_told_with_its_signal() -> None:
    with pytest.raises(UserError, match=f"signal {int(signal.SIGKILL)}"):
        run(["sh", "-c", "kill -9 $$"])


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(UserError, match=r"sleep 30 did not finish within 0\.1 seconds"):
        run(["sleep", "30"], timeout=0.1)


def test_a_missing_program_is_named_with_its_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_PATH", "/nowhere")
    with pytest.raises(UserError) as error:
        run(["conntrack", "-L"])
    assert error.value.message == "the program conntrack is not installed"
    assert error.value.hint == "apt install conntrack"
    assert door.find("conntrack") is None


def test_a_file_that_is_no_program_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\0\0\0\0")
    os.chmod(tmp_path / "broken", 0o755)
    monkeypatch.setattr(door, "_PATH", os.fspath(tmp_path))
    with pytest.raises(UserError, match=r"cannot run .*/broken: Exec format error"):
        run(["broken"])
