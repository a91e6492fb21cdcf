"""One start of a node and what comes after it, on a systemd without processes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rke2_units import layout
from rke2_units.daemon import kept_state, limits, node_daemon, readiness, units
from rke2_units.daemon.node_daemon import (
    FOREIGN_CONTAINERD_TIMEOUT,
    REGISTRATION_TIMEOUT,
    NodeDaemon,
    StartFailed,
)
from rke2_units.daemon.preparation import Prepared, Servers
from rke2_units.daemon.retries import PAUSES
from rke2_units.doors import journal
from rke2_units.errors import UserError
from rke2_units.images import image_store
from rke2_units.layout import Paths
from rke2_units.lean import http
from rke2_units.lean import settings as program_settings
from rke2_units.model import File, Plan, ServerList, UnitState
from rke2_units.node import causes, foreign_containerd
from rke2_units.programs import static_pod
from rke2_units.unit_names import (
    API_PROXY_UNIT,
    APPLIER_UNIT,
    CONTAINERD_UNIT,
    CONTENT_UNIT,
    CONTROLLERS_UNIT,
    ETCD,
    ETCD_JOIN_UNIT,
    ETCDCTL_UNIT,
    HELM_UNIT,
    IMAGES_UNIT,
    KUBE_APISERVER,
    KUBE_PROXY,
    KUBE_SCHEDULER,
    KUBELET_UNIT,
    SNAPSHOT_RECONCILE_UNIT,
    SNAPSHOT_REQUEST_SOCKET,
    SNAPSHOT_TIMER,
    SNAPSHOT_UNIT,
    SNAPSHOT_VERIFY_UNIT,
    STATIC_PODS,
    SUPERVISOR_SOCKET,
    Role,
    static_pod_of,
    static_pod_unit,
)
from rke2_units.unit_table import ALL_UNITS, PROCESSES, STOPPING_ORDER, UNITS, Start, Unit, stopping_order
from tests import plain_nodes
from tests.unit.daemon.fake_systemd import FAILED, RUNNING, FakeEvents, FakeSystemd, State

ETCD_UNIT, APISERVER_UNIT = static_pod_unit(ETCD), static_pod_unit(KUBE_APISERVER)
SCHEDULER_UNIT = static_pod_unit(KUBE_SCHEDULER)
POD_STARTS: Sequence[State] = (
    ("activating", "start-pre"),
    ("activating", "start"),
    ("activating", "start-post"),
    ("active", "exited"),
)
RUNS_ONCE: Sequence[State] = (("activating", "start"), ("active", "exited"))
SERVER = replace(plain_nodes.SERVER, components=STATIC_PODS)
ON_A_SERVER = plain_nodes.started_units(SERVER)
JOINING = plain_nodes.started_units(
    replace(SERVER, joins_etcd=True, components=(), takes_helm_from_image=False)
)
TIMER = Unit("rke2-daily.timer", Start.TIMER, has=lambda node: True, waits=None, values=())
SNAPSHOT_SERVICES = (SNAPSHOT_UNIT, SNAPSHOT_RECONCILE_UNIT, SNAPSHOT_VERIFY_UNIT)
DAILY = Unit("rke2-daily.service", Start.NOT_BY_DAEMON, has=lambda node: True, waits=None, values=())


class FakeHealth:
    """Instead of rke2_units.daemon.health.Health: the node is registered as soon as it is asked for."""

    registers = True
    api_is_ready = True
    silent: dict[str, str] = {}

    def __init__(
        self,
        checks: object,
        api: str,
        node_url: str,
        identity: object,
        changed: Callable[[], None],
        annotations: object,
    ) -> None:
        self.registered = False
        self._changed = changed

    def ask_for_registration(self) -> None:
        if self.registers and not self.registered:
            self.registered = True
            self._changed()


class NodeUnderTest:
    """A node whose daemon runs on a systemd without processes; `plans` are what its preparations give."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(str(folder / "data"))
        self.systemd = FakeSystemd()
        self.events = FakeEvents(self.systemd)
        self.status: list[str] = []
        self.ready = False
        self.log: list[str] = []
        self.plans: list[Prepared] = []
        self.digests: dict[int, str] = {}
        self.systemd.on_start = self._started
        for unit in UNITS:
            if unit.start is Start.POD:
                self.systemd[unit.name].starts = POD_STARTS
                self.stage(static_pod_of(unit.name), "a manifest")
            elif unit.start is Start.RUN_AGAIN:
                self.systemd[unit.name].starts = RUNS_ONCE
        self.stage_content("v1")

    def stage(self, component: str, manifest: str) -> None:
        path = Path(self.paths.staged_manifest(component))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest)

    def place(self, component: str) -> None:
        path = Path(self.paths.manifest(component))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(self.paths.staged_manifest(component)).read_bytes())

    def stage_content(self, name: str) -> None:
        folder = Path(self.paths.content_directory(name))
        (folder / "bin").mkdir(parents=True)
        (folder / ".extracted").touch()
        Path(self.paths.bin).unlink(missing_ok=True)
        Path(self.paths.bin).symlink_to(folder / "bin")

    def plan(
        self, wanted: Sequence[str] = ON_A_SERVER, *, more: Sequence[str] = (), **changes: Any
    ) -> Prepared:
        """What a preparation gives; `more` are units that the daemon does not start."""
        role = Role.SERVER
        prepared = Prepared(
            plan=Plan(role, (), (), tuple(wanted), role.unit, all_units=(*wanted, *more)),
            paths=self.paths,
            content_directory="v1",
            foreign_containerd="",
            warnings=(),
            static_pods=tuple(pod for pod in STATIC_PODS if static_pod_unit(pod) in wanted),
            digests={unit: f"digest of {unit}" for unit in PROCESSES if unit in wanted},
            health_checks={},
            api=KUBE_APISERVER,
            node_url="",
            identity=http.Identity("", "", ""),
            annotations={},
        )
        return replace(prepared, **changes)

    def runs(self, *names: str) -> None:
        """These units run already, with what the plan says."""
        self.systemd.run(*names)
        for name in names:
            self._started(name)
            kept_state.remember_handed_on(f"{layout.UNIT_DIRECTORY}/{name}")

    def daemon(self) -> NodeDaemon:
        return NodeDaemon(Role.SERVER, cast(Any, self.systemd))

    def live(self, *then: Callable[[], None], lasts: float = 0.0) -> None:
        """Have a daemon live: each of `then` is done when nothing happens any more; SIGTERM comes last."""
        self.events.then = list(then)
        self.events.lasts = lasts
        self.systemd.did.clear()
        self.daemon().run()

    def _started(self, name: str) -> None:
        self.digests[self.systemd[name].pid] = f"digest of {name}"
        if pod := static_pod_of(name):
            self.place(pod)


@pytest.fixture
def node(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    node = NodeUnderTest(run_folder)
    plan = node.plan()

    def prepare(*arguments: object, **options: object) -> Prepared:
        return node.plans.pop(0) if node.plans else plan

    def notify(**fields: str | int) -> None:
        node.ready |= "READY" in fields
        node.status += [str(fields["STATUS"])] if "STATUS" in fields else []

    monkeypatch.setattr(node_daemon, "prepare", prepare)
    monkeypatch.setattr(node_daemon, "Events", lambda systemd: node.events)
    monkeypatch.setattr(node_daemon, "Health", FakeHealth)
    monkeypatch.setattr(units, "running_digest", lambda pid: node.digests.get(pid, ""))
    monkeypatch.setattr(causes, "log_since", lambda unit, since=0: [f"the last words of {unit}"])
    monkeypatch.setattr(image_store, "forget_present", lambda: None)
    monkeypatch.setattr(journal, "notify", notify)
    monkeypatch.setattr(journal, "log", lambda level, message, **fields: node.log.append(message))
    monkeypatch.setattr(time, "monotonic", lambda: node.events.now)
    return node


def test_a_start_starts_every_unit_in_the_order_of_the_table(node: NodeUnderTest) -> None:
    node.live()
    assert node.systemd.started() == list(ON_A_SERVER)
    assert node.ready
    assert "running" in node.status


def test_every_row_of_the_table_is_started_by_the_daemon_or_by_another_unit(node: NodeUnderTest) -> None:
    started: set[str] = set()
    for wanted in (ON_A_SERVER, JOINING, (API_PROXY_UNIT, KUBELET_UNIT)):
        node.plans = [node.plan(wanted), node.plan()]
        node.live()
        started |= set(node.systemd.started())
    by_others = (Start.NOT_BY_DAEMON, Start.INSTANCES)
    assert started == {unit.name for unit in UNITS if unit.start not in by_others}


@pytest.mark.parametrize("wanted", [ON_A_SERVER, JOINING])
def test_a_unit_that_nobody_starts_fails_the_start_in_time(
    node: NodeUnderTest, wanted: Sequence[str]
) -> None:
    node.plans = [node.plan((*wanted, "rke2-forgotten.service"))]
    # etcd's other members take their time.
    node.systemd[ETCD_JOIN_UNIT].starts = (("activating", "start"),)
    with pytest.raises(StartFailed, match=r"^forgotten does not start: nothing has started it within 30 s"):
        node.live(lasts=limits.IDLE + 10)
    assert not node.ready


def test_a_unit_that_is_stopped_by_hand_during_a_start_ends_it_in_time(node: NodeUnderTest) -> None:
    node.systemd[ETCD_UNIT].starts = POD_STARTS[:2]

    def stop_kubelet() -> None:
        node.systemd[KUBELET_UNIT].be(("inactive", "dead"))

    with pytest.raises(StartFailed, match="kubelet does not start: nothing has started it"):
        node.live(stop_kubelet, lasts=limits.IDLE + 10)


def test_a_socket_that_does_not_open_fails_the_start_in_time(node: NodeUnderTest) -> None:
    node.systemd[SUPERVISOR_SOCKET].starts = (("activating", "start-pre"),)
    with pytest.raises(StartFailed, match="supervisor does not start: it has not started within 30 s"):
        node.live(lasts=60)


@pytest.mark.parametrize(
    ("unit", "state", "waits_for"),
    [
        (CONTENT_UNIT, ("activating", "start"), "content"),
        (CONTAINERD_UNIT, ("activating", "start"), "containerd"),
        (KUBELET_UNIT, ("activating", "auto-restart"), "kubelet to restart"),
        (ETCD_UNIT, ("activating", "start-pre"), "etcd (image and dependencies)"),
        (ETCD_UNIT, ("activating", "start"), "etcd (manifest)"),
        (ETCD_UNIT, ("activating", "start-post"), "etcd (starting, not ready yet)"),
    ],
)
def test_a_start_says_what_it_waits_for_and_leaves_the_limit_to_who_is_at_work(
    node: NodeUnderTest, unit: str, state: State, waits_for: str
) -> None:
    node.systemd[unit].starts = (state,)
    node.live(lasts=3600)
    assert node.status[-2] == f"starting: waiting for {waits_for}"
    assert not node.ready


def test_a_component_that_fails_fails_the_start_with_its_last_words(node: NodeUnderTest) -> None:
    node.systemd[APISERVER_UNIT].starts = (*POD_STARTS[:3], FAILED)
    with pytest.raises(StartFailed) as raised:
        node.live()
    assert raised.value.message == f"kube-apiserver does not start: the last words of {APISERVER_UNIT}"
    assert raised.value.hint == f"journalctl -u {APISERVER_UNIT}"
    assert kept_state.failed_attempts({}) == (1, raised.value.message)
    # Everything else goes on running.
    assert node.systemd.asked("stop") == []


@pytest.mark.parametrize("unit", [IMAGES_UNIT, HELM_UNIT, CONTROLLERS_UNIT, APPLIER_UNIT, ETCDCTL_UNIT])
def test_a_node_is_up_without_what_holds_nothing_up(node: NodeUnderTest, unit: str) -> None:
    node.systemd[unit].starts = (FAILED,)
    node.live()
    assert node.ready


def test_a_process_that_ends_again_and_again_fails_the_start(node: NodeUnderTest) -> None:
    node.systemd[KUBELET_UNIT].starts = (("activating", "start"),)
    ends = [lambda: node.systemd.end(KUBELET_UNIT)] * readiness.RESTARTS_THAT_FAIL
    with pytest.raises(StartFailed, match="kubelet does not start: it ended 4 times in a row"):
        node.live(*ends)


def test_a_unit_that_systemd_cannot_load_fails_the_start(node: NodeUnderTest) -> None:
    node.systemd[CONTAINERD_UNIT].load = "masked"
    with pytest.raises(StartFailed, match=r"containerd does not start: systemd cannot load it \(masked\)"):
        node.live()


def test_the_next_attempt_begins_after_a_pause_and_starts_what_failed(node: NodeUnderTest) -> None:
    node.systemd[ETCD_UNIT].starts = (FAILED,)
    for number in (1, 2):
        began = node.events.now
        with pytest.raises(StartFailed):
            node.live()
        assert node.events.now - began >= readiness.pause_before(number - 1)
        node.systemd[Role.SERVER.unit].restarts = number
    node.systemd[ETCD_UNIT].starts = POD_STARTS
    node.live()
    assert any(text.startswith("attempt 3 at") for text in node.status)
    assert any(text.startswith("starting, attempt 3: waiting for ") for text in node.status)
    assert node.ready
    assert kept_state.failed_attempts({}) == (0, "")


def test_what_runs_with_what_the_plan_says_is_left_alone(node: NodeUnderTest) -> None:
    node.runs(*ON_A_SERVER)
    node.live()
    # What runs at each start does so again.
    assert node.systemd.started() == [IMAGES_UNIT, ETCDCTL_UNIT, HELM_UNIT]


def test_a_process_is_restarted_when_its_digest_is_another(node: NodeUnderTest) -> None:
    node.runs(*ON_A_SERVER)
    node.digests[node.systemd[KUBELET_UNIT].pid] = "another"
    node.stage(KUBE_SCHEDULER, "another manifest")
    node.live()
    assert node.systemd.started() == [KUBELET_UNIT, IMAGES_UNIT, ETCDCTL_UNIT, SCHEDULER_UNIT, HELM_UNIT]


def test_what_the_plan_has_no_longer_is_stopped_before_the_node_is_up(node: NodeUnderTest) -> None:
    node.runs(*ALL_UNITS)
    node.systemd[CONTROLLERS_UNIT].be(FAILED)
    left = (API_PROXY_UNIT, CONTROLLERS_UNIT, ETCD_JOIN_UNIT, SCHEDULER_UNIT)
    node.plans = [node.plan([unit for unit in ALL_UNITS if unit not in left])]
    states: list[UnitState] = []
    node.live(lambda: states.extend(node.systemd.states(left).values()))
    assert {state.active for state in states} == {"inactive"}
    assert ("reset-failed", CONTROLLERS_UNIT) in node.systemd.did
    assert any(text.endswith(" to stop") for text in node.status)


def test_the_proxy_waits_for_the_pod_whose_port_it_gets(node: NodeUnderTest) -> None:
    node.runs(APISERVER_UNIT)
    node.plans = [node.plan((API_PROXY_UNIT, KUBELET_UNIT), api_elsewhere=True)]
    stopped: list[str] = []
    node.systemd.on_stop = lambda unit: stopped.append(f"{unit} before {node.systemd.started()}")
    node.live()
    assert stopped[0] == f"{APISERVER_UNIT} before []"
    assert "starting: waiting for kube-apiserver to stop" in node.status


def test_a_proxy_that_runs_is_given_another_list_of_servers_by_a_reload(node: NodeUnderTest) -> None:
    wanted = (API_PROXY_UNIT, KUBELET_UNIT)
    node.plans = [node.plan(wanted), node.plan(wanted)]
    node.runs(*wanted)
    node.live()
    assert node.systemd.asked("reload") == [API_PROXY_UNIT]
    node.runs(*wanted)
    node.live()
    assert node.systemd.asked("reload") == []


def test_a_node_follows_the_servers_that_there_are(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    news = [ServerList(servers=("192.0.2.8:9345",)), None]
    watch = SimpleNamespace(take=lambda: news.pop(0) if news else None)
    monkeypatch.setattr(node_daemon, "ServerWatch", lambda *arguments: watch)
    path = str(Path(node.paths.agent) / "servers")

    def files(known: ServerList) -> Sequence[File]:
        return [File(path, str(known.servers))]

    servers = Servers(cast(Any, None), ServerList(), files)
    node.plans = [node.plan((API_PROXY_UNIT, KUBELET_UNIT), servers=servers)]
    node.live()
    assert Path(path).read_text() == "('192.0.2.8:9345',)"
    assert "the cluster's servers are now 192.0.2.8:9345" in node.log


def test_a_server_joins_etcd_before_its_kubelet_starts(node: NodeUnderTest) -> None:
    node.systemd[ETCD_JOIN_UNIT].starts = (("activating", "start"), ("active", "exited"))
    node.systemd[ETCD_JOIN_UNIT].text = "waiting for node0"
    node.plans = [node.plan(JOINING, more=(KUBELET_UNIT,)), node.plan()]
    node.live()
    started = node.systemd.started()
    assert started.index(ETCD_JOIN_UNIT) < started.index(KUBELET_UNIT)
    assert "starting: joining: waiting for node0" in node.status
    assert node.ready
    # It has left the plan.
    assert ETCD_JOIN_UNIT in node.systemd.asked("stop")


def test_a_kubelet_of_before_goes_on_while_its_server_joins(node: NodeUnderTest) -> None:
    node.runs(KUBELET_UNIT)
    node.systemd[ETCD_JOIN_UNIT].starts = (("activating", "start"),)
    node.plans = [node.plan(JOINING, more=(KUBELET_UNIT,))]
    active: list[str] = []
    node.live(lambda: active.append(node.systemd[KUBELET_UNIT].active))
    assert active == ["active"]


def test_a_server_that_is_to_join_needs_etcdctl(node: NodeUnderTest) -> None:
    node.systemd[ETCDCTL_UNIT].starts = (FAILED,)
    node.systemd[ETCD_JOIN_UNIT].starts = (("activating", "start"),)
    node.plans = [node.plan(JOINING)]
    with pytest.raises(StartFailed, match="etcdctl does not start: the last words of rke2-etcdctl"):
        node.live()


def test_a_server_that_joins_again_starts_an_etcdctl_that_was_stopped_by_hand(node: NodeUnderTest) -> None:
    node.systemd[Role.SERVER.unit].restarts = 1
    kept_state.remember_stopped_by_hand({ETCDCTL_UNIT})
    node.systemd[ETCD_JOIN_UNIT].starts = (("activating", "start"), ("active", "exited"))
    node.plans = [node.plan(JOINING), node.plan()]
    node.live()
    assert ETCDCTL_UNIT in node.systemd.started()
    assert node.ready


def test_a_containerd_of_somebody_elses_is_waited_for_but_not_for_ever(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_settings, "read", lambda path: None)
    monkeypatch.setattr(
        foreign_containerd, "waiting_for", lambda settings: "the containerd behind /run/c.sock"
    )
    wanted = [unit for unit in ON_A_SERVER if unit != CONTAINERD_UNIT]
    node.plans = [node.plan(wanted, foreign_containerd="/run/c.sock")]
    with pytest.raises(StartFailed, match="the containerd behind /run/c.sock"):
        node.live(lasts=FOREIGN_CONTAINERD_TIMEOUT + 10)
    assert "starting: waiting for the containerd behind /run/c.sock" in node.status
    assert KUBELET_UNIT not in node.systemd.started()


def test_a_node_that_is_never_registered_fails_its_start(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeHealth, "registers", False)
    with pytest.raises(StartFailed, match="kubelet does not start: it has not registered this node"):
        node.live(lasts=REGISTRATION_TIMEOUT + 10)
    assert "starting: waiting for the node to register" in node.status


def test_a_server_with_etcd_alone_is_up_before_there_is_an_api(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeHealth, "registers", False)
    proxy = static_pod_unit(KUBE_PROXY)
    node.systemd[proxy].starts = POD_STARTS[:1]
    wanted = (API_PROXY_UNIT, CONTAINERD_UNIT, KUBELET_UNIT, ETCD_UNIT, proxy)
    node.plans = [node.plan(wanted, api_elsewhere=True, up_without_api=True)]
    node.live()
    assert node.ready
    assert "running, still starting: kube-proxy" in node.status


def test_a_component_that_fails_beside_a_running_node_is_started_again_after_a_pause(
    node: NodeUnderTest,
) -> None:
    scheduler = node.systemd[SCHEDULER_UNIT]
    node.live(lambda: scheduler.be(FAILED), lasts=PAUSES[0] + 120)
    degraded = [text for text in node.status if text.startswith("degraded")]
    assert degraded[0].startswith(
        f"degraded: kube-scheduler failed (the last words of {SCHEDULER_UNIT}; attempt 2 at "
    )
    assert node.systemd.started()[-1] == SCHEDULER_UNIT
    assert "running" in node.status[node.status.index(degraded[0]) :]


def test_a_kubelet_that_is_killed_is_told_of_until_it_runs_again(node: NodeUnderTest) -> None:
    node.live(lambda: node.systemd.end(KUBELET_UNIT))
    ended = node.status.index("degraded: kubelet ended and is restarted")
    assert "running" in node.status[ended:]


def test_a_containerd_that_is_killed_brings_the_whole_node_up_again(node: NodeUnderTest) -> None:
    with pytest.raises(UserError, match="rke2-containerd.service ended unexpectedly"):
        node.live(lambda: node.systemd.end(CONTAINERD_UNIT))
    # It is no failed attempt: the next one begins at once.
    assert kept_state.failed_attempts({}) == (0, "")


def test_a_unit_that_is_stopped_by_hand_stays_stopped_until_the_node_is_started_by_hand(
    node: NodeUnderTest,
) -> None:
    def killed() -> None:
        raise UserError("killed")

    with pytest.raises(UserError, match="killed"):
        node.live(lambda: node.systemd.stop(SCHEDULER_UNIT), lambda: None, killed)
    assert node.status[-1] == "degraded: kube-scheduler was stopped by hand"
    assert f"{SCHEDULER_UNIT} was stopped by hand and stays stopped" in node.log
    node.systemd[Role.SERVER.unit].restarts = 1
    with pytest.raises(UserError, match="killed"):
        node.live(lambda: None, killed)
    assert SCHEDULER_UNIT not in node.systemd.started()
    assert node.status[-1] == "degraded: kube-scheduler was stopped by hand"
    node.systemd[Role.SERVER.unit].restarts = 0
    node.live()
    assert SCHEDULER_UNIT in node.systemd.started()


def test_a_stop_stops_all_units_in_the_reverse_order_and_leaves_the_pods(node: NodeUnderTest) -> None:
    stays: list[bool] = []
    node.systemd.on_stop = lambda unit: stays.append(static_pod._daemon_stops())
    node.live()
    stopped = node.systemd.asked("stop")
    assert stopped == [unit for unit in STOPPING_ORDER if unit in ON_A_SERVER]
    assert stays == [True] * len(stopped)
    assert not static_pod._daemon_stops()
    assert {unit.active for unit in node.systemd.units.values()} == {"inactive"}
    assert node.status[-1] == "stopping the node's units; pods keep running"


def test_a_unit_that_does_not_stop_in_time_is_named(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.systemd, "wait_until", lambda units, settled, timeout: [KUBELET_UNIT])
    with pytest.raises(UserError, match="did not stop within 18 s: rke2-kubelet.service"):
        node.live()


def test_a_restart_of_the_node_leaves_its_units_to_the_next_daemon(node: NodeUnderTest) -> None:
    def restart() -> None:
        node.systemd.units[Role.SERVER.unit].job = "restart"

    node.systemd[Role.SERVER.unit].be(RUNNING)
    node.live(restart)
    assert node.systemd.asked("stop") == []
    assert node.status[-1] == "restarting; the node's units keep running"


def test_a_schedule_that_is_turned_off_ends_and_requests_go_on(node: NodeUnderTest) -> None:
    node.runs(*ON_A_SERVER)
    node.systemd.run(SNAPSHOT_UNIT)
    left = [unit for unit in ON_A_SERVER if unit != SNAPSHOT_TIMER]
    node.plans = [node.plan(left, more=SNAPSHOT_SERVICES)]
    states: list[UnitState] = []
    node.live(
        lambda: states.extend(
            node.systemd.states((SNAPSHOT_TIMER, SNAPSHOT_UNIT, SNAPSHOT_REQUEST_SOCKET)).values()
        )
    )
    # What the timer has started is not in its way.
    assert [state.active for state in states] == ["inactive", "active", "active"]
    assert SNAPSHOT_TIMER not in node.systemd.started()


def test_whatever_works_on_snapshots_is_stopped_with_the_node_before_its_etcd(node: NodeUnderTest) -> None:
    node.plans = [node.plan(ON_A_SERVER, more=SNAPSHOT_SERVICES)]
    node.live(lambda: node.systemd.run(*SNAPSHOT_SERVICES))
    stopped = node.systemd.asked("stop")
    assert set(SNAPSHOT_SERVICES) < set(stopped)
    for name in SNAPSHOT_SERVICES:
        assert stopped.index(name) < stopped.index(ETCD_UNIT)
    # The one would start the other.
    assert stopped.index(SNAPSHOT_UNIT) < stopped.index(SNAPSHOT_VERIFY_UNIT)
    assert {unit.active for unit in node.systemd.units.values()} == {"inactive"}


def test_a_changed_socket_of_requests_is_restarted_with_its_instances(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.runs(*ON_A_SERVER)
    is_news = kept_state.is_news
    monkeypatch.setattr(
        kept_state, "is_news", lambda path: path.endswith(SNAPSHOT_REQUEST_SOCKET) or is_news(path)
    )
    node.live()
    assert node.systemd.asked("restart")[0] == SNAPSHOT_REQUEST_SOCKET
    assert SUPERVISOR_SOCKET not in node.systemd.started()


@pytest.fixture
def with_timer(node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch) -> NodeUnderTest:
    """A table that ends with a timer and what that starts, and a node that has both."""
    rows = (*UNITS, DAILY, TIMER)
    monkeypatch.setattr(node_daemon, "UNITS", rows)
    monkeypatch.setattr(node_daemon, "ALL_UNITS", tuple(row.name for row in rows))
    monkeypatch.setattr(node_daemon, "STOPPING_ORDER", stopping_order(rows))
    monkeypatch.setattr(readiness, "STOPPING_ORDER", stopping_order(rows))
    monkeypatch.setattr(readiness, "HOLDS_NOTHING_UP", {row.name for row in rows if row.waits is None})
    node.plans = [node.plan((*ON_A_SERVER, TIMER.name), more=[DAILY.name]) for _ in range(3)]
    unit = Path(layout.UNIT_DIRECTORY) / TIMER.name
    unit.parent.mkdir()
    unit.write_text("[Timer]\nOnCalendar=daily\n")
    return node


def test_a_timer_is_started_and_what_it_starts_is_not(with_timer: NodeUnderTest) -> None:
    with_timer.live()
    assert with_timer.systemd.started() == [*ON_A_SERVER, TIMER.name]
    assert with_timer.ready


def test_a_timer_is_restarted_when_its_unit_has_changed(with_timer: NodeUnderTest) -> None:
    def killed() -> None:
        raise UserError("killed")

    for text, restarted in (("", True), ("", False), ("[Timer]\nOnCalendar=hourly\n", True)):
        if text:
            (Path(layout.UNIT_DIRECTORY) / TIMER.name).write_text(text)
        with pytest.raises(UserError, match="killed"):
            with_timer.live(killed)
        assert (TIMER.name in with_timer.systemd.started()) is restarted


def test_a_timer_stops_before_what_it_starts(with_timer: NodeUnderTest) -> None:
    with_timer.live(lambda: with_timer.systemd.run(DAILY.name))
    stopped = with_timer.systemd.asked("stop")
    assert stopped.index(TIMER.name) < stopped.index(DAILY.name)


def test_a_timer_that_leaves_the_plan_is_stopped_with_what_it_started(with_timer: NodeUnderTest) -> None:
    with_timer.systemd.run(DAILY.name, TIMER.name)
    with_timer.plans = []
    active: list[str] = []
    with_timer.live(
        lambda: active.extend(with_timer.systemd[name].active for name in (TIMER.name, DAILY.name))
    )
    assert active == ["inactive", "inactive"]
