"""What came of verifying a snapshot."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Result:
    """`ok`: it can be restored, and nothing in it is wrong. `message` says that, or why not, in a sentence.

    `kinds` has the number of objects by resource. `differences`: all that is wrong with its content, in
    words. `not_compared` says why live etcd was not asked what it had at that revision, "" when it was.
    """

    ok: bool
    message: str
    name: str
    time: datetime
    revision: int = 0
    keys: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
    not_compared: str = ""

    def as_object(self) -> dict[str, object]:
        """It as JSON has it; the time is RFC 3339."""
        return {**asdict(self), "time": self.time.isoformat(timespec="seconds")}
