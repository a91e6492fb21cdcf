import pytest

from rke2_units.daemon import readiness
from rke2_units.model import UnitState
from rke2_units.unit_names import (
    API_PROXY_UNIT,
    APPLIER_UNIT,
    CONTAINERD_UNIT,
    CONTENT_UNIT,
    CONTROLLERS_UNIT,
    ETCD,
    ETCD_JOIN_UNIT,
    ETCDCTL_UNIT,
    KUBE_APISERVER,
    KUBE_PROXY,
    KUBE_SCHEDULER,
    KUBELET_UNIT,
    SUPERVISOR_SOCKET,
    SUPERVISOR_UNIT,
    component,
    static_pod_unit,
)
from rke2_units.unit_table import ALL_UNITS
from tests import plain_nodes

ETCD = static_pod_unit(ETCD)
APISERVER = static_pod_unit(KUBE_APISERVER)
UNITS = plain_nodes.started_units(plain_nodes.SERVER)


def states(**changes: tuple[str, str]) -> dict[str, UnitState]:
    """All units active, but for those named by their component (with _ for -): (active, sub)."""
    result = {unit: UnitState(unit, "loaded", "active", "running", "") for unit in UNITS}
    for name, (active, sub) in changes.items():
        unit = next(u for u in UNITS if component(u) == name.replace("_", "-"))
        result[unit] = UnitState(unit, "loaded", active, sub, "")
    return result


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"containerd": ("activating", "start")}, "waiting for containerd"),
        ({"kubelet": ("activating", "auto-restart")}, "waiting for kubelet to restart"),
        ({"etcd": ("activating", "start-pre")}, "waiting for etcd (image and dependencies)"),
        ({"etcd": ("activating", "start-post")}, "waiting for etcd (starting, not ready yet)"),
        ({"etcd": ("inactive", "dead")}, "waiting for etcd (unit not started yet)"),
        ({"images": ("activating", "start")}, "waiting for the node to register"),
        ({"helm_applier": ("activating", "start")}, "waiting for the node to register"),
        ({}, "waiting for the node to register"),
    ],
)
def test_a_start_says_what_it_waits_for(changes: dict[str, tuple[str, str]], phrase: str) -> None:
    assert readiness.waiting_for(states(**changes), UNITS) == phrase


def test_a_unit_with_a_job_that_systemd_has_not_begun_is_waited_for() -> None:
    queued = states()
    queued[ETCD] = UnitState(ETCD, "loaded", "active", "exited", "restart")
    assert not readiness.is_up(queued[ETCD])
    assert readiness.waiting_for(queued, UNITS) == "waiting for etcd (unit not started yet)"


def test_the_first_missing_unit_in_starting_order_is_named() -> None:
    both = states(etcd=("activating", "start-post"), kube_apiserver=("activating", "start-pre"))
    assert "etcd" in readiness.waiting_for(both, UNITS)


def test_a_server_that_has_etcd_alone_is_up_before_the_pods_that_need_an_api_server() -> None:
    units = [
        KUBELET_UNIT,
        ETCD,
        static_pod_unit(KUBE_PROXY),
        APPLIER_UNIT,
    ]
    assert readiness.needed(units, without_api=True) == units[:2]
    assert readiness.needed(units, without_api=False) == units[:3]


def test_nothing_fails_while_everything_runs_or_starts() -> None:
    starting = states(etcd=("activating", "start-post"))
    assert readiness.failure(starting, {KUBELET_UNIT: 1}, UNITS) is None


def test_a_failed_static_pod_fails_the_start() -> None:
    failure = readiness.failure(states(etcd=("failed", "failed")), {}, UNITS)
    assert failure is not None and failure.unit == ETCD


def test_a_failed_static_pod_that_is_about_to_be_started_again_does_not_fail_the_start() -> None:
    left = states()
    left[ETCD] = UnitState(ETCD, "loaded", "failed", "failed", "start")
    assert readiness.failure(left, {}, UNITS) is None


@pytest.mark.parametrize("name", ["images", "helm", "helm_applier"])
def test_what_holds_nothing_up_does_not_fail_the_start(name: str) -> None:
    failed = states(**{name: ("failed", "failed")})
    assert readiness.failure(failed, {APPLIER_UNIT: 9}, UNITS) is None
    assert readiness.health(failed, UNITS, set(), {}, {}) == f"degraded: {name.replace('_', '-')} failed"


def test_a_kubelet_that_ends_again_and_again_fails_the_start() -> None:
    looping = states(kubelet=("activating", "auto-restart"))
    restarts = {KUBELET_UNIT: readiness.RESTARTS_THAT_FAIL}
    failure = readiness.failure(looping, restarts, UNITS)
    assert failure is not None and failure.unit == KUBELET_UNIT
    assert readiness.failure(states(), restarts, UNITS) is None


@pytest.mark.parametrize("load", ["masked", "bad-setting", "error", "not-found"])
def test_a_unit_that_systemd_cannot_load_fails_the_start(load: str) -> None:
    broken = states()
    broken[ETCD] = UnitState(ETCD, load, "inactive", "dead", "")
    failure = readiness.failure(broken, {}, UNITS)
    assert failure is not None and load in failure.reason


def test_a_node_where_everything_answers_is_running() -> None:
    assert readiness.health(states(), UNITS, set(), {}, {}) == "running"


@pytest.mark.parametrize(
    ("changes", "stopped", "silent", "words"),
    [
        ({"kubelet": ("inactive", "dead")}, {KUBELET_UNIT}, {}, "kubelet was stopped by hand"),
        ({"etcd": ("failed", "failed")}, set(), {}, "etcd failed"),
        ({}, set(), {"kube-apiserver": "12:00:01"}, "kube-apiserver has not answered since 12:00:01"),
        ({"kubelet": ("activating", "auto-restart")}, set(), {}, "kubelet ended and is restarted"),
        ({"etcd": ("deactivating", "stop")}, set(), {}, "etcd is stopping"),
    ],
)
def test_a_node_with_a_trouble_is_degraded_and_says_by_what(
    changes: dict[str, tuple[str, str]], stopped: set[str], silent: dict[str, str], words: str
) -> None:
    assert readiness.health(states(**changes), UNITS, stopped, silent, {}) == f"degraded: {words}"


def test_a_failed_component_is_told_with_what_is_known_of_it() -> None:
    failed = states(etcd=("failed", "failed"))
    told = readiness.health(failed, UNITS, set(), {}, {ETCD: "no space left; attempt 2 at 12:00:01"})
    assert told == "degraded: etcd failed (no space left; attempt 2 at 12:00:01)"


def test_a_component_that_only_has_not_finished_starting_is_no_trouble() -> None:
    starting = states(kube_apiserver=("activating", "start-post"))
    assert readiness.health(starting, UNITS, set(), {}, {}) == "running, still starting: kube-apiserver"


@pytest.mark.parametrize(
    ("active", "job"), [("active", "restart"), ("deactivating", "restart"), ("inactive", "start")]
)
def test_a_component_that_is_being_restarted_is_starting(active: str, job: str) -> None:
    replaced = states()
    replaced[ETCD] = UnitState(ETCD, "loaded", active, "exited", job)
    assert readiness.health(replaced, UNITS, set(), {}, {}) == "running, still starting: etcd"


def test_pauses_grow_and_end_at_the_longest() -> None:
    pauses = [readiness.pause_before(count) for count in range(10)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0 and pauses[-1] == readiness.PAUSES[-1]


@pytest.mark.parametrize(
    ("missing", "changes", "stopped"),
    [
        ((), {}, []),
        ((CONTENT_UNIT,), {}, [CONTENT_UNIT]),
        (
            (CONTENT_UNIT, CONTAINERD_UNIT),
            {},
            [CONTAINERD_UNIT, CONTENT_UNIT],
        ),
        ((CONTAINERD_UNIT,), {"containerd": ("inactive", "dead")}, []),
        (
            (CONTAINERD_UNIT,),
            {"containerd": ("activating", "auto-restart")},
            [CONTAINERD_UNIT],
        ),
        ((ETCD,), {}, []),
    ],
)
def test_what_the_plan_has_no_longer_and_yet_runs_is_stopped(
    missing: tuple[str, ...], changes: dict[str, tuple[str, str]], stopped: list[str]
) -> None:
    wanted = [unit for unit in UNITS if unit not in missing]
    every = {unit: UnitState(unit, "loaded", "inactive", "dead", "") for unit in ALL_UNITS}
    assert readiness.unwanted(every | states(**changes), wanted) == stopped


def test_a_unit_that_is_on_its_way_out_is_named() -> None:
    gone = {unit: UnitState(unit, "loaded", "inactive", "dead", "") for unit in UNITS}
    scheduler = static_pod_unit(KUBE_SCHEDULER)
    assert readiness.stopping(gone) == ""
    for active, job in (("deactivating", "stop"), ("deactivating", ""), ("active", "stop")):
        going = {scheduler: UnitState(scheduler, "loaded", active, "", job)}
        assert readiness.stopping(gone | going) == "kube-scheduler"


def test_what_only_joining_nodes_have_is_stopped_when_they_have_it_no_longer() -> None:
    every = {unit: UnitState(unit, "loaded", "active", "running", "") for unit in ALL_UNITS}
    left = {
        SUPERVISOR_SOCKET,
        SUPERVISOR_UNIT,
        API_PROXY_UNIT,
        CONTROLLERS_UNIT,
        ETCDCTL_UNIT,
        ETCD_JOIN_UNIT,
    }
    stopped = readiness.unwanted(every, [unit for unit in ALL_UNITS if unit not in left])
    assert set(stopped) == left
    # A socket that is left would start its service again.
    assert stopped.index(SUPERVISOR_SOCKET) < stopped.index(SUPERVISOR_UNIT)
    assert readiness.unwanted(every, ALL_UNITS) == []
