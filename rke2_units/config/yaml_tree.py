"""Nested YAML as maps, lists and scalars that know their line, and the reading of values by their type."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from rke2_units.config import yaml_events
from rke2_units.config.values import Item
from rke2_units.config.yaml_events import Events
from rke2_units.errors import ConfigurationError

# No configuration nests deeper; a file that does would exhaust the stack.
_DEEPEST = 16


@dataclass(frozen=True)
class Items:
    """A list; `source` is FILE:LINE."""

    items: "tuple[Tree, ...]"
    source: str


@dataclass(frozen=True)
class Map:
    """A map; `sources` has the FILE:LINE of each key."""

    entries: "Mapping[str, Tree]"
    sources: Mapping[str, str]
    source: str


Tree: TypeAlias = Item | Items | Map


def parse(content: bytes, name: str) -> Tree:
    """The file's document; an empty file is a null. ConfigurationError with file and line for bad YAML."""
    return yaml_events.read(content, name, lambda events: _Reader(events).document(name))


class _Reader:
    def __init__(self, events: Events) -> None:
        self._events = events
        self._anchors: dict[str, Tree] = {}

    def document(self, name: str) -> Tree:
        start = self._events.start()
        if start is None:
            return Item("", f"{name}:1", null=True)
        tree = self._tree(start, "the file", 0)
        self._events.end()
        return tree

    def _tree(self, event: yaml.Event, name: str, depth: int) -> Tree:
        if depth > _DEEPEST:
            raise self._events.error(event, f"nested deeper than {_DEEPEST} levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._events.error(
                    event, f"{name} refers to an anchor that is not there", hint=yaml_events.QUOTE_HINT
                )
            return self._anchors[event.anchor]
        tree: Tree
        if isinstance(event, yaml.ScalarEvent):
            tree = self._events.item(event, name)
        elif isinstance(event, yaml.SequenceStartEvent):
            tree = self._items(event, name, depth)
        else:
            tree = self._map(event, depth)
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = tree
        return tree

    def _items(self, start: yaml.Event, name: str, depth: int) -> Items:
        items: list[Tree] = []
        while not isinstance(event := self._events.next(), yaml.SequenceEndEvent):
            items.append(self._tree(event, name, depth + 1))
        return Items(tuple(items), self._events.source(start))

    def _map(self, start: yaml.Event, depth: int) -> Map:
        entries: dict[str, Tree] = {}
        sources: dict[str, str] = {}
        while not isinstance(event := self._events.next(), yaml.MappingEndEvent):
            key = self._events.key(event)
            if key in sources:
                raise self._events.error(event, f"{key} is set a second time, first in {sources[key]}")
            sources[key] = self._events.source(event)
            entries[key] = self._tree(self._events.next(), key, depth + 1)
        return Map(entries, sources, self._events.source(start))


class Section:
    """A map of the file whose values are taken by type; errors begin with FILE:LINE and the key's path.

    `keys` are all that it may have (None: any, they are names of things). A null stands for an empty map and
    for an unset value. Values are never part of an error.
    """

    def __init__(self, tree: Tree, path: str, keys: tuple[str, ...] | None = None) -> None:
        self.path = path
        if isinstance(tree, Item) and tree.null:
            tree = Map({}, {}, tree.source)
        if not isinstance(tree, Map):
            raise ConfigurationError(f"{tree.source}: {path or 'the file'} must be a map, got {_kind(tree)}")
        self._map = tree
        for key in tree.entries:
            if keys is not None and key not in keys:
                # Only for the error: it is slow to load.
                import difflib

                nearest = difflib.get_close_matches(key, keys, n=1)
                hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(keys)}"
                raise self.error(key, "is not a key that is known here", hint=hint)

    def __iter__(self) -> Iterator[str]:
        return iter(self._map.entries)

    def __contains__(self, key: str) -> bool:
        found = self._map.entries.get(key)
        return found is not None and not (isinstance(found, Item) and found.null)

    def source(self, key: str) -> str:
        """The FILE:LINE of the key; of the map itself when it does not have it."""
        return self._map.sources.get(key, self._map.source)

    def section(self, key: str, keys: tuple[str, ...] | None = None) -> "Section":
        tree = self._map.entries.get(key, Item("", self._map.source, null=True))
        return Section(tree, self._name(key), keys)

    def text(self, key: str) -> str:
        """The text as it is written, quoted or not; "" when it is unset."""
        return self._text(key, self._map.entries[key]) if key in self else ""

    def texts(self, key: str) -> list[tuple[str, str]]:
        """The texts of a list, each with its FILE:LINE."""
        if key not in self:
            return []
        found = self._map.entries[key]
        if not isinstance(found, Items):
            raise self.error(key, f"must be a list of texts, got {_kind(found)}")
        return [(self._text(key, item), item.source) for item in found.items]

    def boolean(self, key: str) -> bool:
        if key not in self:
            return False
        found = self._map.entries[key]
        if isinstance(found, Item) and found.meaning in ("true", "false"):
            return found.meaning == "true"
        raise self.error(key, "must be true or false")

    def error(self, key: str, problem: str, *, hint: str | None = None) -> ConfigurationError:
        return ConfigurationError(f"{self.source(key)}: {self._name(key)} {problem}", hint=hint)

    def _text(self, key: str, tree: Tree) -> str:
        if not isinstance(tree, Item) or tree.null:
            raise ConfigurationError(f"{tree.source}: {self._name(key)} must be text, got {_kind(tree)}")
        if not tree.text.isprintable():
            raise ConfigurationError(f"{tree.source}: {self._name(key)} must be one line of printable text")
        return tree.text

    def _name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _kind(tree: Tree) -> str:
    if isinstance(tree, Item):
        return "nothing" if tree.null else "text"
    return "a list" if isinstance(tree, Items) else "a map"
