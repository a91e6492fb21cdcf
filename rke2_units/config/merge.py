"""RKE2's merge rules: command line over files over environment, later file over earlier, `key+` appends."""

from collections.abc import Iterable, Mapping, Sequence

from rke2_units.config.keys import BY_NAME, K3S_ONLY, OTHER_COMMANDS, SETTINGS, Setting, find
from rke2_units.config.values import Given, text_value
from rke2_units.config.yaml_file import Entry
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.unit_names import Role


def merge(
    role: Role,
    files: Iterable[Sequence[Entry]],
    environment: Mapping[str, str],
    arguments: Sequence[tuple[str, str]],
    errors: Collected,
) -> dict[str, Given]:
    """Values by setting name, for the settings of this role; a key that is unknown goes into `errors`.

    A list given on the command line, once or repeatedly, replaces that of the files.
    """
    return {
        **_environment(role, environment),
        **_files(role, files, errors),
        **_arguments(role, arguments, errors),
    }


def _files(role: Role, files: Iterable[Sequence[Entry]], errors: Collected) -> dict[str, Given]:
    merged: dict[str, Given] = {}
    for entries in files:
        seen: dict[tuple[str, bool], str] = {}
        for entry in entries:
            key = entry.key.removesuffix("+")
            appends = entry.key.endswith("+")
            setting = _setting(key, entry.source, errors)
            if setting is None:
                continue
            # The same key by its one-letter name.
            first = seen.get((setting.name, appends))
            if first is not None:
                errors.add(
                    ConfigurationError(
                        f"{entry.source}: {setting.name} is set a second time, first in {first}"
                    )
                )
            seen[setting.name, appends] = entry.source
            if role not in setting.roles:
                continue
            before = merged.get(setting.name)
            merged[setting.name] = before.followed_by(entry.value) if before and appends else entry.value
    return merged


def _environment(role: Role, environment: Mapping[str, str]) -> dict[str, Given]:
    merged = {}
    for setting in SETTINGS:
        text = environment.get(setting.environment) if setting.environment else None
        if text and role in setting.roles:
            merged[setting.name] = text_value(text, f"environment {setting.environment}")
    return merged


def _arguments(role: Role, arguments: Sequence[tuple[str, str]], errors: Collected) -> dict[str, Given]:
    merged: dict[str, Given] = {}
    for key, text in arguments:
        setting = _setting(key, "command line", errors)
        if setting is None or role not in setting.roles:
            continue
        value = text_value(text, "command line")
        before = merged.get(setting.name)
        merged[setting.name] = before.followed_by(value) if before else value
    return merged


def _setting(key: str, source: str, errors: Collected) -> Setting | None:
    """The setting of a key, None for one of another command and for one in error."""
    setting = find(key)
    if setting is None and key not in OTHER_COMMANDS:
        errors.add(_unknown(key, source))
    return setting


def _unknown(key: str, source: str) -> ConfigurationError:
    for name, instead in K3S_ONLY.items():
        if key == name or (name.endswith("*") and key.startswith(name[:-1])):
            return ConfigurationError(
                f"{source}: {key} is a key of k3s, which RKE2 does not have",
                hint=f"use {instead}" if instead else "remove it",
            )
    return ConfigurationError(f"{source}: unknown key {key!r}", hint=_suggestion(key))


def _suggestion(key: str) -> str:
    # Only needed for an error.
    import difflib

    close = difflib.get_close_matches(key.replace("_", "-").lower(), BY_NAME, n=1)
    return f"did you mean {close[0]}?" if close else "rke2-units-config(5) lists all keys"
