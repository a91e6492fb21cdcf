"""One attempt at a start after the other: when the next one is made, and by which configuration it goes."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rke2_units.daemon import inputs, kept_state, readiness
from rke2_units.daemon.events import StopRequested
from rke2_units.daemon.inputs import Mended
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.file_systems import name_full

# How often, in a pause between two attempts, it is seen whether the configuration has been mended.
_LOOK = 1.0


class Attempt:
    """The attempt that begins now, with the configuration as it is now."""

    def __init__(self) -> None:
        self._marks = self._now()

    def _now(self) -> inputs.Marks:
        return inputs.marks(os.environ)

    def begin_anew_if_mended(self) -> None:
        """Raises Mended when the configuration is no longer that of this attempt."""
        if self._now() != self._marks:
            raise Mended

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """What fails in here is remembered, so that the next attempt is made after a longer pause.

        Raises Mended instead where the configuration is another one by now: `systemctl start` adds nothing
        to a start that is under way, and who has mended it would be told what was wrong with the old one.
        """
        try:
            yield
        except (StopRequested, Mended, ConfigurationError):
            # The first two are no failures, the last is not tried again.
            raise
        except Exception as error:
            self.begin_anew_if_mended()
            reason = name_full(error.message if isinstance(error, UserError) else str(error))
            kept_state.remember_failed_attempt(reason, self._marks)
            raise

    def pause(self, rest: Callable[[float], None], say: Callable[[str], None]) -> int:
        """Wait, unless this is the first attempt with its configuration; returns its number.

        `rest` waits for so many seconds. It ends with the time, or when the configuration is mended.
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
