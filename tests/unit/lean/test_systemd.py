"""What the programs make of systemd's answers."""

from pathlib import Path

import pytest

from rke2_units.lean import systemd


def test_a_systemd_that_does_not_answer_in_time_says_nothing_about_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(systemd, "_TIMEOUT", 0.2)
    state = systemd.unit_state("any.service")
    # Neither down, which would end the waiting, nor done.
    assert not state.is_over
    assert state.may_still_act
