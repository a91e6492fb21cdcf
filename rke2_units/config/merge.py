"""RKE2's merge rules: command line over files over environment, later file over earlier, `key+` appends."""

from collections.abc import Iterable, Mapping, Sequence

from rke2_units.config.keys import BY_NAME, K3S_ONLY, KEYS, OTHER_COMMANDS, Key, find
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
    """Values by key, for the keys of this role; a key that is unknown goes into `errors`.

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
            key = _key(entry.key.removesuffix("+"), entry.source, errors)
            appends = entry.key.endswith("+")
            if key is None:
                continue
            # The same key by its one-letter name.
            first = seen.get((key.name, appends))
            if first is not None:
                errors.add(
                    ConfigurationError(f"{entry.source}: {key.name} is set a second time, first in {first}")
                )
            seen[key.name, appends] = entry.source
            if role not in key.roles:
                continue
            before = merged.get(key.name)
            merged[key.name] = before.followed_by(entry.value) if before and appends else entry.value
    return merged


def _environment(role: Role, environment: Mapping[str, str]) -> dict[str, Given]:
    merged = {}
    for key in KEYS:
        text = environment.get(key.environment) if key.environment else None
        if text and role in key.roles:
            merged[key.name] = text_value(text, f"environment {key.environment}")
    return merged


def _arguments(role: Role, arguments: Sequence[tuple[str, str]], errors: Collected) -> dict[str, Given]:
    merged: dict[str, Given] = {}
    for name, text in arguments:
        key = _key(name, "command line", errors)
        if key is None or role not in key.roles:
            continue
        value = text_value(text, "command line")
        before = merged.get(key.name)
        merged[key.name] = before.followed_by(value) if before else value
    return merged


def _key(name: str, source: str, errors: Collected) -> Key | None:
    """The key of this name, None for one of another command and for one in error."""
    key = find(name)
    if key is None and name not in OTHER_COMMANDS:
        errors.add(_unknown(name, source))
    return key


def _unknown(name: str, source: str) -> ConfigurationError:
    for flag, instead in K3S_ONLY.items():
        if name == flag or (flag.endswith("*") and name.startswith(flag[:-1])):
            return ConfigurationError(
                f"{source}: {name} is a key of k3s, which RKE2 does not have",
                hint=f"use {instead}" if instead else "remove it",
            )
    return ConfigurationError(f"{source}: unknown key {name!r}", hint=_suggestion(name))


def _suggestion(name: str) -> str:
    # Only needed for an error.
    import difflib

    close = difflib.get_close_matches(name.replace("_", "-").lower(), BY_NAME, n=1)
    return f"did you mean {close[0]}?" if close else "rke2-units-config(5) lists all keys"
