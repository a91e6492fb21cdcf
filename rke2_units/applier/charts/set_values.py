"""spec.set of a HelmChart: helm's --set and --set-string, passed in files.

helm-controller passes `--set key=value` for integers, true, false and null, and `--set-string key=value` for
everything else. Every process of the machine can read a command line, so this passes a file of values with
the same meaning. A key with an index ("a[0].b") changes a list in the other values, which a file of values
cannot do: its text is passed by --set-file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rke2_units.errors import UserError

_TYPED: dict[str, bool | None] = {"true": True, "false": False, "null": None}
# In the name of a key, a backslash escapes the next character.
_NAME = re.compile(r"(?:\\.|[^\\.,=\[])+", re.DOTALL)
_PLAIN_KEY = re.compile(rf"{_NAME.pattern}(?:\.{_NAME.pattern})*", re.DOTALL)
# "=" and "," would end the key and name another file to read; a backslash could hide them.
_INDEXED_KEY = re.compile(r"[^=,\\{}]*\[[0-9]+\][^=,\\{}]*")
_LIST_END = re.compile(r"(?:\\.|[^\\}])*\}", re.DOTALL)


@dataclass(frozen=True)
class SetValues:
    """`tree`: content of the last file of values. `files`: key and text of each --set-file. `typed`: the
    arguments of --set, for integers, booleans and null at an index.
    """

    tree: dict[str, Any]
    files: tuple[tuple[str, str], ...] = ()
    typed: tuple[str, ...] = ()


def read(values: Mapping[str, int | str]) -> SetValues:
    """spec.set with the meaning that it has for helm; UserError for anything that helm would reject."""
    tree: dict[str, Any] = {}
    files: list[tuple[str, str]] = []
    typed: list[str] = []
    for key in sorted(values):
        value = values[key]
        if (path := _path(key)) is not None:
            _put(tree, path, _typed(value) if _is_typed(value) else _text(key, str(value)))
        elif not _INDEXED_KEY.fullmatch(key):
            raise UserError(f"spec.set: helm does not accept the key {key!r}")
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
    """The names that a key consists of; None if it has an index or helm would not accept it."""
    if not _PLAIN_KEY.fullmatch(key):
        return None
    return [_unescape(name) for name in _NAME.findall(key)]


def _text(key: str, value: str) -> str | list[str]:
    """Resolves backslashes; a value in braces is a list of one item, since its commas are escaped."""
    if not value.startswith("{"):
        return _unescape(value)
    if not (found := _LIST_END.fullmatch(value)):
        raise UserError(
            f"spec.set: {key}: helm reads a text that begins with {{ as a list, and this is not a valid one"
        )
    return [_unescape(found[0][1:-1])]


def _unescape(text: str) -> str:
    return re.sub(r"\\(.?)", r"\1", text, flags=re.DOTALL)


def _put(tree: dict[str, Any], path: list[str], value: object) -> None:
    for name in path[:-1]:
        inner = tree.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UserError(f"spec.set: {'.'.join(path)}: {name} itself is set to a value")
        tree = inner
    if isinstance(tree.get(path[-1]), dict):
        raise UserError(f"spec.set: {'.'.join(path)} is set, and so are keys below it")
    tree[path[-1]] = value
