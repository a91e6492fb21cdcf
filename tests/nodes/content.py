"""The content of a release that runs here: image archives as RKE2 ships them, made of Debian's programs.

| release | Debian suite of the programs | etcd |
|---|---|---|
| v1.20.2+rke2r1 | bookworm | 3.4.23 |
| v1.20.2+rke2r2 | trixie | 3.5.16 |

The programs that run on the node itself (containerd, runc) are linked to the libraries of their suite, so a
release runs on nodes of its suite only.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.nodes import debian, host, image_archive, kubernetes_build
from tests.nodes.cache import cached, progress, recipe_hash
from tests.nodes.errors import NodeError
from tests.nodes.image_archive import Copy, Directory, Image, Link, Text, write_archive


@dataclass(frozen=True)
class Content:
    """What a node of the suite needs to run the release.

    images: directory of the image archives, and of nothing else.
    cni_plugins: directory of the CNI plugins.
    programs: directory of the plain programs, to run them by hand.
    """

    suite: str
    release: str
    images: Path
    cni_plugins: Path
    programs: Path


@dataclass(frozen=True)
class _Release:
    name: str
    etcd: str

    @property
    def tag(self) -> str:
        return self.name.replace("+", "-")

    @property
    def etcd_tag(self) -> str:
        return f"v{self.etcd}-{self.name.split('+')[1]}"


_RELEASES = {
    "bookworm": _Release("v1.20.2+rke2r1", etcd="3.4.23"),
    "trixie": _Release("v1.20.2+rke2r2", etcd="3.5.16"),
}
SUITES = tuple(_RELEASES)

_PACKAGES = (
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "etcd-client",
    "etcd-server",
    "iptables",
    "runc",
)
_RUNTIME = ("containerd", "containerd-shim-runc-v2", "ctr", "runc")
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl")
_PREFIX = "docker.io/rancher"
_PAUSE_TAG = "3.2"
_BUSYBOX_TAG = "1.36.1"
BUSYBOX_IMAGE = f"{_PREFIX}/mirrored-library-busybox:{_BUSYBOX_TAG}"

# Charts come with a later release of the content; until then an object that does no harm when applied.
_CHART = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: rke2-test-content
  namespace: kube-system
data:
  purpose: shows that the charts of the runtime image were staged
"""


def content(suite: str) -> Content:
    """The content for nodes of SUITE; the first call builds it (minutes)."""
    if suite not in _RELEASES:
        raise NodeError(f"no content for suite {suite}: choose one of {', '.join(SUITES)}")
    release = _RELEASES[suite]
    sources = [Path(str(module.__file__)) for module in (debian, image_archive)]
    recipe = recipe_hash(Path(__file__), *sources, kubernetes_build.recipe(), suite)
    directory = cached(f"content-{suite}", recipe, lambda unfinished: _build(unfinished, suite, release))
    return Content(
        suite=suite,
        release=release.name,
        images=directory / release.name,
        cni_plugins=directory / "cni-plugins",
        programs=directory / "programs",
    )


def _build(directory: Path, suite: str, release: _Release) -> None:
    host.prepare()
    with tempfile.TemporaryDirectory(dir=directory) as name, ThreadPoolExecutor(1) as beside:
        root = Path(name)
        progress(f"content-{suite}: fetching Debian's containerd, runc, etcd and CNI plugins")
        fetching = beside.submit(debian.make_root, root, suite, _PACKAGES)
        kubernetes = kubernetes_build.programs()
        fetching.result()
        if release.etcd not in debian.command("chroot", root, "etcd", "--version"):
            raise NodeError(f"etcd of {suite} is not {release.etcd} any more: mend the table in {__file__}")
        shutil.copytree(root / "usr/lib/cni", directory / "cni-plugins")
        programs = directory / "programs"
        shutil.copytree(kubernetes, programs)
        for program in (*_RUNTIME, *_etcd_programs(root)):
            shutil.copy2(_find(root, program), programs / program)
        images = directory / release.name
        images.mkdir()
        for image in _images(release, root, programs):
            archive = image.name.rsplit("/", 1)[1].split(":")[0] + ".tar"
            progress(f"content-{suite}: writing {archive}")
            write_archive(image, images / archive)


def _images(release: _Release, root: Path, programs: Path) -> Iterable[Image]:
    """RKE2's images: what its own images of these names hold, as far as a node uses it."""
    yield Image(
        f"{_PREFIX}/rke2-runtime:{release.tag}",
        {
            **{f"bin/{name}": Copy(programs / name) for name in (*_RUNTIME, "kubectl", "kubelet")},
            "charts/rke2-test-content.yaml": Text(_CHART),
        },
    )
    yield Image(
        f"{_PREFIX}/hardened-kubernetes:{release.tag}",
        {
            **{f"usr/local/bin/{name}": Copy(programs / name) for name in _CONTROL_PLANE},
            **_iptables(root),
            **_with_libraries(root, {"usr/sbin/conntrack": _find(root, "conntrack")}),
            "run": Directory(),
            "tmp": Directory(0o1777),
        },
    )
    yield Image(
        f"{_PREFIX}/hardened-etcd:{release.etcd_tag}",
        _with_libraries(root, {f"usr/local/bin/{name}": _find(root, name) for name in _etcd_programs(root)}),
    )
    yield Image(
        f"{_PREFIX}/mirrored-pause:{_PAUSE_TAG}", {"pause": Copy(programs / "pause")}, entrypoint=("/pause",)
    )
    busybox = _find(root, "busybox")
    applets = debian.command(busybox, "--list").split()
    yield Image(
        BUSYBOX_IMAGE,
        {
            **{f"bin/{applet}": Link("busybox") for applet in applets},
            "bin/busybox": Copy(busybox),
            "etc/passwd": Text("root:x:0:0:root:/root:/bin/sh\n"),
            "etc/group": Text("root:x:0:\n"),
            "root": Directory(0o700),
            "tmp": Directory(0o1777),
        },
        arguments=("sh",),
    )


def _etcd_programs(root: Path) -> tuple[str, ...]:
    """etcdutl is part of etcd since 3.5."""
    return ("etcd", "etcdctl", *(("etcdutl",) if (root / "usr/bin/etcdutl").exists() else ()))


def _iptables(root: Path) -> dict[str, Copy | Link]:
    """iptables with both back ends, under all its names; the plain names mean what they mean in Debian."""
    tree: dict[str, Copy | Link] = {}
    sbin = root / "usr/sbin"
    for program in ("xtables-nft-multi", "xtables-legacy-multi"):
        tree |= _with_libraries(root, {f"usr/sbin/{program}": sbin / program})
    names = [path.name for path in sbin.iterdir() if re.match(r"(iptables|ip6tables)", path.name)]
    for name in names:
        program = _real(root, f"/usr/sbin/{name}").name
        if program.startswith("xtables-"):
            tree[f"usr/sbin/{name}"] = Link(program)
    extensions = (root / "usr/lib/x86_64-linux-gnu/xtables").glob("*.so")
    return tree | _with_libraries(root, {str(path.relative_to(root)): path for path in extensions})


def _with_libraries(root: Path, files: dict[str, Path]) -> dict[str, Copy | Link]:
    """The files, and the shared libraries that they are linked to, at the places where the loader looks."""
    tree: dict[str, Copy | Link] = {}
    for place, file in files.items():
        inside = f"/{file.relative_to(root)}"
        tree[place] = Copy(_real(root, inside))
        listing = debian.command("chroot", root, "sh", "-c", 'ldd "$1" || true', "ldd", inside)
        for library in re.findall(r"(/\S+) \(0x", listing):
            tree[library.lstrip("/")] = Copy(_real(root, library))
    return tree


def _find(root: Path, program: str) -> Path:
    inside = debian.command("chroot", root, "sh", "-c", 'command -v "$1"', "find", program).strip()
    return _real(root, inside)


def _real(root: Path, inside: str) -> Path:
    """The file on the host behind a path in the root, whose links may be absolute."""
    real = debian.command("chroot", root, "readlink", "--canonicalize-existing", inside).strip()
    return root / real.lstrip("/")
