"""The attempts to start: when the next one begins, and which configuration it uses."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rke2_units.daemon import inputs, kept_state, readiness
from rke2_units.daemon.events import StopRequested
from rke2_units.daemon.inputs import Mended
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.file_systems import name_full

# How often (s), in a pause between two attempts, the configuration is checked for changes.
_LOOK = 1.0


class Attempt:
    """An attempt that begins now, with the present configuration."""

    def __init__(self) -> None:
        self._marks = self._now()

    def _now(self) -> inputs.Marks:
        return inputs.marks(os.environ)

    def begin_anew_if_mended(self) -> None:
        """Raises Mended if the configuration has changed since this attempt began."""
        if self._now() != self._marks:
            raise Mended

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Remembers a failure of the block, so that the next attempt begins after a longer pause.

        Raises Mended instead if the configuration has changed meanwhile: `systemctl start` adds nothing to a
        start in progress, so an administrator who corrected it would see the error of the old one.
        """
        try:
            yield
        except (StopRequested, Mended, ConfigurationError):
            # The first two are not failures, and the last is not retried.
            raise
        except Exception as error:
            self.begin_anew_if_mended()
            reason = name_full(error.message if isinstance(error, UserError) else str(error))
            kept_state.remember_failed_attempt(reason, self._marks)
            raise

    def pause(self, rest: Callable[[float], None], say: Callable[[str], None]) -> int:
        """Wait, unless this is the first attempt with its configuration; returns the attempt's number.

        `rest` waits for a number of seconds, `say` shows a text. The pause ends early if the configuration
        changes.
        """
        count, reason = kept_state.failed_attempts(self._marks)
        if count:
            pause = readiness.pause_before(count)
            due = time.strftime("%H:%M:%S", time.localtime(time.time() + pause))
            say(f"attempt {count + 1} at {due}; the last one failed: {reason}")
            end = time.monotonic() + pause
            while (left := end - time.monotonic()) > 0 and self._now() == self._marks:
                rest(min(left, _LOOK))
            self._marks = self._now()
        return count + 1
