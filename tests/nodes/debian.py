"""Debian as the host has it configured: its mirror, its packages, its source packages."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tests.nodes.cache import progress
from tests.nodes.errors import NodeError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def command(*words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program of the host, return its stdout; NodeError carries the end of its output."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise NodeError(f"{' '.join(map(str, words[:3]))} ended with {done.returncode}:\n{tail}")
    return done.stdout


@cache
def mirror() -> str:
    """The URI of the mirror that carries Debian's main archive, from the host's apt configuration."""
    uri = _mirror()
    if uri is None:
        # Without downloaded indexes apt does not know which of its sources is Debian.
        command("apt-get", "update")
        uri = _mirror()
    if uri is None:
        raise NodeError("apt knows no source of Debian's main archive: add one to /etc/apt/sources.list.d")
    return uri


def _mirror() -> str | None:
    form = "$(CREATED_BY)|$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"
    for line in command("apt-get", "indextargets", "--format", form).splitlines():
        created_by, origin, label, component, uri = line.split("|", 4)
        if (created_by, origin, label, component) == ("Packages", "Debian", "Debian", "main"):
            return uri
    return None


def source_line(suite: str, kind: str = "deb") -> str:
    """A sources.list line for the main archive of SUITE at the host's mirror."""
    return f"{kind} [signed-by={KEYRING}] {mirror()} {suite} main"


def make_root(directory: Path, suite: str, packages: Sequence[str]) -> None:
    """Fill DIRECTORY with a minimal Debian of SUITE that has PACKAGES, without documentation."""
    options = [f"--aptopt={line}" for line in _acquire_options()]
    # Afterwards: dpkg's options for it make mmdebstrap filter what it extracts first by itself, slowly.
    without_documentation = (
        'cd "$1/usr/share" && rm -r man/* locale/* && find doc -type f ! -name copyright -delete'
    )
    # The root must not inherit how it was made: no proxy.
    forget = 'rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap'
    command(
        # With its mounts in a namespace of their own a build that is killed leaves none behind.
        "unshare",
        "--mount",
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        f"--customize-hook={without_documentation}",
        f"--customize-hook={forget}",
        '--customize-hook=: > "$1"/etc/apt/sources.list',
        *options,
        suite,
        directory,
        source_line(suite),
    )


def fetch_source(directory: Path, suite: str, package: str) -> Path:
    """Unpack the source package into DIRECTORY/source, with an apt configuration of its own."""
    apt = directory / "apt"
    (apt / "lists" / "partial").mkdir(parents=True)
    sources = apt / "sources.list"
    sources.write_text(source_line(suite, "deb-src") + "\n")
    options = [
        f"--option=Dir::Etc::SourceList={sources}",
        "--option=Dir::Etc::SourceParts=-",
        f"--option=Dir::State::Lists={apt}/lists",
        f"--option=Dir::Cache={apt}",
        "--option=APT::Sandbox::User=root",
    ]
    command("apt-get", *options, "update", cwd=directory)
    command("apt-get", *options, "source", "--download-only", package, cwd=directory)
    [description] = directory.glob(f"{package}_*.dsc")
    command("dpkg-source", "--extract", description, directory / "source", cwd=directory)
    return directory / "source"


def install(packages: Sequence[str]) -> None:
    """Install what is missing of PACKAGES on the host; NodeError when not root."""
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise NodeError(f"missing on this machine: {', '.join(missing)}; run as root, or apt install them")
    if shutil.which("apt-get") is None:
        raise NodeError("test nodes need a Debian host: there is no apt-get here")
    progress(f"host: installing {', '.join(missing)}")
    update = ["apt-get", "update"]
    get = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    try:
        command(*get)
    except NodeError:
        # No package lists yet, or too old ones: the usual state of a fresh machine.
        command(*update)
        command(*get)


def _installed(package: str) -> bool:
    state = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package], capture_output=True, text=True
    )
    return state.stdout == "installed"


def _acquire_options() -> list[str]:
    """How the host's apt reaches its mirror (proxy, clock checks), for another apt."""
    wanted = ("Acquire::http::", "Acquire::https::", "Acquire::Check-")
    lines = command("apt-config", "dump").splitlines()
    return [line for line in lines if line.startswith(wanted) and not line.endswith('"";')]
