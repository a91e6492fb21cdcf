"""Byte order marks: editors of Windows write them at the start of a file, `cat` puts them in the middle."""

import re

_AT_A_START = re.compile("^\ufeff+", re.MULTILINE)


def without(text: str) -> str:
    """The text of YAML or PEM without the marks at the start of its lines, where they say nothing.

    In a value they would stand behind an indentation or a quotation mark, and stay.
    """
    return _AT_A_START.sub("", text) if "\ufeff" in text else text
