"""Masks secrets in the texts of files by their form; in doubt it masks too much."""

import os
import re

_MASK = "********"
# The ends of keys whose values are secrets, in YAML, TOML, JSON, environment files and arguments.
_KEY = re.compile(
    r"""(?ix)
    (?<![\w.-]) (?P<name> [\w.-]*? (?:
        password | passwd | passphrase | secret | token | auth | authorization | credential | key-data | psk
        | (?<! [a-z] ) (?: pass | pwd )
        | (?: access | account | api | encryption | private | secret | shared | signing ) [-_.]? key
          (?: [-_.]? id )?
    ) s? (?: [-_.]? (?: [0-9]+ | value | hash | pem | base64 ) )? ) (?P<quote> ["']? ) [ \t]* [:=] [ \t]*
    """
)
# systemd's, whose values are names and paths.
_NO_SECRETS = ("loadcredential", "loadcredentialencrypted", "importcredential")
# Values of these keys are masked even if they look like a path.
_NEVER_A_PATH = re.compile(r"(?i).*(?:pass\w*|pwd|secret|key-data|psk)s?")
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""")
_WORD = re.compile(r"""[^\s"',}\]]+""")
# Within quotes that were opened before; doubled single quotes stand for one.
_REST = {'"': re.compile(r'(?:[^"\\]|\\.)*'), "'": re.compile(r"(?:[^']|'')*")}
_OPENED = re.compile(r"""(?:^|(?<=[\s\[({,:=]))(["'])""")
# What may follow a value: the end of a list or an object, their next entry, a comment, the end of the line.
_AFTER = re.compile(r"[,;)}\]]|\s*(?:#|\\?$)")
_MAPPING = re.compile(r"""\s*(?:- )?(?:"[^"]*"|'[^']*'|[\w./-]+)\s*:(?:\s|$)""")
# A static pod's environment: but for the hash of the mounted files, anything in it may be a secret.
# A value may go on in lines further to the right.
_ENVIRONMENT = re.compile(
    r'(- name: (?!"FILE_HASH").*\n( +)value: ).*(?:(?:\n[ \t]*)*?\n\2 +\S.*)*',
)
# Known by themselves: users in addresses up to the last @, HTTP's credentials, tokens, private keys. TOML's
# texts of several lines are rare enough to be masked whatever they are.
_BY_THEMSELVES = (
    (re.compile(r"(?i)([a-z][a-z0-9+.-]{0,20}://)\S+@"), rf"\1{_MASK}@"),
    (re.compile(r"""(?i)(authorization["']?,?[ \t]+)(?:basic|bearer)\b.*"""), rf"\1{_MASK}"),
    (re.compile(r"K10[0-9a-f]*::\S+"), _MASK),
    # A JSON Web Token: its header is {" in base64.
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), _MASK),
    (re.compile(r"(?s)(=[ \t]*)(\"{3}|'{3}).*?(\2|\Z)"), rf"\1{_MASK}"),
    (re.compile(r"(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END|\Z)"), rf"\1{_MASK}\2"),
)


def mask(text: str) -> str:
    """The text with ******** in place of everything that is, or may be, a secret.

    These are the values of keys that name a secret (unless they are paths of existing files), a pod's
    variables, users in addresses, and other credentials that are recognised by their form.
    """
    masked = _ENVIRONMENT.sub(rf"\1{_MASK}", text)
    for pattern, replacement in _BY_THEMSELVES:
        masked = pattern.sub(replacement, masked)
    lines = []
    goes_on: _GoesOn | None = None
    for line in masked.splitlines(keepends=True):
        if goes_on is not None and goes_on.has_ended(line):
            goes_on = None
        if goes_on is not None and goes_on.covers(line):
            lines.append(_indentation(line) + _MASK + _end(line))
            continue
        shown, begun = _mask_line(line)
        lines.append(shown)
        goes_on = begun or goes_on
    return "".join(lines)


class _GoesOn:
    """The value of a secret key that goes on in the lines below, which are further to the right.

    `whole`: all of them are this value. Else, as nothing stood behind the key, they may be other keys with
    values of their own.
    """

    def __init__(self, column: int, whole: bool) -> None:
        self._column = column
        self._whole = whole

    def has_ended(self, line: str) -> bool:
        column = len(_indentation(line))
        # YAML's lists may begin where their key does.
        item = line.lstrip().startswith("-") and column == self._column
        return bool(line.strip()) and column <= self._column and not item

    def covers(self, line: str) -> bool:
        return bool(line.strip()) and (self._whole or not _MAPPING.match(line))


def _mask_line(line: str) -> tuple[str, _GoesOn | None]:
    """The line without values of secret keys, and what of the last one is to come in the lines below."""
    shown, position = "", 0
    goes_on = None
    bare = line.rstrip()
    while (key := _KEY.search(bare, position)) is not None:
        start = key.end()
        end = _end_of_value(bare, key)
        value = bare[start:end]
        # An argument is one item of a list, a key may be one of several in it.
        column = len(_indentation(line)) if "=" in key[0] else key.start() - len(key["quote"])
        shown += bare[position:start]
        if end == start or not _may_be_shown(key["name"], value):
            shown += _MASK if value else ""
            if value.startswith("[") and "]" not in value:
                goes_on = _GoesOn(len(_indentation(line)), whole=True)
            elif end == len(bare) and not _QUOTED.fullmatch(value):
                goes_on = _GoesOn(column, whole=bool(value))
        else:
            shown += value
        position = end
    return shown + line[position:], goes_on


def _end_of_value(line: str, key: re.Match[str]) -> int:
    """Where a value ends: with its quotes or those that it lies in; else it may be all that follows."""
    start = key.end()
    if (quoted := _QUOTED.match(line, start)) is not None:
        end = quoted.end()
    elif not key["quote"] and (opened := _opened_before(line, key.start())):
        rest = _REST[opened].match(line, start)
        end = rest.end() if rest is not None else len(line)
        closed = line[end : end + 1] == opened and _AFTER.match(line, end + 1)
        return end if closed else len(line)
    else:
        # A word with nothing but the end of a list or an object behind it.
        word = _WORD.match(line, start)
        return word.end() if word is not None and not line[word.end() :].strip(" ,;)}]\\") else len(line)
    return end if _AFTER.match(line, end) else len(line)


def _opened_before(line: str, position: int) -> str:
    """The quotation mark that was opened before and is not closed at this position, "" for none."""
    start = 0
    while (opened := _OPENED.search(line, start, position)) is not None:
        rest = _REST[opened[1]].match(line, opened.end())
        start = (rest.end() if rest is not None else len(line)) + 1
        if start > position:
            return opened[1]
    return ""


def _may_be_shown(name: str, value: str) -> bool:
    if name.lower() in _NO_SECRETS or value.strip("\"' ").lower() in ("true", "false", "null"):
        return True
    path = value.strip("\"' ")
    return path.startswith("/") and not _NEVER_A_PATH.fullmatch(name) and os.path.isfile(path)


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]
