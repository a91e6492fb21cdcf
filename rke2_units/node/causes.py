"""Why a unit does not run, out of its own log."""

from rke2_units import names
from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.programs.pod_logs import most_telling

# Go's programs print their whole usage, or the stack of every thread, after the reason.
_READ = 400
_SHOWN = 4
# Programs that are not ours; ours end with the line that says why.
_FOREIGN = (names.CONTAINERD_UNIT, names.KUBELET_UNIT)


def log_since(unit: str, since: float = 0) -> list[str]:
    """The last lines that the unit's processes have logged in this boot since then (epoch, in s)."""
    command = ["journalctl", "--quiet", "--no-pager", "--boot", "--output=cat", f"--lines={_READ}"]
    command += [f"--since=@{since:.0f}", f"_SYSTEMD_UNIT={unit}"]
    try:
        output = run(command, timeout=10, check=False).output
    except UserError as error:
        # The node must not suffer from a log that cannot be read.
        return [str(error)]
    return [line.strip() for line in output.splitlines() if line.strip()]


def explain(unit: str, lines: list[str]) -> tuple[str, list[str]]:
    """The cause in one line ("" without any), and the last lines of the log up to it."""
    if not lines:
        return "", []
    cause = (most_telling(lines) if unit in _FOREIGN else "") or lines[-1]
    # A long cause is cut off.
    told = cause.rstrip("…")
    last = max((number for number, line in enumerate(lines) if told in line), default=len(lines) - 1)
    return cause, lines[max(0, last + 1 - _SHOWN) : last + 1]
