"""config.yaml and its drop-ins: one flat map of keys to texts and lists of texts."""

from dataclasses import dataclass

import yaml

from rke2_units.config import yaml_events
from rke2_units.config.values import Given, Item
from rke2_units.config.yaml_events import Events


@dataclass(frozen=True)
class Entry:
    """A key of a file as it stands there (with its `+`), and its value."""

    key: str
    source: str
    value: Given


def parse(content: bytes, name: str) -> list[Entry]:
    """The entries of a file in their order; `name` is the file's name in errors.

    ConfigurationError with file and line for what is not a flat YAML map. The texts of values are not part
    of it.
    """
    return yaml_events.read(content, name, lambda events: _Reader(events).entries())


class _Reader:
    def __init__(self, events: Events) -> None:
        self._events = events
        self._anchors: dict[str, Given] = {}

    def entries(self) -> list[Entry]:
        start = self._events.start()
        if start is None:
            return []
        entries: list[Entry] = []
        if isinstance(start, yaml.MappingStartEvent):
            entries = self._map()
        elif not (isinstance(start, yaml.ScalarEvent) and self._events.item(start, "").null):
            raise self._events.error(
                start, "must be a map of keys to values", hint="one 'key: value' per line"
            )
        self._events.end()
        return entries

    def _map(self) -> list[Entry]:
        entries: list[Entry] = []
        seen: dict[str, int] = {}
        while not isinstance(event := self._events.next(), yaml.MappingEndEvent):
            key = self._events.key(event)
            if key in seen:
                raise self._events.error(event, f"{key} is set a second time, first in line {seen[key]}")
            seen[key] = yaml_events.line(event)
            entries.append(Entry(key, self._events.source(event), self._value(key)))
        return entries

    def _value(self, key: str) -> Given:
        event = self._events.next()
        source = self._events.source(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, key)
        if isinstance(event, yaml.ScalarEvent):
            given = Given((self._events.item(event, key),), False, source)
        elif isinstance(event, yaml.SequenceStartEvent):
            given = Given(self._sequence(key), True, source)
        else:
            raise self._events.error(
                event, f"{key} must not be a map", hint="write lists of texts as '- key=value'"
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = given
        return given

    def _sequence(self, key: str) -> tuple[Item, ...]:
        items: list[Item] = []
        while not isinstance(event := self._events.next(), yaml.SequenceEndEvent):
            if isinstance(event, yaml.AliasEvent):
                given = self._alias(event, key)
                if given.is_list:
                    raise self._events.error(event, f"{key} must be a list of texts, got a list in it")
                items += given.items
                continue
            if not isinstance(event, yaml.ScalarEvent):
                what = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
                raise self._events.error(
                    event,
                    f"{key} must be a list of texts, got a {what} in it",
                    hint="write key=value, or put the text in quotes" if what == "map" else None,
                )
            item = self._events.item(event, key)
            if event.anchor is not None:
                self._anchors[event.anchor] = Given((item,), False, item.source)
            items.append(item)
        return tuple(items)

    def _alias(self, event: yaml.AliasEvent, key: str) -> Given:
        given = self._anchors.get(event.anchor or "")
        if given is None:
            raise self._events.error(
                event, f"{key} refers to an anchor that is not there", hint=yaml_events.QUOTE_HINT
            )
        return given
