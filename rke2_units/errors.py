"""The errors that a person or a script sees, and the exit codes they end with."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a program of ours ends with; systemd and scripts decide by it.

    CONFIGURATION is sysexits.h's EX_CONFIG: rke2-server.service names it in RestartPreventExitStatus=,
    because starting again cannot mend what only a person can.
    """

    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 78


class UserError(Exception):
    """Something that one line can explain: what is wrong and where, and (hint) what to do about it."""

    exit_code = ExitCode.FAILURE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigurationError(UserError):
    """The configuration, or another thing that only a person can mend; starting again would not help."""

    exit_code = ExitCode.CONFIGURATION
