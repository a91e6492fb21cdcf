"""spec.set of a HelmChart: helm's --set and --set-string, by way of files.

helm-controller gives `--set key=value` for integers, true, false and null, and `--set-string key=value` for
everything else. A command line can be read by every process of the machine, so a file of values with the
same meaning takes its place. Keys with an index ("a[0].b") change a list of the other values, which a file
of values cannot: their texts go by --set-file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rke2_units.errors import UserError

_TYPED: dict[str, bool | None] = {"true": True, "false": False, "null": None}
# In a name of a key, a backslash takes the next character as it is.
_NAME = re.compile(r"(?:\\.|[^\\.,=\[])+", re.DOTALL)
_PLAIN_KEY = re.compile(rf"{_NAME.pattern}(?:\.{_NAME.pattern})*", re.DOTALL)
# "=" and "," would end the key and name another file to read; a backslash could hide them.
_INDEXED_KEY = re.compile(r"[^=,\\{}]*\[[0-9]+\][^=,\\{}]*")
_LIST_END = re.compile(r"(?:\\.|[^\\}])*\}", re.DOTALL)


@dataclass(frozen=True)
class SetValues:
    """`tree`: what goes into the last file of values. `files`: key and text of each --set-file. `typed`: the
    arguments of --set, which are integers, booleans and null at an index.
    """

    tree: dict[str, Any]
    files: tuple[tuple[str, str], ...] = ()
    typed: tuple[str, ...] = ()


def read(values: Mapping[str, int | str]) -> SetValues:
    """spec.set as helm would take it; UserError for what helm would refuse."""
    tree: dict[str, Any] = {}
    files: list[tuple[str, str]] = []
    typed: list[str] = []
    for key in sorted(values):
        value = values[key]
        if (path := _path(key)) is not None:
            _put(tree, path, _typed(value) if _is_typed(value) else _text(key, str(value)))
        elif not _INDEXED_KEY.fullmatch(key):
            raise UserError(f"spec.set: the key {key!r} is not one that helm takes")
        elif _is_typed(value):
            typed.append(f"{key}={value}")
        else:
            text = _text(key, str(value))
            if isinstance(text, list):
                raise UserError(f"spec.set: {key}: a list cannot be set at an index", hint="use spec.values")
            files.append((key, text))
    return SetValues(tree, tuple(files), tuple(typed))


def _is_typed(value: int | str) -> bool:
    return isinstance(value, int) or value.lower() in _TYPED


def _typed(value: int | str) -> int | bool | None:
    return value if isinstance(value, int) else _TYPED[value.lower()]


def _path(key: str) -> list[str] | None:
    """The names that a key is made of, None for one with an index or that helm would not take."""
    if not _PLAIN_KEY.fullmatch(key):
        return None
    return [_unescape(name) for name in _NAME.findall(key)]


def _text(key: str, value: str) -> str | list[str]:
    """A backslash takes the next character as it is; braces make a list, of one, as commas are escaped."""
    if not value.startswith("{"):
        return _unescape(value)
    if not (found := _LIST_END.fullmatch(value)):
        raise UserError(
            f"spec.set: {key}: helm takes a text that begins with {{ for a list, and this is none"
        )
    return [_unescape(found[0][1:-1])]


def _unescape(text: str) -> str:
    return re.sub(r"\\(.?)", r"\1", text, flags=re.DOTALL)


def _put(tree: dict[str, Any], path: list[str], value: object) -> None:
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UserError(f"spec.set: {'.'.join(path)}: {name} is set to a value of its own")
        tree = inner
    if isinstance(tree.get(path[-1]), dict):
        raise UserError(f"spec.set: {'.'.join(path)} is set, and names below it too")
    tree[path[-1]] = value
