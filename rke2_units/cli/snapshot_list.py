"""The list of snapshots as `etcd-snapshot ls` prints it: RKE2's table, JSON and YAML. Pure."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rke2_units.config import grammar
from rke2_units.errors import UserError
from rke2_units.printable import visible

_HEADER = ("Name", "Location", "Size", "Created")
FORMATS = ("table", "json", "yaml")


def check_format(output: str) -> str:
    """The format in lower case; UserError if there is none of this name."""
    known = output.lower()
    if known not in FORMATS:
        raise UserError(f"invalid output format: {output}", hint=f"use {', '.join(FORMATS)}")
    return known


def text(found: Mapping[str, object], output: str) -> str:
    """The list (ETCDSnapshotFileList) in this format. UserError if it is not one."""
    items = found.get("items") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError("the server's answer is not a list of snapshots")
    if output == "json":
        return json.dumps(found, separators=(",", ":"))
    if output == "yaml":
        # Slow to import.
        import yaml

        return yaml.safe_dump(found, default_flow_style=False).removesuffix("\n")
    return _table(items)


def _table(items: Iterable[Mapping[str, object]]) -> str:
    """Columns with one blank between them, as Go's tabwriter makes them; by creation, then by name."""
    rows = [_HEADER, *(row for _, _, row in sorted(map(_row, items)))]
    return "\n".join(_line(row, _widths(rows)) for row in rows)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
    return " ".join([*padded, row[-1]])


def _row(item: Mapping[str, object]) -> tuple[datetime, str, tuple[str, ...]]:
    """Time and name, to sort by, and the cells."""
    metadata, spec, status = (_object(item.get(key)) for key in ("metadata", "spec", "status"))
    created = _time(status.get("creationTime"))
    cells = (
        visible(spec.get("snapshotName", "")),
        visible(spec.get("location", "")),
        str(_bytes(status.get("size"))),
        "" if created is None else created.isoformat(timespec="seconds").replace("+00:00", "Z"),
    )
    return created or datetime.min.replace(tzinfo=UTC), str(metadata.get("name", "")), cells


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _bytes(value: object) -> int:
    """The whole number of a quantity such as 4100Ki; 0 for what is none."""
    try:
        return math.ceil(grammar.quantity(str(value)))
    except (ValueError, OverflowError):
        return 0


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
