"""RKE2's environment files: the variables that systemd gives to the role's unit, for the commands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from rke2_units.doors import files
from rke2_units.layout import UNIT_DIRECTORY
from rke2_units.unit_names import Role

_BYTE_ORDER_MARK = "\ufeff"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# In double quotes a backslash is taken away before these only (systemd.exec(5), EnvironmentFile=).
_ESCAPED_IN_QUOTES = '"\\`$'


def environment_files(role: Role) -> tuple[str, ...]:
    """RKE2's environment files, in the order in which its unit names them; a later one overrides."""
    name = f"rke2-{role}"
    return (f"/etc/default/{name}", f"/etc/sysconfig/{name}", f"{UNIT_DIRECTORY}/{name}.env")


def read_environment_files(role: Role, root: str = "/") -> dict[str, str]:
    """The variables of the role's environment files, by name; a missing file is an empty one."""
    variables: dict[str, str] = {}
    for path in environment_files(role):
        variables.update(parse(files.read_text(files.below(root, path)) or ""))
    return variables


def ignored_lines(role: Role, root: str = "/") -> list[str]:
    """The lines of the role's environment files that systemd ignores, without their values.

    Such a line, like `export HTTPS_PROXY=...`, may look correct to its author.
    """
    found = []
    for path in environment_files(role):
        read = _read(files.read_text(files.below(root, path)) or "")
        found += [f"{path}:{line}: {_complaint(text)}" for line, text in read.ignored]
    return found


def _complaint(text: str) -> str:
    # Shows at most the name: everything else may be a password.
    name, equals, _ = text.partition("=")
    words = name.split()
    if name.startswith(_BYTE_ORDER_MARK):
        return "systemd ignores this line because of its byte order mark: save the file without one"
    if equals and words[:1] == ["export"] and len(words) == 2 and _NAME.fullmatch(words[1]):
        return f"systemd ignores this line: write {words[1]}=... without export"
    return "systemd ignores this line, which is not NAME=VALUE: correct it, or begin it with #"


def command_environment(role: Role, process: Mapping[str, str], root: str = "/") -> dict[str, str]:
    """The variables in which a command looks for keys, besides the configuration files.

    These are the environment files, overridden by RKE2_* of the command's own environment. A shell's proxies
    are not used, because they are not those of the node.
    """
    own = {name: value for name, value in process.items() if name.startswith("RKE2_")}
    return read_environment_files(role, root) | own


def for_pods_and_containerd(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that RKE2 passes on: names that contain "proxy" (in any case), and CONTAINERD_*."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if "proxy" in name.lower() or name.startswith("CONTAINERD_")
    }


class _Reading(Enum):
    BEFORE_NAME = auto()
    COMMENT = auto()
    NAME = auto()
    BEFORE_VALUE = auto()
    WORD = auto()
    SINGLE_QUOTES = auto()
    DOUBLE_QUOTES = auto()


def parse(text: str) -> dict[str, str]:
    """Reads the syntax of systemd's EnvironmentFile= (systemd.exec(5)), character by character as it does.

    Lines NAME=value; `#` and `;` begin comments; quotes of both kinds, which may stand side by side; a
    backslash quotes the next character, and at the end of a line continues it. What systemd ignores is
    ignored: lines without `=`, and names that are no shell variables.
    """
    return _read(text).variables


@dataclass
class _Read:
    variables: dict[str, str] = field(default_factory=dict)
    # What systemd ignores: the line's number, and the text up to its `=` or end.
    ignored: list[tuple[int, str]] = field(default_factory=list)


def _read(text: str) -> _Read:
    found = _Read()
    begin = 0
    name = value = ""
    # White space at the end of a bare word is cut off down to this length.
    keep = 0
    reading = _Reading.BEFORE_NAME

    def end() -> None:
        if _NAME.fullmatch(name.strip()):
            found.variables[name.strip()] = value[:keep] if reading is _Reading.WORD else value
        else:
            ignore(f"{name}=")

    def ignore(what: str) -> None:
        found.ignored.append((text.count("\n", 0, begin) + 1, what))

    characters = iter(enumerate(text))
    for position, character in characters:
        if reading is _Reading.BEFORE_NAME:
            if character in "#;":
                reading = _Reading.COMMENT
            elif not character.isspace():
                reading, name, value, keep = _Reading.NAME, character, "", 0
                begin = position
        elif reading is _Reading.COMMENT:
            if character == "\n":
                reading = _Reading.BEFORE_NAME
        elif reading is _Reading.NAME:
            if character == "\n":
                ignore(name)
                reading = _Reading.BEFORE_NAME
            elif character == "=":
                reading = _Reading.BEFORE_VALUE
            else:
                name += character
        elif reading is _Reading.SINGLE_QUOTES:
            if character == "'":
                reading = _Reading.BEFORE_VALUE
            else:
                value += character
        elif reading is _Reading.DOUBLE_QUOTES:
            if character == '"':
                reading = _Reading.BEFORE_VALUE
            elif character == "\\":
                escaped = next(characters, (0, ""))[1]
                if escaped != "\n":
                    value += escaped if escaped in _ESCAPED_IN_QUOTES else character + escaped
            else:
                value += character
        elif character == "\n":
            end()
            reading = _Reading.BEFORE_NAME
        elif character == "\\":
            reading = _Reading.WORD
            escaped = next(characters, (0, ""))[1]
            value += escaped if escaped != "\n" else ""
            keep = len(value)
        elif reading is _Reading.BEFORE_VALUE and character in _QUOTES:
            reading = _QUOTES[character]
        elif reading is _Reading.WORD or not character.isspace():
            reading = _Reading.WORD
            value += character
            keep = keep if character.isspace() else len(value)
    if reading is _Reading.NAME:
        ignore(name)
    elif reading not in (_Reading.BEFORE_NAME, _Reading.COMMENT):
        end()
    return found


_QUOTES = {"'": _Reading.SINGLE_QUOTES, '"': _Reading.DOUBLE_QUOTES}
