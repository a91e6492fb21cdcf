from pathlib import Path
from typing import Any, cast

import pytest

from rke2_units import layout, unit_names
from rke2_units.daemon import units
from rke2_units.programs import static_pod
from tests.unit.daemon.fake_systemd import FakeSystemd

SOCKET, SERVICE = unit_names.SUPERVISOR_SOCKET, unit_names.SUPERVISOR_UNIT
FREE = [("stop", SERVICE), ("wait", SERVICE), ("restart", SOCKET)]


@pytest.mark.parametrize(
    ("socket", "service", "changed", "does"),
    [
        ("active", "active", False, []),
        ("active", "inactive", False, []),
        ("inactive", "inactive", False, [("restart", SOCKET)]),
        ("active", "active", True, FREE),
        ("failed", "active", False, FREE),
        ("inactive", "failed", False, FREE),
    ],
)
def test_a_socket_is_started_while_its_service_does_not_run(
    socket: str, service: str, changed: bool, does: list[tuple[str, str]]
) -> None:
    systemd = FakeSystemd()
    systemd[SOCKET].active, systemd[SERVICE].active = socket, service
    units.start_socket(cast(Any, systemd), SOCKET, changed)
    assert systemd.did == does


@pytest.mark.parametrize(
    ("active", "changed", "restarted"),
    [("active", False, False), ("active", True, True), ("inactive", False, True), ("failed", False, True)],
)
def test_a_timer_that_waits_is_left_alone_until_its_unit_changes(
    active: str, changed: bool, restarted: bool
) -> None:
    systemd = FakeSystemd()
    systemd["x.timer"].active = active
    units.start_timer(cast(Any, systemd), "x.timer", changed)
    assert systemd.did == ([("restart", "x.timer")] if restarted else [])


ETCD = unit_names.static_pod_unit("etcd")
ANEW = [("stop", ETCD), ("wait", ETCD), ("start", ETCD)]


@pytest.mark.parametrize(
    ("state", "manifest", "does"),
    [
        (("active", "exited"), "wanted", []),
        (("active", "exited"), "outdated", [("restart", ETCD)]),
        (("inactive", "dead"), "outdated", [("start", ETCD)]),
        (("failed", "failed"), "outdated", [("start", ETCD)]),
        (("deactivating", "stop-post"), "outdated", [("start", ETCD)]),
        # It waits for the pod of an older manifest, which will never be ready.
        (("activating", "start-post"), "outdated", ANEW),
        (("activating", "start-post"), "", ANEW),
        (("activating", "start"), "outdated", ANEW),
        # It pulls an image, perhaps from a registry that is no longer the one.
        (("activating", "start-pre"), "outdated", ANEW),
        (("activating", "start-pre"), "wanted", ANEW),
        # A daemon that was killed in the middle of a start goes on with it.
        (("activating", "start-post"), "wanted", [("start", ETCD)]),
    ],
)
def test_a_static_pods_unit_that_is_starting_what_is_outdated_begins_anew_and_its_pod_stays(
    run_folder: Path, state: tuple[str, str], manifest: str, does: list[tuple[str, str]]
) -> None:
    paths = layout.Paths(str(run_folder))
    for path, text in ((paths.staged_manifest("etcd"), "wanted"), (paths.manifest("etcd"), manifest)):
        if text:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
    systemd = FakeSystemd()
    systemd[ETCD].be(state)
    stays: list[bool] = []
    systemd.on_stop = lambda unit: stays.append(static_pod._daemon_stops())
    units.end_outdated_starts(cast(Any, systemd), paths, ["etcd"])
    units.start_static_pod(cast(Any, systemd), paths, ETCD)
    assert systemd.did == does
    assert stays == ([True] if does == ANEW else [])
    assert not static_pod._daemon_stops()


def test_restarts_are_counted_from_the_moment_that_they_are_remembered() -> None:
    systemd = FakeSystemd()
    systemd.run("a.service")
    systemd["a.service"].restarts = 3
    restarts = units.Restarts(cast(Any, systemd))
    restarts.remember(["a.service", "b.service"])
    systemd.end("a.service")
    # systemd has forgotten the other one.
    assert restarts.count(systemd.states(["a.service", "b.service"])) == {"a.service": 1}
    systemd.restart("a.service")
    systemd.step()
    systemd.end("a.service")
    # A job began it anew, and its counter.
    assert restarts.count(systemd.states(["a.service"])) == {"a.service": 0}
    systemd.end("a.service")
    assert restarts.count(systemd.states(["a.service"])) == {"a.service": 1}
