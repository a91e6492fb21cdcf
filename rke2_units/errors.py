"""The errors that a person or a script sees, and the exit codes they end with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

    def each(self) -> "tuple[UserError, ...]":
        """The single errors that this one stands for."""
        return (self,)


class ConfigurationError(UserError):
    """The configuration, or another thing that only a person can mend; starting again would not help."""

    exit_code = ExitCode.CONFIGURATION


class ConfigurationErrors(ConfigurationError):
    """Several that were found in one run; as one line it is the first of them."""

    def __init__(self, errors: Sequence[ConfigurationError]) -> None:
        super().__init__(f"{errors[0].message} (and {len(errors) - 1} more)", hint=errors[0].hint)
        self._errors = tuple(errors)

    def each(self) -> tuple[UserError, ...]:
        return self._errors


class Collected:
    """Configuration errors, collected so that whoever has to mend them hears of all in one run."""

    def __init__(self) -> None:
        self._errors: list[ConfigurationError] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Ends what is within it at its first error, and goes on after it."""
        try:
            yield
        except ConfigurationError as error:
            self.add(error)

    def add(self, error: ConfigurationError) -> None:
        self._errors.append(error)

    def raise_any(self) -> None:
        """Raises ConfigurationError for one error, ConfigurationErrors for several."""
        if len(self._errors) > 1:
            raise ConfigurationErrors(self._errors)
        if self._errors:
            raise self._errors[0]
