"""YAML configuration files as values that know their line.

Read by events: PyYAML's binding to libyaml composes nodes by recursion without limit, so that a deeply
nested file would end the process; and a value's own spelling matters, as YAML 1.1 takes `no` for false
and `0644` for 420.
"""

from dataclasses import dataclass

import yaml

from rke2_units.config.values import Given, Item
from rke2_units.errors import ConfigurationError

# A configuration file is small; anything larger is another file by mistake.
LARGEST_FILE = 1 << 20

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_QUOTE_HINT = "put it in quotes"


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
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(f"{name}: larger than {LARGEST_FILE} bytes", hint="is it the right file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{name}:{line}: not UTF-8 text") from None
    try:
        return _Reader(text, name).entries()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The end of a file counts as its last line.
        line = min(mark.line + 1 if mark else 1, max(len(text.splitlines()), 1))
        raise ConfigurationError(f"{name}:{line}: not valid YAML: {_problem(error)}") from None
    except yaml.reader.ReaderError as error:
        before = error.position if isinstance(error.position, int) else 0
        line = text.count("\n", 0, before) + 1
        raise ConfigurationError(f"{name}:{line}: not valid YAML: a character that is not allowed") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ConfigurationError(f"{name}: not valid YAML") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    # What follows a quote or a colon is taken from the file.
    problem = (error.problem or error.context or "it cannot be read").partition("'")[0].partition(":")[0]
    return problem.strip().rstrip(",") or "it cannot be read"


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self._loader = _LOADER(text)
        self._name = name
        self._anchors: dict[str, Given] = {}

    def entries(self) -> list[Entry]:
        self._next()  # the stream's start
        if isinstance(self._next(), yaml.StreamEndEvent):
            return []
        start = self._next()
        entries: list[Entry] = []
        if isinstance(start, yaml.MappingStartEvent):
            entries = self._map()
        elif not (isinstance(start, yaml.ScalarEvent) and self._item(start, "").null):
            raise self._error(start, "must be a map of keys to values", hint="one 'key: value' per line")
        self._next()  # the document's end
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._error(after, "a second YAML document, but a configuration file has one")
        return entries

    def _map(self) -> list[Entry]:
        entries: list[Entry] = []
        seen: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(event, "a key must be text")
            if event.anchor is not None:
                raise self._error(event, "a key must not have an anchor")
            key = event.value
            if not key.isprintable() or not key or len(key) > 253:
                raise self._error(event, "a key must be one line of text")
            line = _line(event)
            if key in seen:
                raise self._error(event, f"{key} is set a second time, first in line {seen[key]}")
            seen[key] = line
            entries.append(Entry(key, f"{self._name}:{line}", self._value(key)))
        return entries

    def _value(self, key: str) -> Given:
        event = self._next()
        source = f"{self._name}:{_line(event)}"
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, key)
        if isinstance(event, yaml.ScalarEvent):
            given = Given((self._item(event, key),), False, source)
        elif isinstance(event, yaml.SequenceStartEvent):
            given = Given(self._sequence(key), True, source)
        else:
            raise self._error(
                event, f"{key} must not be a map", hint="write lists of texts as '- key=value'"
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = given
        return given

    def _sequence(self, key: str) -> tuple[Item, ...]:
        items: list[Item] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            if isinstance(event, yaml.AliasEvent):
                given = self._alias(event, key)
                if given.is_list:
                    raise self._error(event, f"{key} must be a list of texts, got a list in it")
                items += given.items
                continue
            if not isinstance(event, yaml.ScalarEvent):
                what = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
                raise self._error(
                    event,
                    f"{key} must be a list of texts, got a {what} in it",
                    hint="write key=value, or put the text in quotes" if what == "map" else None,
                )
            item = self._item(event, key)
            if event.anchor is not None:
                self._anchors[event.anchor] = Given((item,), False, item.source)
            items.append(item)
        return tuple(items)

    def _alias(self, event: yaml.AliasEvent, key: str) -> Given:
        given = self._anchors.get(event.anchor or "")
        if given is None:
            raise self._error(event, f"{key} refers to an anchor that is not there", hint=_QUOTE_HINT)
        return given

    def _item(self, event: yaml.ScalarEvent, key: str) -> Item:
        source = f"{self._name}:{_line(event)}"
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        kind = tag.removeprefix(_TAG)
        if kind == "null":
            return Item("", source, null=True)
        if kind in ("bool", "int", "float"):
            return Item(event.value, source, meaning=self._meaning(kind, event, key))
        if kind in ("str", "timestamp", "value", "merge"):
            return Item(event.value, source)
        raise self._error(event, f"{key} has a YAML tag that means nothing here")

    def _meaning(self, kind: str, event: yaml.ScalarEvent, key: str) -> str:
        node = yaml.ScalarNode(_TAG + kind, event.value)
        try:
            if kind == "bool":
                return str(self._loader.construct_yaml_bool(node)).lower()
            if kind == "int":
                return str(self._loader.construct_yaml_int(node))
            return str(self._loader.construct_yaml_float(node))
        except (ValueError, KeyError, IndexError, OverflowError):
            raise self._error(event, f"{key} has a value that YAML cannot read", hint=_QUOTE_HINT) from None

    def _next(self) -> yaml.Event:
        event: yaml.Event = self._loader.get_event()  # type: ignore[no-untyped-call]
        return event

    def _error(self, event: yaml.Event, problem: str, *, hint: str | None = None) -> ConfigurationError:
        return ConfigurationError(f"{self._name}:{_line(event)}: {problem}", hint=hint)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
