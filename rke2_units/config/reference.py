"""The table of keys as documentation."""

import re
from collections.abc import Iterator

from rke2_units.config.keys import BOTH, KEYS, Key


def markdown_table() -> str:
    """All keys as a Markdown definition list, sorted by name: a part of rke2-units-config(5)."""
    return "\n".join(_entry(key) for key in sorted(KEYS, key=lambda key: key.name))


def _entry(key: Key) -> str:
    # With line breaks in one paragraph it reads well on a web page that knows no definition lists, too.
    term = f"**{key.name}**" + (f", **{key.alias}**" if key.alias else "")
    return f"{term}\n:   " + "\\\n    ".join([_text(key.help), *_details(key)]) + "\n"


def _details(key: Key) -> Iterator[str]:
    details = [f"Type: {key.kind}."]
    if key.default:
        note = f" ({_text(key.default_note)})" if key.default_note else ""
        details.append(f"Default: {_code(key.default)}{note}.")
    elif key.default_note:
        details.append(f"Default: {_text(key.default_note)}.")
    if any(key.choices):
        details.append(f"One of {', '.join(_code(choice) for choice in key.choices if choice)}.")
    if key.environment:
        details.append(f"Environment: {_code(key.environment)}.")
    if key.roles != BOTH:
        details.append(f"On {' and '.join(sorted(f'{role}s' for role in key.roles))} only.")
    details.append(f"Used by: {key.used_by}.")
    if key.own:
        details.append("Not an RKE2 key: RKE2 rejects a file that contains it.")
    yield " ".join(details)
    if key.rejected:
        accepted = [_code(value) for value in dict.fromkeys((key.default, *key.accepted)) if value]
        only = f"Only {' and '.join(accepted)} {'are' if len(accepted) > 1 else 'is'} accepted"
        yield f"{only if accepted else 'Rejected'}: {_text(key.rejected)}."


def _code(text: str) -> str:
    return f"`{text}`"


def _text(text: str) -> str:
    """Text with Markdown's own characters escaped, but for those between `backticks`."""
    return re.sub(r"(`[^`]+`)|([\\`*_{}\[\]<>#|~^$])", lambda found: found[1] or f"\\{found[2]}", text)
