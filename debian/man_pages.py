#!/usr/bin/python3
"""Man pages from Markdown: man_pages.py DIRECTORY

docs/man/NAME.SECTION.md becomes NAME.SECTION.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rke2_units import __version__  # noqa: E402


def main() -> None:
    directory = Path(sys.argv[1])
    pandoc = ["pandoc", "--standalone", "--from=markdown-smart", "--to=man"]
    pandoc += [f"--metadata=footer:rke2-units {__version__}"]
    for page in sorted((ROOT / "docs" / "man").glob("*.md")):
        # After a line break, pandoc ends an item's indentation; a line in a paragraph of its own keeps it.
        text = page.read_text().replace("\\\n    ", "\n\n    ")
        subprocess.run([*pandoc, f"--output={directory / page.stem}"], input=text, text=True, check=True)


if __name__ == "__main__":
    main()
