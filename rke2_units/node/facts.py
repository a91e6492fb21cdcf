"""Gathers the facts of this machine once, for the pure plan."""

import hashlib
import ipaddress
import json
import os
import pwd
import re
import secrets
import shutil
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from rke2_units.config import derived, grammar
from rke2_units.config.config import Config
from rke2_units.config.keys import KEYS
from rke2_units.doors import files
from rke2_units.doors.run import run
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.join import server_list
from rke2_units.layout import AUDIT_POLICY_FILE, DIGEST_KEY_FILE, NODE_ID_FILE, SYSTEM_PATH, Paths
from rke2_units.machine import network
from rke2_units.model import NodeFacts, ServerList
from rke2_units.node import installation
from rke2_units.node.environment import for_pods_and_containerd
from rke2_units.plan import api_proxy
from rke2_units.plan.containerd import RUNTIME_PROGRAMS
from rke2_units.plan.image_programs import HELM
from rke2_units.plan.programs import CONTAINERD_PROGRAMS, KUBELET
from rke2_units.plan.soundness import LISTENED_AT
from rke2_units.unit_names import Role

# RKE2's list: the folders of certificates that pods get to see, those that exist.
SSL_DIRECTORIES = (
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
)
RESOLV_CONFS = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
CAP_SYS_RESOURCE = 24
# Where containerd looks for shims, and where NVIDIA's operator puts its toolkit.
RUNTIME_PATH = f"{SYSTEM_PATH}:/usr/local/nvidia/toolkit"

# Addresses of documentation: connecting a UDP socket asks the kernel for its route and sends nothing.
_SOMEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
# linux/in6.h; not in Python's socket module. A public address rather than a temporary one (RFC 5014).
_IPV6_ADDR_PREFERENCES = 72
_IPV6_PREFER_SRC_PUBLIC = 0x0002

# Larger files are no certificate, policy or kubeconfig that a static pod mounts.
_LARGEST_DIGESTED = 8 * 1024 * 1024


def gather(role: Role, config: Config, *, environment: Mapping[str, str]) -> NodeFacts:
    """The facts of this machine; `environment` has the node's proxies and CONTAINERD_*.

    Raises UserError when the node has no address that others can reach and none is configured: while a
    machine boots it may get one soon.
    """
    addresses = node_ips()
    if not addresses and not config.is_set("node-ip"):
        raise UserError(
            "this machine has no default route, so the node's address cannot be determined",
            hint="set node-ip in /etc/rancher/rke2/config.yaml, or give the machine a default route",
        )
    paths = derived.paths(config)
    if role is Role.SERVER and os.geteuid() == 0:
        _refuse_other_family(config, paths, addresses)
    member_name = files.read_text(paths.etcd_name) if role is Role.SERVER and os.geteuid() == 0 else None
    own_programs = programs(config)
    return NodeFacts(
        hostname=_hostname(config),
        node_ips=addresses,
        systemd_version=systemd_version() or NodeFacts.systemd_version,
        kernel=kernel_version(os.uname().release),
        cgroup_version=cgroup_version(),
        cpuset_usable="cpuset" in cgroup_controllers(),
        in_user_namespace=is_user_namespace(files.read_text("/proc/self/uid_map") or ""),
        can_lower_oom_score=has_capability(files.read_text("/proc/self/status") or "", CAP_SYS_RESOURCE),
        cpus=len(os.sched_getaffinity(0)),
        resolv_conf=usable_resolv_conf(),
        runtimes=runtimes(),
        programs=own_programs,
        containerd_version=_containerd_version(config, own_programs),
        has_credential_providers=os.path.isdir(config.text("image-credential-provider-bin-dir")),
        ssl_directories=tuple(path for path in SSL_DIRECTORIES if os.path.isdir(path)),
        etcd_user=etcd_user(),
        environment=for_pods_and_containerd(environment),
        digests=digests(
            [*_key_material(paths), AUDIT_POLICY_FILE, *_named_in_config(config), *_drop_ins(paths)]
        ),
        node_id=_node_id(),
        digest_key=(files.read_text(DIGEST_KEY_FILE) or "") if os.geteuid() == 0 else "",
        etcd_member_name=member_name.strip() or None if member_name else None,
        etcd_join=role is Role.SERVER and has_to_join_etcd(config, paths),
        etcd_initial=etcd_initial(paths) if role is Role.SERVER else {},
        known_servers=known_servers(config, paths) if api_proxy.is_needed(config) else ServerList(),
        in_cluster=in_cluster(config, paths),
        foreign_addresses=tuple(
            text for name in LISTENED_AT for text in config.items(name) if not is_own_address(text)
        ),
        networks=network.connected(
            files.read_text("/proc/net/route") or "", files.read_text("/proc/net/ipv6_route") or ""
        ),
        linked_folders=linked_folders(paths),
        manifests=manifests(paths.manifests) if config.items("disable") else None,
        registered=registered(paths),
    )


def _refuse_other_family(config: Config, paths: Paths, found: Sequence[str]) -> None:
    """The default ranges follow the node's first address. A server whose etcd has data keeps the family of
    its first start, even if an address of the other family is available first after a boot."""
    if any(config.is_set(name) for name in ("node-ip", "cluster-cidr", "service-cidr")):
        return
    family = _family_before(paths)
    if family and os.path.exists(paths.etcd_wal) and ipaddress.ip_address(found[0]).version != family:
        raise UserError(
            f"this server's cluster has IPv{family}, and the machine has no IPv{family} address with a "
            "default route",
            hint="set node-ip, or add that route",
        )


def _family_before(paths: Paths) -> int:
    """4 or 6: the family of this server's first address at its last start, 0 when that is not known."""
    installed = installation.read()
    if installed and installed.first_family:
        return installed.first_family
    try:
        # Records of earlier versions do not have it; those versions stored it here.
        address = json.loads(files.read_text(paths.supervisor_settings) or "")["node_ips"][0]
        return ipaddress.ip_address(address).version
    except (ValueError, KeyError, IndexError, TypeError):
        return 0


def has_to_join_etcd(config: Config, paths: Paths) -> bool:
    """Whether this server is to become a member of another server's etcd, and is not one yet.

    A server with etcd's data is already a member of a cluster, so `server` is ignored. Only root can see
    that data.
    """
    done = (paths.etcd_wal, paths.etcd_initial)
    is_wanted = config.is_set("server") and derived.server_roles(config).etcd and os.geteuid() == 0
    return is_wanted and not any(os.path.exists(path) for path in done)


def in_cluster(config: Config, paths: Paths) -> bool:
    """Whether the node's cluster exists already. Without permission to look, etcd's data is assumed."""
    is_hidden = os.path.isdir(paths.server) and not os.access(paths.server, os.X_OK)
    joins = config.role is Role.AGENT or config.is_set("server")
    return joins or is_hidden or os.path.exists(paths.etcd_wal)


def is_own_address(text: str) -> bool:
    """Whether a process of this machine can listen at the address, as etcd does."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((text, 0))
    except OSError:
        return False
    return True


def linked_folders(paths: Paths) -> tuple[str, ...]:
    """The targets of links in place of folders that programs write to, as far as units can name them."""
    found = []
    for path in (paths.agent, paths.content):
        with suppress(ValueError):
            if os.path.islink(path):
                found.append(grammar.data_directory(os.path.realpath(path)))
    return tuple(found)


def manifests(folder: str) -> frozenset[str] | None:
    """The names below server/manifests that `disable` can contain: folders, and files without suffix."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return None
    found: set[str] = set()
    for place, folders, names in os.walk(folder):
        found.update(os.path.relpath(os.path.join(place, name), folder) for name in folders)
        found.update(os.path.splitext(name)[0] for name in names)
    return frozenset(found)


def registered(paths: Paths) -> dict[str, tuple[str, ...]]:
    """node-label and node-taint as the last plan had them, by name; {} before the node's first start."""
    if not os.path.exists(f"{paths.agent}/client-kubelet.crt"):
        return {}
    try:
        written = json.loads(files.read_text(paths.program_settings) or "{}").get("registered", {})
        return {str(name): tuple(map(str, items)) for name, items in written.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def etcd_initial(paths: Paths) -> dict[str, str]:
    """The values that rke2-etcd-join.service wrote for the member's first start, {} without them.

    ConfigurationError for other content: with wrong values etcd would create a new cluster.
    """
    text = files.read_text(paths.etcd_initial) if os.geteuid() == 0 else None
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    wanted = ("initial-cluster", "initial-cluster-state")
    if not isinstance(found, dict) or any(not isinstance(found.get(key), str) for key in wanted):
        raise ConfigurationError(
            f"{paths.etcd_initial} does not contain the values for a member's first start",
            hint="if this server was never a member, remove the file; it then joins again",
        )
    return {key: found[key] for key in wanted}


def known_servers(config: Config, paths: Paths) -> ServerList:
    """The servers that this node knows; until it knows any, the one that it joins."""
    known = server_list.read(paths.server_list)
    url = config.text("server")
    return server_list.of_url(url) if url and known == ServerList() else known


def runtimes(path: str = RUNTIME_PATH) -> dict[str, str]:
    """The container runtimes known to RKE2 whose program is on this machine."""
    found = {name: shutil.which(program, path=path) for name, program in RUNTIME_PROGRAMS.items()}
    return {name: program for name, program in found.items() if program}


def programs(config: Config, path: str = SYSTEM_PATH) -> dict[str, str]:
    """The machine's own programs that this configuration names and that can be executed."""
    wanted = [config.text(name) for name in ("kubelet-path", "helm-path") if config.is_set(name)]
    if derived.uses_host_content(config):
        wanted += [*CONTAINERD_PROGRAMS, KUBELET]
    if config.role is Role.SERVER:
        wanted.append(HELM)
    found = {name: shutil.which(name, path=path) for name in wanted}
    return {name: program for name, program in found.items() if program}


def _containerd_version(config: Config, found: Mapping[str, str]) -> int | None:
    """The major version of the machine's own containerd, if it is to run with a planned configuration."""
    if "containerd" not in found or derived.foreign_containerd(config):
        return None
    try:
        said = run([found["containerd"], "--version"], check=False, timeout=10).output
    except UserError:
        return None
    return major_version(said)


def major_version(said: str) -> int | None:
    """2 for "containerd github.com/containerd/containerd/v2 v2.1.3 c787fb98"; None without a version."""
    version = re.search(r"\sv?(\d+)\.\d+", said)
    return int(version[1]) if version else None


def _hostname(config: Config) -> str:
    if config.boolean("node-name-from-cloud-provider-metadata"):
        # Imported here, as hardly anybody needs it.
        from rke2_units.machine import cloud_metadata

        # RKE2's second choice is `hostname -f`.
        return cloud_metadata.local_hostname() or socket.getfqdn()
    return socket.gethostname()


def _node_id() -> str:
    """RKE2's: 4 random bytes as hexadecimal digits, made once."""
    return (files.read_text(NODE_ID_FILE) or "").strip() or secrets.token_hex(4)


def node_ips() -> tuple[str, ...]:
    """The source addresses of packets to other networks, IPv4 first; () without a default route.

    Looks up no name: if no DNS server answers, that alone takes 20 seconds.
    """
    found = []
    for family, somewhere in _SOMEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_ADDR_PREFERENCES, _IPV6_PREFER_SRC_PUBLIC)
                probe.connect((somewhere, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        if _is_reachable(address):
            found.append(address)
    return tuple(found)


def _is_reachable(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return not (parsed.is_loopback or parsed.is_link_local or parsed.is_unspecified or parsed.is_multicast)


def systemd_version() -> int | None:
    """The major version of the installed systemd, None when there is none."""
    try:
        said = run(["systemctl", "--version"], check=False).output
    except UserError:
        return None
    version = re.match(r"systemd (\d+)", said)
    return int(version[1]) if version else None


def kernel_version(release: str) -> tuple[int, int]:
    """Major and minor of a kernel release such as 6.1.0-28-amd64."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def cgroup_version(root: str = "/sys/fs/cgroup") -> int:
    return 2 if os.path.exists(f"{root}/cgroup.controllers") else 1


def cgroup_controllers(root: str = "/sys/fs/cgroup") -> frozenset[str]:
    """The controllers that containers can use: with cgroup v1 those that are mounted and enabled."""
    if cgroup_version(root) == 2:
        return frozenset((files.read_text(f"{root}/cgroup.controllers") or "").split())
    rows = (line.split() for line in (files.read_text("/proc/cgroups") or "").splitlines())
    enabled = {row[0] for row in rows if len(row) == 4 and row[3] == "1"}
    return frozenset(name for name in enabled if os.path.isdir(f"{root}/{name}"))


def is_user_namespace(uid_map: str) -> bool:
    """Whether /proc/self/uid_map maps anything but all users to themselves."""
    return uid_map.split() != ["0", "0", "4294967295"]


def has_capability(status: str, capability: int) -> bool:
    """Whether the text of /proc/<pid>/status has this capability's bit in its effective set."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(effective and int(effective[1], 16) >> capability & 1)


def usable_resolv_conf(candidates: Iterable[str] = RESOLV_CONFS) -> str | None:
    """The first file whose name servers are all reachable from a pod, None when there is none."""
    for path in candidates:
        if names_usable_servers(files.read_text(path) or ""):
            return path
    return None


def names_usable_servers(resolv_conf: str) -> bool:
    """Whether it names servers, and only such that a pod can reach too (not 127.0.0.53, not link-local)."""
    servers = re.findall(r"^\s*nameserver\s+(\S+)", resolv_conf, re.MULTILINE)
    try:
        return bool(servers) and all(_is_reachable(server) for server in servers)
    except ValueError:
        return False


def etcd_user() -> tuple[int, int] | None:
    try:
        user = pwd.getpwnam("etcd")
    except KeyError:
        return None
    return (user.pw_uid, user.pw_gid)


def digests(paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 (hex) of those of the files that exist and can be read."""
    found = {}
    for path in sorted(set(paths)):
        try:
            if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_DIGESTED:
                continue
            with open(path, "rb") as file:
                found[path] = hashlib.sha256(file.read()).hexdigest()
        except PermissionError:
            # A render by another user than root, without files that only root can read.
            continue
    return found


def _key_material(paths: Paths) -> list[str]:
    """The files below server/tls and server/cred, and the kubeconfigs."""
    found = [
        os.path.join(folder, name)
        for top in (paths.tls, paths.credentials)
        for folder, _, names in os.walk(top)
        for name in names
    ]
    if os.access(paths.agent, os.R_OK):
        found += [entry.path for entry in os.scandir(paths.agent)]
    return found


def _drop_ins(paths: Paths) -> list[str]:
    """The files that the kubelet and containerd read beside their own."""
    found = []
    for folder in (paths.kubelet_etc, *paths.containerd_drop_ins.values()):
        if os.access(folder, os.R_OK | os.X_OK):
            # They read only these suffixes, so neither hidden nor temporary files.
            found += [e.path for e in os.scandir(folder) if e.name.endswith((".conf", ".toml"))]
    return found


def _named_in_config(config: Config) -> list[str]:
    """The absolute paths in the configuration: alone (`audit-policy-file`), in arguments
    (`kube-apiserver-arg`), and as sources of mounts (`kube-apiserver-extra-mount`)."""
    return [
        path
        for key in KEYS
        if not key.secret
        for item in config.items(key.name)
        for path in (item, item.partition("=")[2], item.partition(":")[0])
        if os.path.isabs(path)
    ]
