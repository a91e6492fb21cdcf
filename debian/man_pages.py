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
        subprocess.run([*pandoc, f"--output={directory / page.stem}", page], check=True)


if __name__ == "__main__":
    main()
