"""The table of settings as documentation."""

import re
from collections.abc import Iterator

from rke2_units.config.keys import BOTH, SETTINGS, Kind, Setting


def markdown_table() -> str:
    """All settings as a Markdown definition list, sorted by name. rke2-units-config(5) has it as it is."""
    return "\n".join(_entry(setting) for setting in sorted(SETTINGS, key=lambda setting: setting.name))


def _entry(setting: Setting) -> str:
    # With line breaks in one paragraph it reads well on a web page that knows no definition lists, too.
    lines = [setting.help, *_details(setting)]
    term = f"**{setting.name}**" + (f", **{setting.alias}**" if setting.alias else "")
    return f"{term}\n:   " + "\\\n    ".join(_text(line) for line in lines) + "\n"


def _details(setting: Setting) -> Iterator[str]:
    details = [f"Type: {setting.kind}."]
    if setting.default_note or setting.default:
        note = f" ({setting.default_note})" if setting.default and setting.default_note else ""
        details.append(f"Default: {setting.default or setting.default_note}{note}.")
    choices = [choice for choice in setting.choices if choice]
    if choices:
        details.append(f"One of {', '.join(choices)}.")
    if setting.environment:
        details.append(f"Environment: {setting.environment}.")
    if setting.roles != BOTH:
        details.append(f"On {' and '.join(sorted(f'{role}s' for role in setting.roles))} only.")
    details.append(f"Used by: {setting.consumer}.")
    if setting.own:
        details.append("RKE2 does not know it, and refuses a file that has it.")
    yield " ".join(details)
    if setting.refused:
        allowed = [value for value in dict.fromkeys((setting.default, *setting.accepted)) if value]
        only = f" but for {' or '.join(allowed)}" if allowed and setting.kind is not Kind.BOOLEAN else ""
        yield f"Refused{only}: {setting.refused}."


def _text(text: str) -> str:
    """Text with Markdown's own characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~^$])", r"\\\1", text)
