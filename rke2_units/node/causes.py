"""Finds in a unit's own log why it does not run."""

from rke2_units import unit_names
from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.lean.pod_logs import most_telling, up_to_most_telling

_READ = 400
_SHOWN = 4
# Programs of other projects; those of rke2-units log the reason in their last line.
_FOREIGN = (unit_names.CONTAINERD_UNIT, unit_names.KUBELET_UNIT)


def log_since(unit: str, since: float = 0) -> list[str]:
    """The last lines that the unit's processes have logged in this boot since then (epoch, in s)."""
    command = ["journalctl", "--quiet", "--no-pager", "--boot", "--output=cat", f"--lines={_READ}"]
    command += [f"--since=@{since:.6f}", f"_SYSTEMD_UNIT={unit}"]
    try:
        # The last lines of a process may arrive after systemd knows that it ended.
        run(["journalctl", "--sync"], timeout=10, check=False)
        output = run(command, timeout=10, check=False).output
    except UserError as error:
        # A log that cannot be read must not stop the node.
        return [str(error)]
    return [line.strip() for line in output.splitlines() if line.strip()]


def explain(unit: str, lines: list[str]) -> tuple[str, list[str]]:
    """The cause in one line ("" without any), and the last lines of the log up to it."""
    if unit in _FOREIGN:
        return most_telling(lines), up_to_most_telling(lines, _SHOWN)
    return (lines[-1] if lines else ""), lines[-_SHOWN:]
