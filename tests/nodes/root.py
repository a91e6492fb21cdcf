"""Debian roots for test nodes: one per suite, made once; each node starts from a copy."""

from pathlib import Path

from tests.nodes import debian, host
from tests.nodes.cache import cached, progress, recipe_hash

# systemd and what a Kubernetes node needs from its distribution, the dependencies of our package (so that
# apt installs it with no network), libseccomp2 for runc, and docker-registry to be a registry to others.
PACKAGES = (
    "bzip2",
    "conntrack",
    "curl",
    "dbus",
    "docker-registry",
    "ethtool",
    "haproxy",
    "iproute2",
    "iptables",
    "kmod",
    "libseccomp2",
    "lz4",
    "openssl",
    "procps",
    "python3",
    "python3-aiohttp",
    "python3-boto3",
    "python3-click",
    "python3-cryptography",
    "python3-jinja2",
    "python3-pystemd",
    "python3-requests",
    "python3-yaml",
    "skopeo",
    "socat",
    "systemd",
    "systemd-sysv",
    "zstd",
)

# A container's cgroup v1 controllers are mounted read-only. They must be replaced before anything uses them:
# once a controller is in use, the unmount is refused.
_WRITABLE_CGROUPS = """\
[Unit]
Description=Make the cgroup v1 controllers writable
DefaultDependencies=no
Before=sysinit.target
ConditionVirtualization=container
ConditionPathIsMountPoint=/sys/fs/cgroup/memory

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for controller in cpu cpuacct cpuset blkio pids devices freezer memory; do \\
    mount=/sys/fs/cgroup/$$controller; \\
    umount $$mount; \\
    mount -t cgroup -o rw,nosuid,nodev,noexec,$$controller cgroup $$mount; \\
    done'

[Install]
WantedBy=sysinit.target
"""

_FILES = {
    "etc/systemd/system/writable-cgroups.service": _WRITABLE_CGROUPS,
    # Tests read the journal across reboots, and all of it.
    "etc/systemd/journald.conf.d/tests.conf": "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n",
}
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    # Tests run registries of their own.
    "docker-registry.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-firstboot.service",
)


def root(suite: str) -> Path:
    """A directory with the root of a node of SUITE. It is shared: copy it, never write to it."""
    recipe = recipe_hash(Path(__file__), Path(debian.__file__), suite)
    return cached(f"root-{suite}", recipe, lambda unfinished: build(unfinished, suite, ())) / "root"


def build(directory: Path, suite: str, further_packages: tuple[str, ...]) -> None:
    """Make a node's root in DIRECTORY/root."""
    host.prepare()
    made = directory / "root"
    progress(f"root: installing Debian {suite}")
    debian.make_root(made, suite, [*PACKAGES, *further_packages])
    for path, text in _FILES.items():
        file = made / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    units = made / "etc/systemd/system"
    for unit in _MASKED:
        (units / unit).symlink_to("/dev/null")
    wants = units / "sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "writable-cgroups.service").symlink_to("../writable-cgroups.service")
    for unfit in ("etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id"):
        (made / unfit).unlink(missing_ok=True)


def personalise(made: Path, name: str, address: str, gateway: str, machine_id: str) -> None:
    """Give a node's own copy of the root its name and its resolution of names.

    The name server is the gateway, where nothing listens: a query is refused at once instead of timing out,
    and no public server is asked.
    """
    (made / "etc/hostname").write_text(f"{name}\n")
    (made / "etc/machine-id").write_text(f"{machine_id}\n")
    (made / "etc/resolv.conf").write_text(f"nameserver {gateway}\n")
    (made / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{address} {name}\n"
    )
