"""What the documentation tells a reader to type, and to write into files."""

import re
from pathlib import Path
from textwrap import dedent

_DOCS = Path(__file__).parents[3] / "docs"
# Lines that are indented, and the empty ones between them.
_BLOCK = re.compile(r"^(?: {4}.*\n|\n(?= {4}))+", re.MULTILINE)


def block(page: str, words: str) -> str:
    """The one indented block of a page of docs/ in which these words are, as the reader would copy it."""
    blocks = [dedent(each).lstrip("\n") for each in _BLOCK.findall((_DOCS / page).read_text())]
    found = [each for each in blocks if words in each]
    assert len(found) == 1, f"{page} has {len(found)} blocks with {words!r}"
    return found[0]
