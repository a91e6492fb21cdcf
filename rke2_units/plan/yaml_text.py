"""YAML that every parser reads alike."""

import re
from collections.abc import Mapping

import yaml

# Texts in JSON's form, an escape, or what JSON leaves in them that YAML does not take.
_PAIR_OR_ESCAPE = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\.|\x7f", re.DOTALL)


# Texts that are numbers or booleans to the YAML of Go, and texts to PyYAML: 08, 1e3, 0b1, y.
_NO_TEXT_TO_GO = re.compile(r"[-+]?[.0-9][0-9_.]*([eE][-+]?[0-9]+)?|[-+]?0[xXoObB][0-9a-fA-F_]+|[yYnN]")


class _Dumper(yaml.SafeDumper):
    """Quotes texts that another parser would read as another type."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _NO_TEXT_TO_GO.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def document(values: Mapping[str, object]) -> str:
    """The YAML text of values, in their order."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=4096)


def from_json_texts(text: str) -> str:
    """A YAML text whose scalars were written as JSON, with what YAML's quotes do not know rewritten.

    JSON escapes a character beyond U+FFFF as two surrogates and leaves DEL as it is; YAML has neither.
    """
    return _PAIR_OR_ESCAPE.sub(_rewrite, text)


def _rewrite(match: re.Match[str]) -> str:
    if match[1]:
        high, low = int(match[1], 16), int(match[2], 16)
        return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"
    return "\\x7f" if match[0] == "\x7f" else match[0]
