"""Charts are reconciled when they change, without waiting for each other, while the lease is held."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rke2_units.applier.charts import controller as module
from rke2_units.applier.charts import crds
from rke2_units.applier.charts.controller import Controller
from rke2_units.applier.charts.reconciler import Interrupted
from rke2_units.applier.charts.states import Key
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Event

Object = dict[str, Any]
CHARTS = "/apis/helm.cattle.io/v1/helmcharts"
CONFIGS = "/apis/helm.cattle.io/v1/helmchartconfigs"


def until(done: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.005)


class Api:
    """The client's part that the controller uses: definitions, and watches that tests feed."""

    def __init__(self) -> None:
        self.definitions: dict[str, Object] = {}
        self.patched: list[str] = []
        self.fails = 0
        self.watches: dict[str, queue.Queue[Event]] = {}

    def get(self, path: str) -> Object:
        if self.fails:
            self.fails -= 1
            raise ApiUnavailable("not yet")
        if path not in self.definitions:
            raise ApiError(404, "NotFound", "no")
        return self.definitions[path]

    def create(self, path: str, obj: Object) -> Object:
        metadata = {**obj["metadata"], "resourceVersion": "1"}
        status = {"conditions": [{"type": "Established", "status": "True"}]}
        created = {**obj, "metadata": metadata, "status": status}
        self.definitions[f"{path}/{metadata['name']}"] = created
        return created

    def merge_patch(self, path: str, patch: Object) -> Object:
        self.patched.append(path)
        self.definitions[path] = {**self.definitions[path], "spec": patch["spec"]}
        return self.definitions[path]

    def watch(self, path: str, *, stop: threading.Event, metadata_only: bool) -> Iterator[Event]:
        assert metadata_only
        events = self.watches.setdefault(path, queue.Queue())
        while not stop.is_set():
            with suppress(queue.Empty):
                yield events.get(timeout=0.02)

    def tell(self, path: str, name: str, kind: str = "MODIFIED", **metadata: Any) -> None:
        until(lambda: path in self.watches)
        obj = {"metadata": {"name": name, "namespace": "n", **metadata}}
        self.watches[path].put(Event(kind, obj))

    def chart(self, name: str, generation: int = 1, kind: str = "MODIFIED", **metadata: Any) -> None:
        self.tell(CHARTS, name, kind, generation=generation, **metadata)


class Work:
    """In the reconciler's place. `does`: what it does about a chart, by name."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.running: set[str] = set()
        self.does: dict[str, Callable[[threading.Event], float | None]] = {}
        self.refers: dict[str, frozenset[str]] = {}

    def reconcile(
        self, key: Key, stop: threading.Event, referenced: Callable[[frozenset[str]], None]
    ) -> float | None:
        name = key[1]
        self.calls.append(name)
        self.running.add(name)
        try:
            referenced(self.refers.get(name, frozenset()))
            return self.does[name](stop) if name in self.does else None
        finally:
            self.running.discard(name)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.api, self.work = Api(), Work()
        self.stop, self.held = threading.Event(), threading.Event()
        self.held.set()
        self.controller = Controller(
            self.api,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            self.held,
            helm="/helm",
            kubeconfig="/kubeconfig",
            work=str(folder),
            api_address="127.0.0.1:6443",
        )
        self.controller._states.set(("n", "a"), state="deployed")
        self.controller._reconciler = self.work  # type: ignore[assignment]
        self.thread = threading.Thread(target=self.controller.run, args=(self.stop,))

    def end(self) -> None:
        self.stop.set()
        if self.thread.ident is not None:
            self.thread.join(20)
            assert not self.thread.is_alive()

    def quiet(self) -> None:
        """Waits until nothing runs and nothing is due at once."""
        time.sleep(0.15)
        until(lambda: not self.work.running)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(module, "_SETTLE", 0.01)
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    found = Bench(tmp_path)
    yield found
    found.end()


@pytest.fixture
def started(here: Bench) -> Bench:
    here.thread.start()
    return here


def hangs(stop: threading.Event) -> None:
    assert stop.wait(20)
    raise Interrupted


def test_the_definitions_are_made_and_brought_up_to_date(here: Bench) -> None:
    older = {**crds.definitions()[1], "spec": {"versions": []}}
    here.api.create(crds.DEFINITIONS, older)
    here.api.fails = 1
    here.thread.start()
    until(lambda: CHARTS in here.api.watches)
    assert len(here.api.definitions) == 2
    assert here.api.patched == [f"{crds.DEFINITIONS}/helmchartconfigs.helm.cattle.io"]


def test_a_chart_is_reconciled_when_it_changes_and_not_when_its_status_does(started: Bench) -> None:
    started.api.chart("a", kind="ADDED")
    until(lambda: started.work.calls == ["a"])
    claimed = {"helmcharts.cattle.io/managed-by": "helm-controller"}
    started.api.chart("a", resourceVersion="9", annotations=claimed)
    started.quiet()
    assert started.work.calls == ["a"]
    started.api.chart("a", generation=2)
    until(lambda: started.work.calls == ["a", "a"])
    started.api.chart("a", generation=2, deletionTimestamp="now")
    until(lambda: len(started.work.calls) == 3)
    started.api.chart("a", kind="DELETED")
    until(lambda: len(started.work.calls) == 4)


def test_a_removed_mark_of_giving_up_is_a_change(started: Bench) -> None:
    started.api.chart("a", annotations={"rke2-units/given-up": "ABC"})
    until(lambda: started.work.calls == ["a"])
    started.quiet()
    started.api.chart("a")
    until(lambda: started.work.calls == ["a", "a"])


def test_a_chart_is_reconciled_when_its_configuration_changes_or_goes(started: Bench) -> None:
    started.api.tell(CONFIGS, "a", "ADDED", generation=1)
    until(lambda: started.work.calls == ["a"])
    started.api.tell(CONFIGS, "a", "DELETED", generation=1)
    until(lambda: started.work.calls == ["a", "a"])


def test_secrets_are_watched_for_the_charts_that_name_them(started: Bench) -> None:
    started.api.chart("b")
    until(lambda: started.work.calls == ["b"])
    started.quiet()
    assert set(started.api.watches) == {CHARTS, CONFIGS}
    started.work.refers["a"] = frozenset({"s"})
    started.api.chart("a")
    until(lambda: len(started.api.watches) == 3)
    (secrets,) = set(started.api.watches) - {CHARTS, CONFIGS}
    assert secrets == "/api/v1/secrets?fieldSelector=type%21%3Dhelm.sh/release.v1"
    started.quiet()
    started.api.tell(secrets, "other")
    started.api.tell(secrets, "s")
    until(lambda: started.work.calls == ["b", "a", "a"])
    started.quiet()
    assert started.work.calls == ["b", "a", "a"]


def test_nothing_is_begun_before_the_lease_is_held(here: Bench) -> None:
    here.held.clear()
    here.thread.start()
    here.api.chart("a")
    here.quiet()
    assert here.work.calls == []
    here.held.set()
    until(lambda: here.work.calls == ["a"])


def test_a_lost_lease_ends_what_runs_and_a_new_one_takes_it_up(started: Bench) -> None:
    started.work.does["a"] = hangs
    started.api.chart("a")
    until(lambda: started.work.running == {"a"})
    started.held.clear()
    until(lambda: not started.work.running)
    started.quiet()
    assert started.work.calls == ["a"]
    started.work.does.clear()
    started.held.set()
    until(lambda: started.work.calls == ["a", "a"])


def test_a_server_that_takes_over_again_looks_at_every_chart(started: Bench, tmp_path: Path) -> None:
    for name in "ab":
        started.api.chart(name)
    until(lambda: sorted(started.work.calls) == ["a", "b"])
    started.quiet()
    started.held.clear()
    started.api.chart("a", generation=2)
    until(lambda: json.loads((tmp_path / "charts.json").read_text()) == [])
    started.held.set()
    until(lambda: sorted(started.work.calls) == ["a", "a", "b", "b"])


def test_two_are_begun_at_a_time_and_one_that_takes_long_does_not_count(
    started: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        started.work.does[name] = hangs
        started.api.chart(name)
    until(lambda: len(started.work.running) == 2)
    time.sleep(0.2)
    assert len(started.work.running) == 2
    monkeypatch.setattr(module, "_LONG", 0.1)
    until(lambda: len(started.work.running) == 3)
    started.api.chart("d")
    until(lambda: "d" in started.work.calls)


def test_the_next_attempt_comes_when_it_is_due(started: Bench) -> None:
    pauses = iter([0.2, None])
    times: list[float] = []

    def fails(_: threading.Event) -> float | None:
        times.append(time.monotonic())
        return next(pauses)

    started.work.does["a"] = fails
    started.api.chart("a")
    until(lambda: len(times) == 2)
    assert 0.15 < times[1] - times[0] < 3
    started.quiet()
    assert len(times) == 2


def test_an_api_that_is_away_is_asked_again_and_does_not_hold_up_others(started: Bench) -> None:
    failures = [ApiUnavailable("away")]

    def fails(_: threading.Event) -> None:
        if failures:
            raise failures.pop()

    started.work.does["a"] = fails
    started.api.chart("a")
    started.api.chart("b")
    until(lambda: sorted(started.work.calls) == ["a", "a", "b"])


def test_a_fault_of_ours_is_told_and_does_not_hold_up_others(
    started: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: threading.Event) -> None:
        raise ZeroDivisionError("fault")

    started.work.does["a"] = fails
    started.api.chart("a")
    started.quiet()
    started.api.chart("b")
    until(lambda: started.work.calls == ["a", "b"])
    assert "chart n/a: Traceback" in capsys.readouterr().err


def test_a_change_while_it_runs_is_taken_up_afterwards(started: Bench) -> None:
    go = threading.Event()

    def waits(_: threading.Event) -> None:
        assert go.wait(10)

    started.work.does["a"] = waits
    started.api.chart("a")
    until(lambda: started.work.running == {"a"})
    started.api.chart("a", generation=2)
    started.api.chart("a", generation=3)
    time.sleep(0.1)
    go.set()
    until(lambda: started.work.calls == ["a", "a"])
    started.quiet()
    assert started.work.calls == ["a", "a"]


def test_one_that_runs_on_after_a_change_is_ended(started: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.1)
    started.work.does["a"] = hangs
    started.api.chart("a")
    until(lambda: started.work.running == {"a"})
    started.api.chart("a", generation=2)
    until(lambda: started.work.calls[:2] == ["a", "a"])


def test_at_the_end_what_runs_gets_some_time_and_is_then_ended(
    started: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    ended: list[float] = []

    def lasts(stop: threading.Event) -> None:
        stop.wait(20)
        ended.append(time.monotonic())
        raise Interrupted

    started.work.does["a"] = lasts
    started.api.chart("a")
    until(lambda: started.work.running == {"a"})
    began = time.monotonic()
    started.end()
    assert ended
    assert 0.2 < ended[0] - began < 5


def test_it_ends_while_the_api_has_never_been_there(here: Bench) -> None:
    here.api.fails = 1000
    here.thread.start()
    time.sleep(0.1)
    began = time.monotonic()
    here.end()
    assert time.monotonic() - began < 2
