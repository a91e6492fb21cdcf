"""What the commands of snapshots make of values: durations, tables, progress."""

import io
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.cli import progress, snapshot_list, snapshot_request, snapshot_verification
from rke2_units.cli.progress import Progress
from rke2_units.config import grammar
from rke2_units.errors import UserError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (1.25, "1.25s"),
        (60, "1m0s"),
        (90, "1m30s"),
        (300, "5m0s"),
        (3600, "1h0m0s"),
        (5400.5, "1h30m0.5s"),
        (360_000, "100h0m0s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(seconds: float, text: str) -> None:
    assert snapshot_request.duration(seconds) == text


@given(st.integers(0, 10**10))
def test_a_duration_is_read_as_what_was_written(milliseconds: int) -> None:
    text = snapshot_request.duration(milliseconds / 1000)
    assert round(grammar.duration(text) * 1000) == milliseconds


def item(name: str, created: object, size: object = "1") -> dict[str, object]:
    spec = {"snapshotName": name, "location": "l"}
    return {"metadata": {"name": name}, "spec": spec, "status": {"size": size, "creationTime": created}}


def test_rows_are_by_creation_then_by_name() -> None:
    items = [
        item("c", "2025-01-01T00:00:00Z"),
        item("b", "2025-01-01T00:00:01Z"),
        item("a", "2025-01-01T01:00:01+01:00"),
        item("d", None),
    ]
    lines = snapshot_list.text({"items": items}, "table").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["Name", "d", "c", "a", "b"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ("12M", "12000000"),
        ("1500m", "2"),
        ("4100Ki", "4198400"),
        (17, "17"),
        ("", "0"),
        (None, "0"),
        ("-1", "0"),
    ],
)
def test_a_size_is_in_bytes(size: object, shown: str) -> None:
    line = snapshot_list.text({"items": [item("a", None, size)]}, "table").splitlines()[1]
    assert line.split()[2] == shown


@pytest.mark.parametrize("items", ["a", {"a": 1}, [1], [[]], 7])
def test_what_is_no_list_is_an_error(items: object) -> None:
    with pytest.raises(UserError, match="not a list of snapshots"):
        snapshot_list.text({"items": items}, "table")


@given(st.lists(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON), max_size=4))
def test_any_items_make_a_line_each(items: list[dict[str, object]]) -> None:
    lines = snapshot_list.text({"items": items}, "table").split("\n")
    assert len(lines) == len(items) + 1
    assert all(line.isprintable() for line in lines)


@given(st.dictionaries(st.text() | st.sampled_from(["ok", "name", "kinds", "differences", "message"]), JSON))
def test_any_result_is_printable(verified: dict[str, object]) -> None:
    text = snapshot_verification.table(verified)
    assert all(line.isprintable() for line in text.split("\n"))
    assert ("NOT GOOD" in text) or verified.get("ok") is True


class Stream(io.StringIO):
    """Standard error; `written` is set with each text."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal
        self.written = threading.Event()

    def isatty(self) -> bool:
        return self._terminal

    def flush(self) -> None:
        if self.getvalue().count("s)") >= 2:
            self.written.set()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST", "_CHANGE", "_LINE"):
        monkeypatch.setattr(progress, name, 0.01)


def test_progress_is_one_line_of_a_terminal_that_goes(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("saving") as shown:
        shown.report("uploading\x1b[2J\n" + "x" * 500)
        assert stream.written.wait(10)
    text = stream.getvalue()
    assert "\n" not in text and "uploading [2J x" in text
    assert text.endswith("\r\x1b[K")
    assert max(map(len, text.split("\r\x1b[K"))) < 80


def test_progress_is_lines_elsewhere(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(terminal=False)
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("saving"):
        assert stream.written.wait(10)
    assert set(stream.getvalue().splitlines()) == {"saving (0 s)"}


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        stream = Stream(terminal=terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        with Progress("saving"):
            pass
        assert stream.getvalue() == ""


def test_work_goes_on_without_a_reader(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Stream):
        def write(self, text: str) -> int:
            self.written.set()
            raise BrokenPipeError

    stream = Closed(terminal=False)
    monkeypatch.setattr(sys, "stderr", stream)
    done: list[Any] = []
    with Progress("saving"):
        assert stream.written.wait(10)
        done.append(1)
    assert done
