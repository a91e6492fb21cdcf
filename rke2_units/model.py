"""The values that travel from config, node and release to the plan, and from the plan to the node."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rke2_units.unit_names import Role


@dataclass(frozen=True)
class ServerList:
    """The servers that a node knows of, as HOST:PORT; sorted, each once.

    `servers` are supervisors, `apiservers` the API servers beside them, and `members` those of etcd, which
    only servers without one of their own have to know.
    """

    servers: tuple[str, ...] = ()
    apiservers: tuple[str, ...] = ()
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeFacts:
    """What is so on this machine, gathered once (rke2_units.node.facts) and handed to the pure plan."""

    hostname: str
    # Addresses of the interface that carries the default route, IPv4 first.
    node_ips: tuple[str, ...]
    systemd_version: int = 252
    kernel: tuple[int, int] = (6, 1)
    cgroup_version: int = 2
    cpuset_usable: bool = True
    in_user_namespace: bool = False
    # CAP_SYS_RESOURCE: without it no oom_score_adj can be lowered and no hard limit raised.
    can_lower_oom_score: bool = True
    cpus: int = 1
    # The first of /etc/resolv.conf and systemd-resolved's file that names a usable server; None: neither.
    resolv_conf: str | None = "/etc/resolv.conf"
    # Container runtimes beside runc: name (crun, nvidia, wasmtime, ...) -> path of their program.
    runtimes: Mapping[str, str] = field(default_factory=dict)
    # The machine's own programs that the configuration asks for (plan.programs): name, or kubelet-path as it
    # is written -> path. One that is not executable is missing.
    programs: Mapping[str, str] = field(default_factory=dict)
    # The major version of the machine's own containerd, where it is to run.
    containerd_version: int | None = None
    # Whether the folder that image-credential-provider-bin-dir names is there.
    has_credential_providers: bool = False
    # Those of RKE2's list of certificate folders (reference: static pods, SSL directories) that exist.
    ssl_directories: tuple[str, ...] = ()
    # The `etcd` user and group (profile cis and etcd), None when there is none.
    etcd_user: tuple[int, int] | None = None
    # RKE2's environment for pods and containerd (names with "proxy" in them, CONTAINERD_*), by name.
    environment: Mapping[str, str] = field(default_factory=dict)
    # SHA-256 (hex) of the content of files that exist, by path: all that static pods may mount.
    digests: Mapping[str, str] = field(default_factory=dict)
    # The node's id (8 hexadecimal digits): the one on disk, else a fresh one that the plan puts there.
    node_id: str = ""
    # The content of names.DIGEST_KEY_FILE, "" before the first start.
    digest_key: str = ""
    # etcd's member name (file db/etcd/name) once it has one.
    etcd_member_name: str | None = None
    # Whether etcd has to be joined first: a server is named, and there is neither a member nor the file
    # db/etcd/initial.json, which holds the values that a joining member starts with.
    etcd_join: bool = False
    # That file: "initial-cluster" and "initial-cluster-state".
    etcd_initial: Mapping[str, str] = field(default_factory=dict)
    # The other servers, on a node that needs what runs there.
    known_servers: ServerList = ServerList()
    # Whether the cluster is there already: this server has etcd's data, or the node joins others.
    in_cluster: bool = False
    # Those of `node-ip` and `bind-address` that no interface has.
    foreign_addresses: tuple[str, ...] = ()
    # The networks that the machine is connected to, without those of network plugins: (interface, range).
    networks: tuple[tuple[str, str], ...] = ()
    # Where `agent` and `data` of the data directory are, those that are links to another disk, say.
    linked_folders: tuple[str, ...] = ()
    # What `disable` can name in server/manifests; None: not known.
    manifests: frozenset[str] | None = None
    # node-label and node-taint as they were when this node registered, by their names; {}: not known.
    registered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """A file of the plan. `restarts` names the units to replace when its content changes."""

    path: str
    content: str
    mode: int = 0o644
    user: int = 0
    group: int = 0
    restarts: tuple[str, ...] = ()
    # Never shown by diff (a proxy's address can carry a password).
    secret: bool = False
    # The administrator's from the moment it is there: written where it is missing, never changed or removed.
    keep: bool = False


@dataclass(frozen=True)
class Directory:
    """`keep`: mode and owner are for a new one; one that is there is as the administrator made it."""

    path: str
    mode: int = 0o755
    user: int = 0
    group: int = 0
    keep: bool = False


@dataclass(frozen=True)
class KernelParameter:
    """One that an administrator may have set already, in whatever way, and that is then left as it is.

    It is raised to `value`, never lowered; one with a value of the kernel's own, which tells that nobody has
    set it (`untouched`), is changed from that one alone.
    """

    name: str
    value: int
    untouched: int | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that this node is to have, in the order in which it is made.

    `units` are those that the node daemon starts, in starting order; `all_units` has also those that a timer
    or a socket starts, or that start later. `enabled` is the role's unit. `kernel_parameters` are those that
    no file has.
    """

    role: Role
    directories: tuple[Directory, ...]
    files: tuple[File, ...]
    units: tuple[str, ...]
    enabled: str
    # What is allowed but not wise, one line each.
    warnings: tuple[str, ...] = ()
    kernel_parameters: tuple[KernelParameter, ...] = ()
    all_units: tuple[str, ...] = ()

    def file(self, path: str) -> File:
        """The file of this path; KeyError when the plan has none."""
        for candidate in self.files:
            if candidate.path == path:
                return candidate
        raise KeyError(path)


@dataclass(frozen=True)
class UnitState:
    """systemd's view of a unit: org.freedesktop.systemd1.Manager.ListUnitsByPatterns."""

    name: str
    load: str  # loaded, not-found, bad-setting, error, masked; unloaded: inactive, systemd has forgotten it
    active: str  # active, reloading, inactive, failed, activating, deactivating
    sub: str  # e.g. running, exited, start-pre, start-post, auto-restart
    job: str  # the pending job's type (start, stop, restart, ...), "" without one

    @property
    def settled(self) -> bool:
        return not self.job and self.active in ("active", "inactive", "failed")
