"""Packages of a Debian suite as files, for nodes, which have no mirror."""

from pathlib import Path

from tests.nodes import debian
from tests.nodes.cache import cached, progress, recipe_hash


def debs(suite: str, *packages: str) -> list[Path]:
    """The .deb files of these packages, without what they depend on; fetched once."""
    recipe = recipe_hash(Path(__file__), suite, *packages)
    directory = cached(f"debs-{suite}", recipe, lambda unfinished: _download(unfinished, suite, packages))
    return sorted(directory.glob("*.deb"))


def _download(directory: Path, suite: str, packages: tuple[str, ...]) -> None:
    """With an apt of its own, as the host's may be of another suite."""
    progress(f"debs-{suite}: fetching {', '.join(packages)}")
    apt = directory / "apt"
    (apt / "lists" / "partial").mkdir(parents=True)
    (apt / "sources.list").write_text(debian.source_line(suite) + "\n")
    (apt / "status").touch()
    options = [
        f"--option=Dir::Etc::SourceList={apt}/sources.list",
        "--option=Dir::Etc::SourceParts=-",
        f"--option=Dir::State::Lists={apt}/lists",
        f"--option=Dir::State::Status={apt}/status",
        f"--option=Dir::Cache={apt}",
        "--option=APT::Sandbox::User=root",
    ]
    debian.command("apt-get", *options, "update", cwd=directory)
    debian.command("apt-get", *options, "download", *packages, cwd=directory)
