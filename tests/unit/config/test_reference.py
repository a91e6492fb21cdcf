"""rke2-units-config(5) has every key, as the table of keys says."""

import os
from pathlib import Path

from rke2_units.config import reference

PAGE = Path(__file__).parents[3] / "docs/man/rke2-units-config.5.md"


def test_the_page_has_the_keys_of_the_table() -> None:
    before, mark, rest = PAGE.read_text().partition("test_reference.py -->\n\n")
    after = rest[rest.index("# REGISTRIES") :]
    page = f"{before}{mark}{reference.markdown_table()}\n{after}"
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page
