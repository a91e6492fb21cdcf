"""Types, grammar and refusals: from values as they were given to those that a Config holds."""

from collections.abc import Mapping

from rke2_units.config import grammar
from rke2_units.config.keys import BY_NAME, Kind, Setting
from rke2_units.config.values import Given, Item
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.unit_names import Role


def settle(role: Role, given: Mapping[str, Given], errors: Collected) -> dict[str, tuple[Item, ...]]:
    """Checked items by name; settings that were set to nothing are left out, those in error as well."""
    settled: dict[str, tuple[Item, ...]] = {}
    for name, value in given.items():
        setting = BY_NAME[name]
        with errors.collecting():
            items = _items(setting, value)
            if items is None:
                continue
            _refuse(setting, items)
            settled[name] = items
    return settled


def _items(setting: Setting, value: Given) -> tuple[Item, ...] | None:
    if setting.kind is Kind.LIST:
        return _list(setting, value)
    if value.is_list:
        raise ConfigurationError(f"{value.source}: {setting.name} must be {setting.kind}, got a list")
    item = value.items[-1]
    if item.null or (setting.kind is Kind.TEXT and not item.text):
        return None
    return (_scalar(setting, item),)


def _list(setting: Setting, value: Given) -> tuple[Item, ...] | None:
    if not value.is_list and not any(item.text for item in value.items):
        return None
    items: list[Item] = []
    for item in value.items:
        text = _as_text(setting, item)
        parts = [part.strip() for part in text.split(",")] if setting.commas else [text]
        for part in parts:
            if not part:
                raise _wrong(setting, item, "a list of texts that are not empty")
            items.append(_checked(setting, Item(part, item.source)))
    return tuple(items) or None


def _scalar(setting: Setting, item: Item) -> Item:
    """One value of any type but LIST, in its uniform spelling."""
    try:
        if setting.kind is Kind.BOOLEAN:
            truth = grammar.boolean(item.meaning if item.meaning in ("true", "false") else item.text)
            return Item("true" if truth else "false", item.source)
        if setting.kind is Kind.OCTAL:
            # As written: YAML's own reading of 0644 is 420.
            return Item(f"{grammar.octal(item.text):04o}", item.source)
        if setting.kind is Kind.NUMBER:
            return _checked(setting, Item(str(grammar.number(item.text)), item.source))
        if setting.kind is Kind.DURATION:
            grammar.duration(item.text)
            return Item(item.text, item.source)
    except ValueError as error:
        raise _wrong(setting, item, str(error)) from None
    return _checked(setting, Item(_as_text(setting, item), item.source))


def _as_text(setting: Setting, item: Item) -> str:
    if item.null:
        raise ConfigurationError(f"{item.source}: {setting.name} must be {setting.kind}, got nothing")
    if item.meaning is not None and item.meaning != item.text:
        hint = "put it in quotes"
        reads = "another type" if setting.secret else f"{_shown(item)} as {item.meaning[:80]}"
        raise ConfigurationError(
            f"{item.source}: {setting.name} must be text, but YAML reads {reads}", hint=hint
        )
    return item.text


def _checked(setting: Setting, item: Item) -> Item:
    # What could not be written into a unit, TOML or an argument: control characters, line ends, halves of
    # characters.
    if not item.text.isprintable():
        raise _wrong(setting, item, "one line of printable text")
    if setting.choices and item.text not in setting.choices:
        raise _wrong(setting, item, f"one of {', '.join(choice for choice in setting.choices if choice)}")
    if setting.check is not None:
        try:
            setting.check(item.text)
        except ValueError as error:
            raise _wrong(setting, item, str(error)) from None
    return item


def _refuse(setting: Setting, items: tuple[Item, ...]) -> None:
    if setting.refused is None:
        return
    for item in items:
        if item.text not in (*setting.default.split(","), *setting.accepted):
            raise ConfigurationError(f"{item.source}: {setting.name} cannot be used: {setting.refused}")


def _wrong(setting: Setting, item: Item, expected: str) -> ConfigurationError:
    got = "" if setting.secret else f", got {_shown(item)}"
    return ConfigurationError(f"{item.source}: {setting.name} must be {expected}{got}")


def _shown(item: Item) -> str:
    text = item.text if len(item.text) <= 80 else f"{item.text[:77]}..."
    return repr(text) if item.meaning is None else text
