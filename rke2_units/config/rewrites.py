"""Rewrites of image names in registries.yaml: Go's regular expressions and replacements.

containerd runs them with Go's RE2, what we pull ourselves with Python's re. Only what both read, and read in
the same way, is accepted.
"""

import re
import string

_HINT = "Go's RE2 has no look-around and no back-references, Python's re no \\z, \\p and [:classes:]"
# In patterns, outside of character classes: after `(?` what one of the two does not have or reads otherwise.
_GROUP = re.compile(r"\(\?(?!:|P<|[ims]+\)|[ims]+:)")
_ESCAPES = frozenset(string.punctuation + " dDsSwWbBAtnrfv")
_REPEATED = re.compile(r"\{(\d*)(?:,(\d*))?\}")
# Go repeats no more often.
_MOST_REPEATED = 1000
_REFERENCE = re.compile(r"\$(?:\$|(?P<name>\w+)|\{(?P<braced>\w+)\}|(?P<bad>))", re.ASCII)
_LONGEST = 1000


def check(pattern: str, replacement: str) -> None:
    """ValueError with what is wrong when the two languages do not agree on what this rewrite does."""
    if len(pattern) > _LONGEST or len(replacement) > _LONGEST:
        raise ValueError(f"must not be longer than {_LONGEST} characters")
    if not (pattern + replacement).isascii():
        raise ValueError("must be ASCII, as names of images are")
    _check_dialect(pattern)
    try:
        compiled = re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError):
        raise ValueError("is not a regular expression") from None
    for found in _REFERENCE.finditer(replacement):
        name = found["name"] or found["braced"]
        if found["bad"] is not None:
            raise ValueError(
                "has a replacement with a lone $: write $1, ${1}, or $$ for the character itself"
            )
        if name is not None and not _is_group(name, compiled):
            raise ValueError(f"has a replacement that refers to ${name}, and no group of that name")


def _is_group(name: str, compiled: re.Pattern[str]) -> bool:
    if name.isdecimal():
        # Go takes no number with a leading zero, and no large one.
        return len(name) <= 2 and str(int(name)) == name and int(name) <= compiled.groups
    return name in compiled.groupindex


def _check_dialect(pattern: str) -> None:
    """Goes through the pattern by its parts: escapes, classes, groups, repetitions."""
    problem = f"is not a regular expression that both Go and Python read ({_HINT})"
    in_class = False
    position = 0
    while position < len(pattern):
        character = pattern[position]
        rest = pattern[position:]
        if character == "\\":
            if rest[1:2] not in _ESCAPES or (in_class and rest[1:2] in "bBA"):
                raise ValueError(problem)
            position += 2
            continue
        if in_class:
            # [[:alpha:]] is a class in Go; in Python it is another one. So are the set operators to come.
            if character == "[" or rest[:2] in ("--", "&&", "||", "~~"):
                raise ValueError(problem)
            in_class = character != "]"
        elif character == "[":
            in_class = True
            # A bracket that comes first stands for itself.
            position += len(re.match(r"\[\^?\]?", rest)[0]) - 1  # type: ignore[index]
        elif _GROUP.match(rest) or re.match(r"[*+?}]\+", rest) or _repeated_otherwise(rest):
            raise ValueError(problem)
        position += 1


def _repeated_otherwise(rest: str) -> bool:
    """Whether a repetition begins here that Go takes for text ({,3}) or refuses."""
    found = _REPEATED.match(rest)
    return found is not None and (
        not found[1] or any(int(count or 0) > _MOST_REPEATED for count in found.groups())
    )
