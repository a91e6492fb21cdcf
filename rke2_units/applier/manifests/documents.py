"""Reads a manifest: turns the bytes of a file into Kubernetes objects with their line numbers.

It reads YAML of several documents, JSON (also several objects in a row), and lists of objects. Values mean
what they mean for Kubernetes' own reader (YAML 1.1 as in Go's yaml.v2: `yes` is true, `0644` is octal,
`12:30` and dates are text). PyYAML's composer recurses without limit and its merge keys multiply, so values
are built here from libyaml's events, counting the size that aliases and merges add up to.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rke2_units.errors import UserError
from rke2_units.lean import byte_order_marks

if TYPE_CHECKING:
    import yaml

LARGEST_FILE = 16 << 20
# etcd's own limit (--max-request-bytes), which Kubernetes leaves as it is.
_LARGEST_OBJECT = 3 << 19
# Characters of one document with all aliases expanded.
_LARGEST_DOCUMENT = 16 << 20
_DEEPEST = 200
_LISTS_IN_LISTS = 8
# After this many errors the file is garbage, and the rest of it is not read.
_MOST_ERRORS = 100

_BOUNDARY = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_NOTHING = re.compile(r"(?:[ \t]*(?:[#%][^\n]*|---[ \t\r]*(?:#[^\n]*)?)?\r?(?:\n|\Z))*\Z")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NUMBER_START = frozenset("+-.0123456789")
_CONSTANTS: dict[str, bool | None] = {
    **{text: None for text in ("", "~", "null", "Null", "NULL")},
    **{text: True for word in ("yes", "true", "on") for text in (word, word.title(), word.upper())},
    **{text: False for word in ("no", "false", "off") for text in (word, word.title(), word.upper())},
}
_NO_NUMBERS = frozenset(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")) | {
    ".nan",
    ".NaN",
    ".NAN",
}
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file. `body` is its JSON; `line` is where it begins, from 1."""

    api_version: str
    kind: str
    namespace: str
    name: str
    line: int
    body: bytes

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Remark:
    """An error or warning about a line of the file (from 1)."""

    line: int
    text: str


@dataclass(frozen=True)
class Contents:
    """The content of a file: its objects, the errors of the others, and warnings."""

    objects: list[Manifest] = field(default_factory=list)
    errors: list[Remark] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)


def read(content: bytes) -> Contents:
    """The objects of a file. A document with an error is in `errors`; the other documents are still read."""
    found = Contents()
    if len(content) > LARGEST_FILE:
        found.errors.append(Remark(1, f"the file is larger than {LARGEST_FILE >> 20} MiB; split it"))
        return found
    try:
        text = byte_order_marks.without(content.decode())
    except UnicodeDecodeError as error:
        found.errors.append(Remark(content.count(b"\n", 0, error.start) + 1, "not UTF-8 text"))
        return found
    for line, document in _split(text):
        if len(found.errors) > _MOST_ERRORS:
            found.errors.append(Remark(line, "too many errors; the rest of the file was not read"))
            break
        _read_document(document, line, found)
    return found


def _split(text: str) -> Iterator[tuple[int, str]]:
    """The documents with the lines where they begin: one with an error must not affect the next."""
    line = 1
    starts = [0, *(found.start() for found in _BOUNDARY.finditer(text) if found.start()), len(text)]
    for start, end in zip(starts, starts[1:], strict=False):
        document = text[start:end]
        if not _NOTHING.match(document):
            yield line, document
        line += document.count("\n")


def _read_document(text: str, line: int, found: Contents) -> None:
    if _json_stream(text, line, found):
        return
    import yaml

    try:
        for document in _Reader(text, line, found).documents():
            _add(document.value, document.line, document.item_lines, found)
    except _Wrong as error:
        found.errors.append(Remark(error.line, error.message))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # Report an error at the end of a document in its last line.
        last = max(text.rstrip().count("\n"), 0)
        where = line + min(mark.line if mark else 0, last)
        problem = _character(text, mark) or _one_line(error.problem or error.context)
        found.errors.append(Remark(where, f"not valid YAML: {problem}"))
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        found.errors.append(Remark(line + before.count("\n"), "a character that YAML does not allow"))
    except (yaml.YAMLError, ValueError, RecursionError):
        found.errors.append(Remark(line, "not valid YAML"))


def _character(text: str, mark: "yaml.Mark | None") -> str:
    """The error of the character at this place, which libyaml does not explain; "" for any other."""
    if mark is None or mark.index >= len(text):
        return ""
    line = text[text.rfind("\n", 0, mark.index) + 1 :].partition("\n")[0]
    if text[mark.index] == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab character; YAML is indented with spaces"
    if text[mark.index] in "@`%":
        return f"{text[mark.index]} cannot begin a value; put the value in quotes"
    return ""


def _one_line(text: str | None) -> str:
    return " ".join((text or "it cannot be read").split())[:200]


def _json_stream(text: str, line: int, found: Contents) -> bool:
    """Reads the document as a sequence of JSON objects; False if it is not one (then it is YAML)."""
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if at == len(text):
            return True
        if at == 0 and text.startswith("---"):
            at = 3
            continue
        if text[at] != "{":
            break
        try:
            value, end = _JSON.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        if text[end : end + 1] not in ("", " ", "\t", "\r", "\n", "{"):
            break
        _add(value, line + text.count("\n", 0, at), [], found)
        at = end
    if at == 0 or text[:at].strip() in ("", "---"):
        return False
    found.errors.append(
        Remark(line + text.count("\n", 0, at), "expected a JSON object or the end of the document")
    )
    return True


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")


_JSON = json.JSONDecoder(parse_constant=_no_number)


def _add(value: Any, line: int, item_lines: list[int], found: Contents, *, within: int = 0) -> None:
    """Adds the object, or the objects of the list; `within` is the number of lists around it."""
    if value is None:
        return
    if not isinstance(value, dict):
        found.errors.append(Remark(line, "not a Kubernetes object: it has no apiVersion and kind"))
        return
    if within > _LISTS_IN_LISTS:
        found.errors.append(Remark(line, f"lists are nested more than {_LISTS_IN_LISTS} deep"))
        return
    if _is_list(value):
        api_version, kind = value.get("apiVersion"), value["kind"]
        for number, item in enumerate(value.get("items") or ()):
            at = item_lines[number] if number < len(item_lines) else line
            if isinstance(item, dict) and kind != "List" and kind.endswith("List"):
                # Items of a typed list may omit the kind that the list's kind implies.
                item = {"apiVersion": api_version, "kind": kind.removesuffix("List")} | item
            _add(item, at, [], found, within=within + 1)
        return
    try:
        found.objects.append(_manifest(value, line))
    except UserError as error:
        found.errors.append(Remark(line, error.message))
    except (ValueError, RecursionError) as error:
        # Infinity, half of a surrogate pair, or deeply nested lists.
        found.errors.append(Remark(line, f"it cannot be converted to JSON: {_one_line(str(error))}"))


def _is_list(value: dict[str, Any]) -> bool:
    """Whether it is a list of objects, judged by its shape, as kinds of single objects may end in "List".

    A list as the API returns it has neither name nor spec, and null for no items; a `List` may omit items.
    """
    items, kind, metadata = value.get("items"), value.get("kind"), value.get("metadata")
    if not isinstance(kind, str) or not isinstance(items, list | None):
        return False
    named = isinstance(metadata, dict) and (metadata.get("name") or metadata.get("generateName"))
    is_object = bool(named) or "spec" in value
    if (value.get("apiVersion"), kind) == ("v1", "List"):
        return "items" in value or not is_object
    return "items" in value and not is_object


def _manifest(value: dict[str, Any], line: int) -> Manifest:
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    fields = {
        "apiVersion": value.get("apiVersion"),
        "kind": value.get("kind"),
        "metadata.name": metadata.get("name"),
    }
    for key, given in fields.items():
        if not isinstance(given, str) or not given:
            raise UserError(
                f"not a Kubernetes object: {key} is {'missing' if given is None else 'not a string'}"
            )
    namespace = metadata.get("namespace") or ""
    if not isinstance(namespace, str):
        raise UserError("not a Kubernetes object: metadata.namespace is not a string")
    for key in ("labels", "annotations"):
        if not isinstance(metadata.get(key) or {}, dict):
            raise UserError(f"not a Kubernetes object: metadata.{key} is not a map")
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > _LARGEST_OBJECT:
        size = f"it has {len(body)} bytes, and etcd accepts {_LARGEST_OBJECT}"
        raise UserError(f"{value['kind']} {metadata['name']} is not applied: {size}")
    return Manifest(value["apiVersion"], value["kind"], namespace, metadata["name"], line, body)


class _Wrong(Exception):  # noqa: N818
    """What makes a document unreadable."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(slots=True)
class _Document:
    value: Any
    line: int
    item_lines: list[int]


@dataclass(slots=True)
class _Node:
    """A value, its size with all aliases expanded, and how deep it nests."""

    value: Any
    size: int = 1
    depth: int = 0


@dataclass(slots=True)
class _Open:
    """A collection that is still being read."""

    node: _Node
    anchor: str | None
    line: int
    key: str | None = None
    merging: bool = False
    merges: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_map(self) -> bool:
        return isinstance(self.node.value, dict)


class _Reader:
    """Makes values from events, without recursion."""

    def __init__(self, text: str, line: int, found: Contents) -> None:
        import yaml

        self._yaml = yaml
        self._loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self._line = line
        self._found = found
        self._anchors: dict[str, _Node | None] = {}
        self._open: list[_Open] = []
        self._item_lines: list[int] = []

    def documents(self) -> Iterator[_Document]:
        yaml = self._yaml
        while True:
            event = self._loader.get_event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._anchors, self._item_lines = {}, []
            event = self._loader.get_event()
            line = self._line_of(event)
            root = self._node(event)
            yield _Document(root.value, line, self._item_lines)

    def _line_of(self, event: "yaml.Event") -> int:
        return self._line + (event.start_mark.line if event.start_mark else 0)

    def _node(self, event: "yaml.Event") -> _Node:
        """The node that begins with this event."""
        yaml = self._yaml
        while True:
            done: _Node | None = None
            if isinstance(event, yaml.ScalarEvent):
                done = self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                done = self._alias(event)
            elif isinstance(event, yaml.MappingStartEvent):
                self._begin(event, {}, "map")
            elif isinstance(event, yaml.SequenceStartEvent):
                self._begin(event, [], "seq")
            else:
                done = self._end()
            if done is not None:
                if not self._open:
                    return done
                self._put(done, event)
            event = self._loader.get_event()

    def _begin(self, event: Any, value: Any, tag: str) -> None:
        line = self._line_of(event)
        if event.tag not in (None, "!", _TAG + tag):
            raise _Wrong(line, f"the tag {event.tag} is not supported")
        if len(self._open) >= _DEEPEST:
            raise _Wrong(line, f"nested more than {_DEEPEST} deep")
        if self._open and self._open[-1].is_map and not self._awaits_value():
            raise _Wrong(line, "a key must be a string")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if (
            len(self._open) == 2
            and self._open[0].key == "items"
            and isinstance(self._open[1].node.value, list)
        ):
            self._item_lines.append(line)
        self._open.append(_Open(_Node(value), event.anchor, line))

    def _awaits_value(self) -> bool:
        top = self._open[-1]
        return top.key is not None or top.merging

    def _end(self) -> _Node:
        top = self._open.pop()
        for merged in top.merges:
            for key, value in merged.items():
                top.node.value.setdefault(key, value)
        if top.anchor is not None:
            self._anchors[top.anchor] = top.node
        return top.node

    def _put(self, node: _Node, event: "yaml.Event") -> None:
        """Puts a finished node into the collection that it is in."""
        top = self._open[-1]
        line = self._line_of(event)
        top.node.size += node.size
        top.node.depth = max(top.node.depth, node.depth + 1)
        if top.node.size > _LARGEST_DOCUMENT:
            raise _Wrong(top.line, f"larger than {_LARGEST_DOCUMENT >> 20} MiB with its aliases expanded")
        if len(self._open) + node.depth > _DEEPEST:
            raise _Wrong(line, f"nested more than {_DEEPEST} deep")
        if isinstance(top.node.value, list):
            if (
                len(self._open) == 2
                and self._open[0].key == "items"
                and not isinstance(node.value, dict | list)
            ):
                self._item_lines.append(line)
            top.node.value.append(node.value)
        elif top.merging:
            top.merging = False
            merges = node.value if isinstance(node.value, list) else [node.value]
            if not all(isinstance(merged, dict) for merged in merges):
                raise _Wrong(line, "<< can merge maps only")
            top.merges += merges
        elif top.key is None:
            self._key(top, node, event)
        else:
            if top.key in top.node.value:
                self._found.warnings.append(
                    Remark(line, f"duplicate key {top.key[:100]!r}; the last value is used")
                )
            top.node.value[top.key] = node.value
            top.key = None

    def _key(self, top: _Open, node: _Node, event: "yaml.Event") -> None:
        value = node.value
        if isinstance(event, self._yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            top.merging = True
        elif isinstance(value, str):
            top.key = value
        elif value is None or isinstance(value, dict | list):
            raise _Wrong(self._line_of(event), "a key must be a string")
        else:
            # As in Kubernetes' reader: the JSON text of the number or boolean.
            top.key = json.dumps(value)

    def _alias(self, event: Any) -> _Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            known = event.anchor in self._anchors
            problem = "contains itself" if known else "does not exist"
            raise _Wrong(self._line_of(event), f"the anchor of *{event.anchor[:100]} {problem}")
        return node

    def _scalar(self, event: Any) -> _Node:
        text: str = event.value
        tag = event.tag
        if tag is None and event.implicit[0]:
            value = self._meaning(text, event)
        elif tag in (None, "!", _TAG + "str"):
            value = text
        elif tag in {_TAG + name for name in ("null", "bool", "int", "float")}:
            value = self._meaning(text, event)
        else:
            raise _Wrong(self._line_of(event), f"the tag {tag[:100]} is not supported")
        node = _Node(value, len(text) + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _meaning(self, text: str, event: Any) -> Any:
        """The value of a scalar without quotes."""
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text[0] not in _NUMBER_START:
            return text
        if text in _NO_NUMBERS:
            raise _Wrong(self._line_of(event), f"{text} is not a number in JSON; put it in quotes")
        if _INTEGER.match(text) and len(text) < 100:
            return _integer(text)
        if _FLOAT.match(text):
            value = float(text)
            if value in (float("inf"), float("-inf")):
                raise _Wrong(self._line_of(event), "the number is too large; put it in quotes")
            # The API may want an integer where the file has 1e3.
            return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
        return text


def _integer(text: str) -> int | float | str:
    digits = text.replace("_", "")
    sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits.removeprefix("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = f"0o{digits[1:]}"
    try:
        value = int(sign + digits, 0)
    except ValueError:  # "0x_"
        return text
    return value if -(1 << 63) <= value < 1 << 64 else float(value)
