"""The Debian package, built as a Debian developer builds it: dpkg-buildpackage in a clean root of the suite.

python3 -m tests.package [SUITE] builds it and prints its path.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from tests.nodes import debian, host
from tests.nodes.cache import cached, recipe_hash

ROOT = Path(__file__).resolve().parents[1]
# All that the package is made of.
SOURCES = (
    "LICENSE",
    "README.md",
    "debian",
    "docs",
    "manifests",
    "pyproject.toml",
    "rke2_units",
    "unit_templates",
)
# What builds leave behind, and what the tests themselves write: a new result is no reason to build again.
IGNORED = shutil.ignore_patterns(
    "__pycache__",
    "*.egg-info",
    "made",
    "rke2-units",
    ".debhelper",
    "files",
    "*.substvars",
    "fault-series.md",
)


def build_deb(suite: str = "bookworm", version: str | None = None) -> Path:
    """The package for SUITE, of this VERSION if one is given; built when its sources changed."""
    return _only(build(suite, version), "*.deb")


def build(suite: str = "bookworm", version: str | None = None) -> Path:
    """The directory with all that dpkg-buildpackage made: .deb, .dsc, .changes."""
    host.prepare()
    with tempfile.TemporaryDirectory(prefix="rke2-units-package-") as work:
        tree = Path(work) / "rke2-units"
        copy_sources(tree)
        if version is not None:
            set_version(tree, version)
        recipe = recipe_hash(suite, *_contents(tree))
        return cached(f"package-{suite}", recipe, lambda output: _build(suite, Path(work), output))


def lint(suite: str = "bookworm") -> str:
    """What lintian of SUITE has to say about the package: nothing, when there is no error and no warning."""
    with tempfile.TemporaryDirectory(prefix="rke2-units-lintian-") as work:
        for path in build(suite).iterdir():
            shutil.copy2(path, work)
        changes = _only(Path(work), "*.changes").name
        script = (
            f"cd /build && lintian --allow-root --profile debian --display-level '>=warning' {changes}; true"
        )
        return _in_root(suite, Path(work), script)


def copy_sources(tree: Path) -> None:
    """Fill TREE with what the package is made of, without what earlier builds left."""
    tree.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, symlinks=True, ignore=IGNORED)
        else:
            shutil.copy2(source, tree / name)


def set_version(tree: Path, version: str) -> None:
    """Put an entry for VERSION on top of the changelog, as an upgrade has it."""
    changelog = tree / "debian" / "changelog"
    old = changelog.read_text()
    signature = next(line for line in old.splitlines() if line.startswith(" -- "))
    entry = f"rke2-units ({version}) UNRELEASED; urgency=medium\n\n  * Another version.\n\n{signature}\n\n"
    changelog.write_text(entry + old)


def build_dependencies() -> list[str]:
    """The packages of Build-Depends, without versions: the newest that the suite has."""
    control = (ROOT / "debian" / "control").read_text()
    field = re.search(r"(?m)^Build-Depends:((?:\n[ #].*)+)", control)
    assert field is not None
    return [name for line in field[1].splitlines() if (name := _package_name(line))]


def _package_name(line: str) -> str:
    name = line.strip().rstrip(",").split(" ")[0] if not line.startswith("#") else ""
    # A virtual package, of which debhelper is the one provider.
    return "debhelper" if name == "debhelper-compat" else name


def build_root(suite: str) -> Path:
    """A clean root of the suite with what the package is built with, made once."""
    packages = ["build-essential", "lintian", *build_dependencies()]
    made = cached(
        f"build-root-{suite}",
        recipe_hash(suite, *packages),
        lambda directory: debian.make_root(directory / "root", suite, packages),
    )
    return made / "root"


def _build(suite: str, work: Path, output: Path) -> None:
    _in_root(suite, work, "cd /build/rke2-units && dpkg-buildpackage --no-sign")
    for path in work.iterdir():
        if path.is_file():
            shutil.move(path, output)


def _in_root(suite: str, work: Path, script: str) -> str:
    """Run a shell script in the build root, which sees WORK as /build; what it mounts is gone with it."""
    root = build_root(suite)
    (root / "build").mkdir(exist_ok=True)
    inside = f"export HOME=/build LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin; {script}"
    mounts = 'mount --bind "$1" "$2/build"; mount -t proc proc "$2/proc"; exec chroot "$2" sh -ec "$3"'
    return debian.command(
        "unshare", "--mount", "--pid", "--fork", "sh", "-ec", mounts, "sh", work, root, inside
    )


def _contents(tree: Path) -> list[str | Path]:
    contents: list[str | Path] = []
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            contents += [f"{path.relative_to(tree)} {os.access(path, os.X_OK)}", path]
    return contents


def _only(directory: Path, pattern: str) -> Path:
    [path] = directory.glob(pattern)
    return path


if __name__ == "__main__":
    print(build_deb(*sys.argv[1:2]))
