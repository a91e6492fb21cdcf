#!/usr/bin/python3
"""Man pages and shell completion, made from Markdown and from the program's own tables.

made_from_tables.py DIRECTORY
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from click.shell_completion import get_completion_class  # noqa: E402

from rke2_units import __version__  # noqa: E402
from rke2_units.cli import main as command  # noqa: E402
from rke2_units.config import reference  # noqa: E402

COMPLETIONS = {"bash": "rke2-units.bash", "zsh": "_rke2-units", "fish": "rke2-units.fish"}


def man_pages(directory: Path) -> None:
    """Every docs/man/NAME.SECTION.md as NAME.SECTION; "{settings}" stands for the reference of all keys."""
    for page in sorted((ROOT / "docs" / "man").glob("*.md")):
        text = page.read_text().replace("{settings}", reference.markdown_table())
        subprocess.run(
            ["pandoc", "--standalone", "--from=markdown", "--to=man", f"--metadata=footer:rke2-units {__version__}",
             f"--output={directory / page.stem}"],
            input=text, text=True, check=True,
        )  # fmt: skip


def completions(directory: Path) -> None:
    for shell, name in COMPLETIONS.items():
        completion = get_completion_class(shell)
        assert completion is not None
        source = completion(command, {}, "rke2-units", "_RKE2_UNITS_COMPLETE").source()
        (directory / name).write_text(source)


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    man_pages(directory)
    completions(directory)


if __name__ == "__main__":
    main()
