"""Writes TOML 1.0, which the standard library only reads: nested tables of plain values and lists."""

import json
from collections.abc import Mapping


def text(values: Mapping[str, object], heading: str = "") -> str:
    """The document; plain values of a table come before its tables, which keep their order."""
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in plain.items()]
    if heading and (lines or not values):
        lines.insert(0, f"[{heading}]\n")
    blocks = ["".join(lines)] if lines else []
    for key, value in values.items():
        if isinstance(value, Mapping):
            blocks.append(text(value, f"{heading}.{_key(key)}" if heading else _key(key)))
    return "\n".join(blocks)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's texts, numbers and booleans are TOML's, but for pairs of surrogates and DEL in texts.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
