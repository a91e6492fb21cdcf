"""YAML, read by events: values that know their line.

PyYAML's binding to libyaml composes nodes by recursion without limit, so that a deeply nested file would end
the process; and a value's own spelling matters, as YAML 1.1 takes `no` for false and `0644` for 420.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import yaml

from rke2_units.config.values import Item
from rke2_units.errors import ConfigurationError

# A configuration file is small; anything larger is another file by mistake.
LARGEST_FILE = 1 << 20
QUOTE_HINT = "put it in quotes"

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_QUOTED = re.compile("'([^']*)'?")
# YAML's own, as in: did not find expected ',' or ']'.
_SIGNS = re.compile(r"[][{},:>-]")
_TAG = "tag:yaml.org,2002:"
_Value = TypeVar("_Value")


def read(content: bytes, name: str, reader: "Callable[[Events], _Value]") -> _Value:
    """What `reader` makes of the file's one document; `name` is the file's name in errors.

    ConfigurationError with file and line for what is not YAML. The texts of values are not part of it.
    """
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(f"{name}: larger than {LARGEST_FILE} bytes", hint="is it the right file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{name}:{line}: not UTF-8 text") from None
    try:
        return reader(Events(text, name))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The end of a file counts as its last line.
        lines = text.splitlines() or [""]
        line = min(mark.line + 1 if mark else 1, len(lines))
        is_tab = mark is not None and lines[line - 1][mark.column : mark.column + 1] == "\t"
        raise ConfigurationError(
            f"{name}:{line}: not valid YAML: {'a tab' if is_tab else _problem(error)}",
            hint="YAML indents with spaces" if is_tab else None,
        ) from None
    except yaml.reader.ReaderError as error:
        before = error.position if isinstance(error.position, int) else 0
        line = text.count("\n", 0, before) + 1
        raise ConfigurationError(f"{name}:{line}: not valid YAML: a character that is not allowed") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ConfigurationError(f"{name}: not valid YAML") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or ""
    for quoted in _QUOTED.finditer(problem):
        if not _SIGNS.fullmatch(quoted[1]):
            # It is taken from the file, and so may be what follows it.
            problem = problem[: quoted.start()]
            break
    return problem.partition(", but ")[0].strip().rstrip(",") or "it cannot be read"


class Events:
    """The events of a file, one after the other, and what scalars mean."""

    def __init__(self, text: str, name: str) -> None:
        self._loader = _LOADER(text)
        self._name = name

    def next(self) -> yaml.Event:
        event: yaml.Event = self._loader.get_event()  # type: ignore[no-untyped-call]
        return event

    def start(self) -> yaml.Event | None:
        """The first event of the document's content, None when the file has no document."""
        self.next()  # the stream's start
        if isinstance(self.next(), yaml.StreamEndEvent):
            return None
        return self.next()

    def end(self) -> None:
        """Goes over the document's end; ConfigurationError for a document after it that has content."""
        self.next()
        while not isinstance(after := self.next(), yaml.StreamEndEvent):
            content = self.next()
            if not (isinstance(content, yaml.ScalarEvent) and self.item(content, "").null):
                raise self.error(after, "a second YAML document, but a configuration file has one")
            self.next()

    def key(self, event: yaml.Event) -> str:
        """The key of a map that the event is."""
        if not isinstance(event, yaml.ScalarEvent):
            raise self.error(event, "a key must be text")
        if event.anchor is not None:
            raise self.error(event, "a key must not have an anchor")
        key: str = event.value
        if not key.isprintable() or not key or len(key) > 253:
            raise self.error(event, "a key must be one line of text")
        return key

    def item(self, event: yaml.ScalarEvent, key: str) -> Item:
        """The scalar that the event is; `key` names it in errors."""
        source = self.source(event)
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
        raise self.error(event, f"{key} has a YAML tag that means nothing here")

    def _meaning(self, kind: str, event: yaml.ScalarEvent, key: str) -> str:
        node = yaml.ScalarNode(_TAG + kind, event.value)
        try:
            if kind == "bool":
                return str(self._loader.construct_yaml_bool(node)).lower()
            if kind == "int":
                return str(self._loader.construct_yaml_int(node))
            return str(self._loader.construct_yaml_float(node))
        except (ValueError, KeyError, IndexError, OverflowError):
            raise self.error(event, f"{key} has a value that YAML cannot read", hint=QUOTE_HINT) from None

    def source(self, event: yaml.Event) -> str:
        """The event's place: FILE:LINE."""
        return f"{self._name}:{line(event)}"

    def error(self, event: yaml.Event, problem: str, *, hint: str | None = None) -> ConfigurationError:
        return ConfigurationError(f"{self.source(event)}: {problem}", hint=hint)


def line(event: yaml.Event) -> int:
    """The line of the event's beginning, from 1."""
    return event.start_mark.line + 1 if event.start_mark else 1
