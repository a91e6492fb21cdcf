"""Reads what the plan writes for the programs: JSON files, taken apart by type."""

import json

from rke2_units.errors import ConfigurationError

REWRITE = "rke2-server (or rke2-agent) writes this file when it starts"


class Table:
    """A JSON object whose members are taken out by type; ConfigurationError names the place and the key."""

    def __init__(self, where: str, values: object) -> None:
        self.where = where
        if not isinstance(values, dict):
            raise ConfigurationError(f"{where}: not a table", hint=REWRITE)
        self.values: dict[str, object] = values

    def wrong(self, key: str, expected: str) -> ConfigurationError:
        return ConfigurationError(f"{self.where}: {key!r} is not {expected}", hint=REWRITE)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def pairs(self, key: str) -> list[tuple[str, str]]:
        value = self.values.get(key, [])
        found = []
        for pair in value if isinstance(value, list) else [value]:
            match pair:
                case [str() as first, str() as second]:
                    found.append((first, second))
                case _:
                    raise self.wrong(key, "a list of pairs of texts")
        return found

    def boolean(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def table(self, key: str) -> "Table":
        # What is said of it shall be one line, whatever the file holds.
        shown = key if key.isprintable() else repr(key)
        return Table(f"{self.where}: {shown}", self.values.get(key, {}))

    def tables(self, key: str) -> "list[Table]":
        value = self.values.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "a list of tables")
        return [Table(f"{self.where}: {key}: {number}", item) for number, item in enumerate(value, 1)]


def read(path: str) -> Table:
    """The object in this file; ConfigurationError when it is missing or not what the plan writes."""
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}", hint=REWRITE) from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}", hint=REWRITE) from None
    return Table(path, values)
