"""A snapshot, wherever it lies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

# Label of an ETCDSnapshotFile and node name of a snapshot in S3.
S3 = "s3"


@dataclass(frozen=True)
class Snapshot:
    """`name` is the file's, `node` who made it ("" when nobody knows), `location` a URL (file:// or s3://).

    `created` has a time zone; `metadata` is the cluster's extra metadata. `s3` is the place in S3 as an
    ETCDSnapshotFile describes it, None for a file. `error`: why it failed, "" for a good one. `cluster_id`
    is that of a snapshot in S3, "" when it has none.
    """

    name: str
    node: str
    location: str
    size: int
    created: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    token_hash: str = ""
    s3: Mapping[str, object] | None = None
    error: str = ""
    cluster_id: str = ""

    @property
    def key(self) -> str:
        """Its name in lists of both kinds."""
        return f"{'local' if self.s3 is None else S3}-{self.name}"
