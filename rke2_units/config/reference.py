"""The table of settings as documentation."""

import re

from rke2_units.config.settings import BOTH, SETTINGS, Kind, Setting


def markdown_table() -> str:
    """All settings as a Markdown definition list, sorted by name."""
    return "\n".join(_entry(setting) for setting in sorted(SETTINGS, key=lambda setting: setting.name))


def _entry(setting: Setting) -> str:
    lines = [f"**{setting.name}**" + (f", **{setting.alias}**" if setting.alias else ""), ""]
    lines[1] = f":   {_text(setting.help)}"
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
    lines += ["", f"    {_text(' '.join(details))}"]
    if setting.refused:
        allowed = [value for value in dict.fromkeys((setting.default, *setting.accepted)) if value]
        only = f" but for {' or '.join(allowed)}" if allowed and setting.kind is not Kind.BOOLEAN else ""
        lines += ["", f"    {_text(f'Refused{only}: {setting.refused}.')}"]
    return "\n".join([*lines, ""])


def _text(text: str) -> str:
    """Text with Markdown's own characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~^$])", r"\\\1", text)
