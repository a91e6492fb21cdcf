"""charts.json tells how every chart is."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from rke2_units.applier.charts.states import State, States
from rke2_units.lean import chart_states


def read(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "charts.json").read_text())
    return found


def test_the_file_holds_every_chart_in_order(tmp_path: Path) -> None:
    board = States(str(tmp_path))
    board.set(("n", "b"), state=chart_states.FAILED, words="no", failures=2)
    board.set(("n", "a"), state=chart_states.DEPLOYED, since=5.0, deployed="1.0.0", revision=3)
    assert [chart["name"] for chart in read(tmp_path)] == ["a", "b"]
    first, second = read(tmp_path)
    assert (first["state"], first["since"], first["revision"]) == ("deployed", 5.0, 3)
    assert (second["words"], second["failures"]) == ("no", 2)
    assert stat.S_IMODE((tmp_path / "charts.json").stat().st_mode) == 0o600
    board.forget(("n", "a"))
    assert [chart["name"] for chart in read(tmp_path)] == ["b"]
    board.clear()
    assert read(tmp_path) == []


def test_a_state_lasts_since_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.time", lambda: now)
    board = States(str(tmp_path))
    board.set(("n", "a"), state=chart_states.FAILED)
    now = 200.0
    board.set(("n", "a"), state=chart_states.FAILED, words="again")
    assert board.get(("n", "a")).since == 100.0
    board.set(("n", "a"), state=chart_states.GIVEN_UP)
    assert board.get(("n", "a")) == State("n", "a", state="given up", words="again", since=200.0)


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    board = States(str(tmp_path))
    board.set(("n", "a"), state=chart_states.DEPLOYED, since=5.0)
    (tmp_path / "charts.json").unlink()
    board.set(("n", "a"), state=chart_states.DEPLOYED, since=5.0)
    assert not (tmp_path / "charts.json").exists()


def test_a_file_that_cannot_be_written_keeps_nobody_from_working(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "charts.json").mkdir()
    States(str(tmp_path)).set(("n", "a"), state=chart_states.DEPLOYED)
    assert "charts.json" in capsys.readouterr().err
