"""What a reset that has begun to replace things is about: enough to complete it after it was killed."""

import json
from dataclasses import asdict, dataclass, field

from rke2_units.doors import files
from rke2_units.errors import ConfigurationError


@dataclass(frozen=True)
class Progress:
    """`snapshot` is what is restored, "" for a reset without; `name` is the new member's."""

    stamp: int
    snapshot: str
    name: str
    # The bootstrap data as etcd has it: encrypted with the token.
    bootstrap: str = field(repr=False)


def read(path: str) -> Progress | None:
    """The reset that was begun and not completed, None when there is none."""
    text = files.read_text(path)
    if text is None:
        return None
    try:
        values = json.loads(text)
        texts = [str(values[key]) for key in ("snapshot", "name", "bootstrap")]
        return Progress(int(values["stamp"]), *texts)
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{path} is damaged: it says how far a cluster-reset came",
            hint="compare server/db/etcd with server/db/etcd-old-* in the data directory, then remove it",
        ) from None


def write(path: str, progress: Progress) -> None:
    files.write_atomic(path, json.dumps(asdict(progress)) + "\n", 0o600)
