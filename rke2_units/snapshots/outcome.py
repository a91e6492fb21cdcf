"""What becomes of an operation that consists of parts: it goes on after a part that failed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rke2_units.errors import UserError
from rke2_units.lean import console, file_systems
from rke2_units.snapshots import request
from rke2_units.snapshots.request import Answer
from rke2_units.snapshots.snapshot import Snapshot


@dataclass
class Outcome:
    """Names of snapshots, and what failed: as messages, and as the snapshots that it would have made."""

    created: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    failed: list[Snapshot] = field(default_factory=list)
    # The new one, as it lies on this node.
    saved: Snapshot | None = None

    def fail(self, message: str) -> None:
        """Notes an error, also in the journal."""
        self.errors.append(message)
        console.say(message, console.ERROR)

    @contextmanager
    def failing(self, what: str) -> Iterator[None]:
        """Notes an error within it, and ends without one."""
        try:
            yield
        except (UserError, OSError) as error:
            self.fail(f"{what}: {explain(error)}")

    def answer(self) -> Answer:
        """What worked; the errors only when nothing did, as RKE2 has it."""
        if self.errors and not (self.created or self.deleted):
            return request.failure(500, "; ".join(self.errors))
        lists = {"created": self.created, "deleted": self.deleted}
        return Answer(200, {key: list(dict.fromkeys(names)) for key, names in lists.items() if names})


def explain(error: BaseException) -> str:
    """Why something failed, in one line; a full disk is named."""
    if isinstance(error, UserError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    else:
        text = "the run was stopped before its end"
    return file_systems.name_full(text)
