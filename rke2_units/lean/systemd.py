"""What a program asks systemd. systemctl costs some 10 ms of processor time: asked seldom."""

from rke2_units.lean import processes

_TIMEOUT = 10.0
_READ = 2000
_HINT = "Debian package systemd"


_UNKNOWN = "unknown"


class UnitState:
    """A unit's ActiveState and SubState; "unknown" when systemd has not answered in time."""

    def __init__(self, active: str, sub: str) -> None:
        self.active = active
        self.sub = sub

    @property
    def is_over(self) -> bool:
        """It neither runs nor is about to: nobody starts it without being asked."""
        return self.active in ("failed", "inactive")

    @property
    def may_still_act(self) -> bool:
        """It is being started, or may be: there was no answer."""
        return self.active in ("activating", _UNKNOWN)


def unit_state(unit: str) -> UnitState:
    """The state of this unit; a unit that systemd does not know is inactive."""
    try:
        finished = processes.run(
            ["systemctl", "show", "--property=ActiveState,SubState", unit],
            timeout=_TIMEOUT,
            hint=_HINT,
        )
    except processes.TookTooLongError:
        # A machine out of breath says nothing about the unit.
        return UnitState(_UNKNOWN, "")
    found = dict(line.partition("=")[::2] for line in finished.output.splitlines())
    return UnitState(found.get("ActiveState", ""), found.get("SubState", ""))


def machine_stops() -> bool:
    """Whether the machine is shutting down."""
    return (
        processes.run(["systemctl", "is-system-running"], timeout=_TIMEOUT, hint=_HINT).output.strip()
        == "stopping"
    )


def journal_errors(unit: str, words: list[str], since: float) -> list[str]:
    """The unit's messages since then (s since the epoch) with one of these words, the first ones of many.

    Not with --boot: in a container, the ID of the boot is another one behind ProtectKernelTunables=.
    """
    command = [
        "journalctl",
        "--quiet",
        "--no-pager",
        "--output=cat",
        f"--since=@{since:.6f}",
        f"--lines={_READ}",
        f"--unit={unit}",
    ]
    finished = processes.run(command, timeout=_TIMEOUT, hint=_HINT)
    return [line for line in finished.output.splitlines() if any(word in line for word in words)]
