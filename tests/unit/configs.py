"""Configurations of tests: made of Python values or of a file's entries, checked as those of a node are."""

from collections.abc import Iterable, Mapping, Sequence

from rke2_units.config.config import Config
from rke2_units.config.load import settled
from rke2_units.config.values import Given, Item
from rke2_units.config.yaml_file import Entry
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.unit_names import Role


def make_config(role: Role, values: Mapping[str, object]) -> Config:
    """Of Python values by key (text, bool, int, None, lists of these); the source of each is "test"."""
    return of_files(role, [[Entry(key, "test", _given(value)) for key, value in values.items()]])


def of_files(role: Role, files: Iterable[Sequence[Entry]]) -> Config:
    """Of the entries of files; files that they name are not read: `token-file` stays what it is."""
    return settled(role, files, {}, (), Collected())


def _given(value: object) -> Given:
    if isinstance(value, (list, tuple)):
        return Given(tuple(_item(item) for item in value), True, "test")
    return Given((_item(value),), False, "test")


def _item(value: object) -> Item:
    if value is None:
        return Item("", "test", null=True)
    if isinstance(value, bool):
        text = str(value).lower()
        return Item(text, "test", meaning=text)
    if isinstance(value, (int, float)):
        return Item(str(value), "test", meaning=str(value))
    if isinstance(value, str):
        return Item(value, "test")
    raise ConfigurationError(f"test: the value of a key cannot be a {type(value).__name__}")
