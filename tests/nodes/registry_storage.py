"""What a registry holds: the images of a suite's content, as docker-registry keeps them on disk.

Filled once, by Debian's own docker-registry and skopeo, in a network namespace with nothing but a loopback.
Each image is there twice: under its release's tag, and under that of a release which was never built. The
runtime image is also below a path, where registries keep what they mirror.
"""

import json
import os
import tempfile
from pathlib import Path

from tests.nodes import helm, host, root
from tests.nodes.cache import cached, progress, recipe_hash
from tests.nodes.content import Content
from tests.nodes.debian import command

# The release of the second tags. From 1.20.9 on RKE2 has kube-proxy as a static pod, as the content has.
ANOTHER_RELEASE = "v1.20.9+rke2r9"
# The path of what is mirrored.
MIRROR = "mirror"

# $1 root of a node, $2 storage, $3 archives; the rest: SOURCE NAME... The root is shared, so read-only.
_FILL = """\
root=$1 storage=$2 archives=$3
shift 3
mount --bind "$root" "$root"
mount --bind "$storage" "$root/srv"
mount --bind "$archives" "$root/mnt"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
ip link set lo up
exec chroot "$root" sh -euc '
    cat >/tmp/registry.yml <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /srv}}
http: {addr: 127.0.0.1:5000}
END
    export TMPDIR=/tmp HOME=/tmp
    docker-registry serve /tmp/registry.yml >/tmp/log 2>&1 &
    until curl --silent --fail http://127.0.0.1:5000/v2/ >/tmp/answer; do sleep 0.1; done
    while [ $# -gt 0 ]; do
        skopeo --insecure-policy copy --quiet --src-tls-verify=false --dest-tls-verify=false "$1" "$2" >&2
        shift 2
    done
' fill "$@"
"""


def image_list(content: Content, release: str) -> list[str]:
    """The images of the content's release, or of ANOTHER_RELEASE, as RKE2's lists have them."""
    return [name for _, name in _images(content, release)]


def registry_storage(content: Content) -> Path:
    """The `rootdirectory` of a docker-registry with the content's images; shared, never to be written."""
    template = root.root(content.suite)
    recipe = recipe_hash(Path(__file__), str(content.images.parent), str(helm.images()), str(template))
    name = f"registry-{content.suite}"
    return cached(name, recipe, lambda unfinished: _fill(unfinished, content, template))


def _fill(storage: Path, content: Content, template: Path) -> None:
    host.prepare()
    progress(f"registry-{content.suite}: pushing the images of {content.release} into it")
    words: list[str] = []
    pushed: dict[Path, str] = {}
    for release in (content.release, ANOTHER_RELEASE):
        for archive, name in _images(content, release):
            path = name.removeprefix("docker.io/")
            mirrored = "/rke2-runtime:" in path and release == content.release
            for target in (path, f"{MIRROR}/{path}") if mirrored else (path,):
                # Compressing it takes seconds, once.
                source = pushed.get(archive, f"docker-archive:/mnt/{archive.name}")
                pushed[archive] = f"docker://127.0.0.1:5000/{target}"
                words += [source, pushed[archive]]
    with tempfile.TemporaryDirectory(dir=storage.parent) as archives:
        for archive in _archives(content):
            os.link(archive, f"{archives}/{archive.name}")
        places = (str(template), str(storage), archives)
        command(
            *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
            *("sh", "-euc", _FILL, "fill", *places, *words),
        )


def _archives(content: Content) -> list[Path]:
    return sorted(archive for folder in (content.images, helm.images()) for archive in folder.glob("*.tar"))


def _images(content: Content, release: str) -> list[tuple[Path, str]]:
    """Each archive and the name that its image has in the release."""
    (version, build), (new_version, new_build) = (name.split("+") for name in (content.release, release))
    found = []
    for archive in _archives(content):
        [image] = json.loads(
            command("tar", "--extract", f"--file={archive}", "--to-stdout", "manifest.json")
        )
        [name] = image["RepoTags"]
        repository, tag = name.rsplit(":", 1)
        if tag.endswith(f"-{build}"):
            tag = tag.replace(version, new_version).removesuffix(build) + new_build
        found.append((archive, f"{repository}:{tag}"))
    return found
