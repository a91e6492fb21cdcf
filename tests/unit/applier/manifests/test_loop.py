"""The thread acts on changes of files at once, and only while this process may."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
