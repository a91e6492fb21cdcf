"""Types, grammar and rejected keys: from values as they were given to those that a Config holds."""

from collections.abc import Mapping

from rke2_units.config import grammar
from rke2_units.config.keys import BY_NAME, Key, Kind
from rke2_units.config.values import Given, Item
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.unit_names import Role


def settle(role: Role, given: Mapping[str, Given], errors: Collected) -> dict[str, tuple[Item, ...]]:
    """Checked items by name; keys that were set to nothing are left out, those in error as well."""
    settled: dict[str, tuple[Item, ...]] = {}
    for name, value in given.items():
        key = BY_NAME[name]
        with errors.collecting():
            items = _items(key, value)
            if items is None:
                continue
            _reject(key, items)
            settled[name] = items
    return settled


def _items(key: Key, value: Given) -> tuple[Item, ...] | None:
    if key.kind is Kind.LIST:
        return _list(key, value)
    if value.is_list:
        raise ConfigurationError(f"{value.source}: {key.name} must be {key.kind}, got a list")
    item = value.items[-1]
    if item.null or (key.kind is Kind.TEXT and not item.text):
        return None
    return (_scalar(key, item),)


def _list(key: Key, value: Given) -> tuple[Item, ...] | None:
    if not value.is_list and not any(item.text for item in value.items):
        return None
    items: list[Item] = []
    for item in value.items:
        text = _as_text(key, item)
        parts = [part.strip() for part in text.split(",")] if key.commas else [text]
        for part in parts:
            if not part:
                raise _wrong(key, item, "a list of texts that are not empty")
            items.append(_checked(key, Item(part, item.source)))
    return tuple(items) or None


def _scalar(key: Key, item: Item) -> Item:
    """One value of any type but LIST, in its uniform spelling."""
    try:
        if key.kind is Kind.BOOLEAN:
            truth = grammar.boolean(item.meaning if item.meaning in ("true", "false") else item.text)
            return Item("true" if truth else "false", item.source)
        if key.kind is Kind.OCTAL:
            # As written: YAML's own reading of 0644 is 420.
            return Item(f"{grammar.octal(item.text):04o}", item.source)
        if key.kind is Kind.NUMBER:
            return _checked(key, Item(str(grammar.number(item.text)), item.source))
        if key.kind is Kind.DURATION:
            grammar.duration(item.text)
            return _checked(key, Item(item.text, item.source))
    except ValueError as error:
        raise _wrong(key, item, str(error)) from None
    return _checked(key, Item(_as_text(key, item), item.source))


def _as_text(key: Key, item: Item) -> str:
    if item.null:
        raise ConfigurationError(f"{item.source}: {key.name} must be {key.kind}, got nothing")
    if item.meaning is not None and item.meaning != item.text:
        hint = "put it in quotes"
        reads = "another type" if key.secret else f"{_shown(item)} as {item.meaning[:80]}"
        raise ConfigurationError(
            f"{item.source}: {key.name} must be text, but YAML reads {reads}", hint=hint
        )
    return item.text


def _checked(key: Key, item: Item) -> Item:
    # What could not be written into a unit, TOML or an argument: control characters, line ends, halves of
    # characters.
    if not item.text.isprintable():
        raise _wrong(key, item, "one line of printable text")
    if key.choices and item.text not in key.choices:
        raise _wrong(key, item, f"one of {', '.join(choice for choice in key.choices if choice)}")
    if key.check is not None:
        try:
            key.check(item.text)
        except ValueError as error:
            raise _wrong(key, item, str(error)) from None
    return item


def _reject(key: Key, items: tuple[Item, ...]) -> None:
    if key.rejected is None:
        return
    for item in items:
        if item.text not in (*key.default.split(","), *key.accepted):
            raise ConfigurationError(f"{item.source}: {key.name} cannot be used: {key.rejected}")


def _wrong(key: Key, item: Item, expected: str) -> ConfigurationError:
    got = "" if key.secret else f", got {_shown(item)}"
    return ConfigurationError(f"{item.source}: {key.name} must be {expected}{got}")


def _shown(item: Item) -> str:
    text = item.text if len(item.text) <= 80 else f"{item.text[:77]}..."
    return repr(text) if item.meaning is None else text
