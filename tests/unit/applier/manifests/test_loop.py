"""The thread acts on changes of files at once, and only while this process may."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rke2_units.applier.manifests import loop
from rke2_units.applier.manifests.loop import Manifests
from tests.unit.applier.manifests.cluster import Cluster

TEXT = '{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "{name}"}}}}'

ADDON = "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons/a"


def soon(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true at all; within which time is shown on a node."""
    give_up = time.monotonic() + 20.0
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.01)
    return condition()


@contextmanager
def running(cluster: Cluster, folder: Path, held: threading.Event) -> Iterator[Manifests]:
    manifests = Manifests(
        cluster.client(), cluster.discovery(), cluster.recorder(), held, folder=str(folder)
    )
    thread = threading.Thread(target=manifests.run)
    thread.start()
    try:
        yield manifests
    finally:
        manifests.stop()
        thread.join(5)
        assert not thread.is_alive()


def test_a_change_acts_and_rest_asks_nothing(tmp_path: Path) -> None:
    cluster, held = Cluster(), threading.Event()
    held.set()
    with running(cluster, tmp_path, held):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "a.yaml").write_text(TEXT.format(name="a"))
        assert soon(lambda: cluster.names("configmaps") == ["a"])
        assert soon(lambda: "checksum" in cluster.objects.get(ADDON, {}).get("spec", {}))
        time.sleep(0.3)
        cluster.calls.clear()
        time.sleep(0.5)
        assert cluster.calls == []
        (tmp_path / "sub" / "a.yaml").write_text("")
        assert soon(lambda: cluster.names("configmaps") == [])


def test_nothing_is_asked_or_done_while_another_server_acts(tmp_path: Path) -> None:
    cluster, held = Cluster(), threading.Event()
    (tmp_path / "a.yaml").write_text(TEXT.format(name="a"))
    with running(cluster, tmp_path, held):
        time.sleep(0.3)
        assert cluster.calls == []
        held.set()
        assert soon(lambda: cluster.names("configmaps") == ["a"])


def test_without_inotify_the_folder_is_looked_at_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(path: str) -> None:
        raise OSError(24, "Too many open files", "inotify_init1")

    monkeypatch.setattr(loop, "FolderWatch", none_left)
    monkeypatch.setattr(loop, "_UNWATCHED", 0.1)
    cluster, held = Cluster(), threading.Event()
    held.set()
    with running(cluster, tmp_path, held) as manifests:
        assert soon(lambda: any("cannot be watched" in problem for problem in manifests.problems()))
        (tmp_path / "a.yaml").write_text(TEXT.format(name="a"))
        assert soon(lambda: cluster.names("configmaps") == ["a"])
        # One that is left by somebody else is taken.
        monkeypatch.undo()
        assert soon(lambda: manifests.problems() == [])
