"""Every unit that a node may have: one row each, in the order in which the node daemon starts them.

What the plan renders, what the daemon starts, waits for and stops, and what `rke2-units status` shows are
views of this table. It imports next to nothing, for the sake of `status`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from rke2_units import unit_names


class Start(Enum):
    """How a unit is started."""

    # A process whose unit carries a digest of all that it reads: restarted when that has changed.
    PROCESS = auto()
    # A one-shot program, which runs at each start of the node.
    RUN_AGAIN = auto()
    # Restarted when its unit has changed. A socket stops its service first.
    SOCKET = auto()
    TIMER = auto()
    # A static pod: restarted when its manifest has changed. It stops with its pod, which stays when the node
    # daemon stops.
    POD = auto()
    # What a timer, a socket or another unit starts; it is no problem that it does not run.
    NOT_BY_DAEMON = auto()
    # The template of such services: a socket starts one for each connection, and stops them with itself.
    INSTANCES = auto()


class Owner(Enum):
    """Who ends the waiting for a unit that does not come up, and says why."""

    # TimeoutStartSec= of its unit file.
    SYSTEMD = auto()
    # TimeoutStartSec=infinity: its program bounds each step, and says with STATUS= what it waits for.
    PROGRAM = auto()


@dataclass(frozen=True)
class Traits:
    """What the plan knows of a node that decides which units it has."""

    is_server: bool
    # Not yet a member of the cluster's etcd: its kubelet and static pods start after that.
    joins_etcd: bool
    # What it runs as static pods.
    components: tuple[str, ...]
    # Whether something that it needs runs on other nodes alone.
    needs_proxy: bool
    has_own_content: bool
    has_own_containerd: bool
    takes_helm_from_image: bool
    # Whether snapshots of etcd are taken on schedule.
    has_schedule: bool


def _always(node: Traits) -> bool:
    return True


def _is_server(node: Traits) -> bool:
    return node.is_server


def _has_joined(node: Traits) -> bool:
    return not node.joins_etcd


def _runs(component: str) -> Callable[[Traits], bool]:
    return lambda node: component in node.components


@dataclass(frozen=True)
class Unit:
    """A row. `template` is the unit's file in unit_templates/."""

    name: str
    start: Start
    # When a node has it.
    has: Callable[[Traits], bool]
    # How long (s) a start waits for it at most, or who ends the waiting; None: a start does not wait for it.
    waits: Owner | float | None
    # What its template is told (rke2_units.plan.units has the values); that of a process its digest as well.
    values: tuple[str, ...]
    # When the daemon starts it, where that is not at its node's first start.
    begins: Callable[[Traits], bool] = _always

    def is_started(self, node: Traits) -> bool:
        """Whether the daemon starts it, on a node that has it."""
        return self.start not in (Start.NOT_BY_DAEMON, Start.INSTANCES) and self.begins(node)

    @property
    def template(self) -> str:
        return unit_names.STATIC_POD_TEMPLATE if self.start is Start.POD else self.name


# systemd opens a socket at once.
_SOCKET_OPENS = 30.0
_OUR_PROGRAM = ("python", "settings")
# one-shot-sandbox.conf.
_SANDBOX = ("data_folders", "shared_runtime_directory")
_PULLS = (*_OUR_PROGRAM, *_SANDBOX, "pull_environment", "pullers_hidden")
# Services that work with snapshots of etcd, after what they use.
_SNAPSHOTS = (
    *("python", "snapshot_settings", "snapshot_writes", "etcd_data", "shared_runtime_directory"),
    *("etcdctl_unit", "etcd_unit", "apiserver_unit"),
)
# What deals with S3: proxies, and the time that S3 may take.
_SNAPSHOTS_IN_S3 = (*_SNAPSHOTS, "pull_environment", "snapshot_seconds")


def _static_pod(component: str) -> Unit:
    return Unit(
        unit_names.static_pod_unit(component),
        Start.POD,
        has=_runs(component),
        waits=Owner.PROGRAM,
        values=(*_OUR_PROGRAM, *_SANDBOX, "pull_environment", "own_containerd", "containerd_unit"),
    )


UNITS = (
    # Before the supervisor, which is given the folder of the socket.
    Unit(
        unit_names.SNAPSHOT_REQUEST_SOCKET,
        Start.SOCKET,
        has=_runs(unit_names.ETCD),
        waits=None,
        values=("private_directory", "snapshot_socket"),
    ),
    Unit(
        unit_names.SNAPSHOT_REQUEST_TEMPLATE,
        Start.INSTANCES,
        has=_runs(unit_names.ETCD),
        waits=None,
        values=(*_SNAPSHOTS_IN_S3, "foreign_directory", "snapshot_socket_unit"),
    ),
    # Before all else: the other nodes' questions do not wait for this one's etcd.
    Unit(
        unit_names.SUPERVISOR_SOCKET,
        Start.SOCKET,
        has=_is_server,
        waits=_SOCKET_OPENS,
        values=("listen",),
    ),
    Unit(
        unit_names.SUPERVISOR_UNIT,
        Start.PROCESS,
        has=_is_server,
        waits=Owner.SYSTEMD,
        values=(
            "python",
            "supervisor_socket",
            "supervisor_settings",
            "supervisor_credentials",
            "server",
            "static",
            "takes_snapshots",
            "snapshot_socket_unit",
            "requests",
            "supervisor_requests",
        ),
    ),
    Unit(
        unit_names.API_PROXY_UNIT,
        Start.PROCESS,
        has=lambda node: node.needs_proxy,
        waits=Owner.SYSTEMD,
        values=("api_proxy_config", "api_proxy_credentials", "api_proxy_runtime"),
    ),
    Unit(
        unit_names.CONTENT_UNIT,
        Start.RUN_AGAIN,
        has=lambda node: node.has_own_content,
        waits=Owner.PROGRAM,
        values=(*_PULLS, "release"),
    ),
    Unit(
        unit_names.CONTAINERD_UNIT,
        Start.PROCESS,
        has=lambda node: node.has_own_containerd,
        waits=Owner.SYSTEMD,
        values=(
            "containerd_command",
            "containerd_environment",
            "modules",
            "search_path",
            "own_content",
            "content_unit",
            "kubelet_unit",
        ),
    ),
    Unit(
        unit_names.KUBELET_UNIT,
        Start.PROCESS,
        has=_always,
        begins=_has_joined,
        waits=Owner.SYSTEMD,
        values=(
            "kubelet_command",
            "kubelet_environment",
            "search_path",
            "watchdog",
            "own_containerd",
            "containerd_unit",
        ),
    ),
    # A broken archive must not stop the node; static pods wait for their own images.
    Unit(
        unit_names.IMAGES_UNIT,
        Start.RUN_AGAIN,
        has=_always,
        waits=None,
        values=(*_PULLS, "own_containerd", "containerd_unit", "state_directory"),
    ),
    # A node that is a member is up without it; one that is to become a member waits for it (NodeDaemon).
    Unit(
        unit_names.ETCDCTL_UNIT,
        Start.RUN_AGAIN,
        has=_is_server,
        waits=None,
        values=_PULLS,
    ),
    Unit(
        unit_names.ETCD_JOIN_UNIT,
        Start.RUN_AGAIN,
        has=lambda node: node.joins_etcd,
        waits=Owner.PROGRAM,
        values=(*_OUR_PROGRAM, "etcdctl_unit", "etcd_data"),
    ),
    *(_static_pod(component) for component in unit_names.STATIC_PODS),
    # Another image may be wanted than the one that it ran for.
    Unit(
        unit_names.HELM_UNIT,
        Start.RUN_AGAIN,
        has=lambda node: node.takes_helm_from_image,
        waits=None,
        values=_PULLS,
    ),
    # These two come after the static pods, as they are ordered after the job that starts kube-apiserver.
    # Neither a chart that cannot be installed nor what a node does for its cluster may stop it. A server
    # without an apiserver manages its own node; it finds the others' through the proxy.
    Unit(
        unit_names.CONTROLLERS_UNIT,
        Start.PROCESS,
        has=lambda node: node.is_server and not node.joins_etcd,
        waits=None,
        values=("python", "controllers_settings", "apiserver_unit"),
    ),
    Unit(
        unit_names.APPLIER_UNIT,
        Start.PROCESS,
        has=_runs(unit_names.KUBE_APISERVER),
        waits=None,
        values=(
            "python",
            "applier_settings",
            "applier_reads",
            "applier_hidden",
            "applier_runtime",
            "kubelet_environment",
            "server",
            "static",
            "manifests",
            "apiserver_unit",
        ),
    ),
    # A snapshot is verified after it was taken: this row is first, so that it stops last.
    Unit(
        unit_names.SNAPSHOT_VERIFY_UNIT,
        Start.NOT_BY_DAEMON,
        has=_runs(unit_names.ETCD),
        waits=None,
        values=(*_SNAPSHOTS, "stopping_lock"),
    ),
    Unit(
        unit_names.SNAPSHOT_UNIT,
        Start.NOT_BY_DAEMON,
        has=_runs(unit_names.ETCD),
        waits=None,
        values=(*_SNAPSHOTS_IN_S3, "foreign_directory", "verifies", "verify_unit"),
    ),
    Unit(
        unit_names.SNAPSHOT_TIMER,
        Start.TIMER,
        has=lambda node: unit_names.ETCD in node.components and node.has_schedule,
        waits=None,
        values=("schedule",),
    ),
    Unit(
        unit_names.SNAPSHOT_RECONCILE_UNIT,
        Start.NOT_BY_DAEMON,
        has=_runs(unit_names.ETCD),
        waits=None,
        values=_SNAPSHOTS_IN_S3,
    ),
    Unit(
        unit_names.SNAPSHOT_RECONCILE_TIMER,
        Start.TIMER,
        has=_runs(unit_names.ETCD),
        waits=None,
        values=("reconcile_seconds",),
    ),
)
# Templates of instances are not among them: systemd knows no unit of their name.
ALL_UNITS = tuple(unit.name for unit in UNITS if unit.start is not Start.INSTANCES)
INSTANCE_TEMPLATES = frozenset(unit.name for unit in UNITS if unit.start is Start.INSTANCES)
PROCESSES = tuple(unit.name for unit in UNITS if unit.start is Start.PROCESS)
# What a node is up without.
HOLDS_NOTHING_UP = frozenset(unit.name for unit in UNITS if unit.waits is None)


def stopping_order(units: Sequence[Unit]) -> tuple[str, ...]:
    """What would start another unit stops first, then each before those that it was started after."""
    triggers = (Start.SOCKET, Start.TIMER)
    stopped = [unit for unit in reversed(units) if unit.start is not Start.INSTANCES]
    return tuple(unit.name for unit in sorted(stopped, key=lambda unit: unit.start not in triggers))


STOPPING_ORDER = stopping_order(UNITS)
