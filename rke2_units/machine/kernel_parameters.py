"""The kernel parameters that a kubelet with protectKernelDefaults insists on, and does not set itself."""

from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, UserError

# The kubelet's (pkg/kubelet/cm/container_manager_linux.go). RKE2 looks at the first four; the last two are
# the kernel's own values, unless somebody has changed them.
WANTED = {
    "vm.overcommit_memory": 1,
    "vm.panic_on_oom": 0,
    "kernel.panic": 10,
    "kernel.panic_on_oops": 1,
    "kernel.keys.root_maxkeys": 1000000,
    "kernel.keys.root_maxbytes": 25000000,
}
# In the package; a test holds that it says the same.
SYSCTL_FILE = "/usr/share/rke2-units/rke2-cis-sysctl.conf"
ADVICE = f"cp {SYSCTL_FILE} /etc/sysctl.d/60-rke2-cis.conf && systemctl restart systemd-sysctl"


def wrong(config: Config, root: str = "/") -> list[str]:
    """The parameters that a kubelet with this configuration would reject, one line each."""
    if not derived.protect_kernel_defaults(config):
        return []
    why = "profile" if config.text("profile") == "cis" else "protect-kernel-defaults"
    found = []
    for name, value in WANTED.items():
        now = _value(name, root)
        if now != str(value):
            is_now = f"is {now}" if now else "cannot be read"
            found.append(f"{name} {is_now}, and with {why} ({config.source(why)}) has to be {value}")
    return found


def refuse_wrong(config: Config) -> None:
    """Raises ConfigurationError that names all that is wrong."""
    problems = wrong(config)
    if problems:
        raise ConfigurationError("; ".join(problems), hint=ADVICE)


def _value(name: str, root: str) -> str:
    try:
        return (files.read_text(files.below(root, f"/proc/sys/{name.replace('.', '/')}")) or "").strip()
    except UserError:
        return ""
