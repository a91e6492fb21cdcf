"""Programs out of images: helm, and etcdctl."""

import os
from pathlib import Path

import pytest

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean import architectures
from rke2_units.lean.settings import Settings
from rke2_units.programs.image_program import ORIGINS, program
from tests.unit.program_values import Member, archive_bytes, image_files, layer, make_settings

IMAGE = "rancher/klipper-helm:v0.13.3-build20260820"
DIRECTORY = "helm-0123456789ab"
HELM = "#!/bin/sh\necho v4.2.3+g0123456\n"


def make_image(root: Path, *members: Member, name: str = f"docker.io/{IMAGE}") -> None:
    (root / "agent/images").mkdir(parents=True, exist_ok=True)
    (root / "data").mkdir(exist_ok=True)
    image = image_files([name], [layer(*members)], architectures.own())
    (root / "agent/images/rke2-images.tar").write_bytes(archive_bytes(image))


def settings(root: Path, directory: str = DIRECTORY) -> Settings:
    return make_settings(root, helm={"image": IMAGE, "directory": directory})


def staged(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / "data")) for path in (root / "data").rglob("*"))


@pytest.mark.parametrize(
    "members",
    [
        [Member("usr/bin/helm", HELM)],
        [Member("usr/bin/helm_v3", HELM)],
        [Member("usr/local/bin/helm", HELM)],
        [Member("usr/bin/helm", link="/usr/bin/helm_v4", kind=b"2"), Member("usr/bin/helm_v4", HELM)],
    ],
)
def test_helm_comes_out_of_the_image_and_nothing_else_does(tmp_path: Path, members: list[Member]) -> None:
    make_image(tmp_path, *members, Member("usr/bin/entry", "no"), Member("etc/passwd", "no"))
    program(settings(tmp_path), ["helm"])
    assert staged(tmp_path) == [DIRECTORY, f"{DIRECTORY}/helm"]
    assert (tmp_path / "data" / DIRECTORY / "helm").read_text() == HELM
    assert os.access(tmp_path / "data" / DIRECTORY / "helm", os.X_OK)


def test_nothing_is_read_when_helm_is_there(tmp_path: Path) -> None:
    make_image(tmp_path, Member("usr/bin/helm", HELM))
    program(settings(tmp_path), ["helm"])
    (tmp_path / "agent/images/rke2-images.tar").unlink()
    program(settings(tmp_path), ["helm"])
    assert staged(tmp_path) == [DIRECTORY, f"{DIRECTORY}/helm"]


def test_another_image_takes_the_place_of_the_first(tmp_path: Path) -> None:
    make_image(tmp_path, Member("usr/bin/helm", HELM))
    program(settings(tmp_path), ["helm"])
    program(settings(tmp_path, "helm-abcdef"), ["helm"])
    assert staged(tmp_path) == ["helm-abcdef", "helm-abcdef/helm"]


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([Member("usr/bin/entry", "")], "has no helm in /usr/bin"),
        ([Member("usr/bin/helm", "#!/bin/sh\necho wrong libc >&2; exit 127\n")], "not run here: wrong libc"),
        ([Member("usr/bin/helm", "\x7fELF no program")], "does not run here"),
        ([Member("usr/bin/helm", kind=b"2", link="../../../x")], "leads out of the image"),
    ],
)
def test_an_image_without_a_helm_that_runs_is_named_and_leaves_nothing(
    tmp_path: Path, members: list[Member], complaint: str
) -> None:
    make_image(tmp_path, *members)
    with pytest.raises(UserError, match=complaint):
        program(settings(tmp_path), ["helm"])
    assert staged(tmp_path) == []


@pytest.mark.parametrize("directory", ["", "helm-..", "v1-0123", "helm-a/b"])
def test_helms_directory_cannot_be_elsewhere(tmp_path: Path, directory: str) -> None:
    with pytest.raises(ConfigurationError, match="helm: 'directory'"):
        settings(tmp_path, directory)


ETCD = "rancher/hardened-etcd:v3.4.13"
ETCDCTL = "#!/bin/sh\n[ $1 = version ] && printf 'etcdctl version: 3.4.23\\nAPI version: 3.4\\n'\n"
OF_ETCD = "etcdctl-0123456789ab"


def etcd_settings(root: Path) -> Settings:
    return make_settings(root, etcdctl={"image": ETCD, "directory": OF_ETCD})


@pytest.mark.parametrize("place", ORIGINS["etcdctl"].places)
def test_etcdctl_comes_out_of_the_etcd_image_with_etcd(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place.rpartition("/")[0]
    make_image(tmp_path, Member(place, ETCDCTL), Member(f"{folder}/etcd", "etcd"), name=ETCD)
    program(etcd_settings(tmp_path), ["etcdctl"])
    assert staged(tmp_path) == [OF_ETCD, f"{OF_ETCD}/etcd", f"{OF_ETCD}/etcdctl"]
    assert f"etcdctl 3.4.23 of {ETCD} is at" in capsys.readouterr().err
    # It is all there, though there is no etcdutl: the image is not read again.
    (tmp_path / "agent/images/rke2-images.tar").unlink()
    program(etcd_settings(tmp_path), ["etcdctl"])


def test_etcdutl_comes_too_where_the_image_has_it(tmp_path: Path) -> None:
    members = [Member(f"usr/local/bin/{name}", ETCDCTL) for name in ("etcdutl", "etcd", "etcdctl")]
    make_image(tmp_path, *members, name=ETCD)
    program(etcd_settings(tmp_path), ["etcdctl"])
    assert staged(tmp_path) == [OF_ETCD, *(f"{OF_ETCD}/{name}" for name in ("etcd", "etcdctl", "etcdutl"))]
    assert all(os.access(path, os.X_OK) for path in (tmp_path / "data" / OF_ETCD).iterdir())


@pytest.mark.parametrize("there", [["etcdctl"], ["etcdutl"], ["etcdutl", "etcdctl"]])
def test_what_an_older_version_or_a_killed_run_has_left_is_completed(
    tmp_path: Path, there: list[str]
) -> None:
    members = [Member(f"usr/local/bin/{name}", ETCDCTL) for name in ("etcdutl", "etcd", "etcdctl")]
    make_image(tmp_path, *members, name=ETCD)
    (tmp_path / "data" / OF_ETCD).mkdir()
    for name in there:
        (tmp_path / "data" / OF_ETCD / name).write_text("of before")
    program(etcd_settings(tmp_path), ["etcdctl"])
    for name in ("etcdutl", "etcd", "etcdctl"):
        assert (tmp_path / "data" / OF_ETCD / name).read_text() == ETCDCTL


def test_an_image_without_etcd_is_named(tmp_path: Path) -> None:
    make_image(tmp_path, Member("usr/local/bin/etcdctl", ETCDCTL), name=ETCD)
    with pytest.raises(UserError, match="has no etcd in /usr/local/bin"):
        program(etcd_settings(tmp_path), ["etcdctl"])
    assert staged(tmp_path) == []


def test_helm_and_etcdctl_leave_each_other_alone(tmp_path: Path) -> None:
    members = [Member(f"usr/bin/{name}", HELM) for name in ("helm", "etcdctl", "etcd")]
    make_image(tmp_path, *members)
    tables = {name: {"image": IMAGE, "directory": f"{name}-0123"} for name in ("helm", "etcdctl")}
    for name in ("helm", "etcdctl", "helm"):
        program(make_settings(tmp_path, **tables), [name])
    assert staged(tmp_path) == [
        "etcdctl-0123", "etcdctl-0123/etcd", "etcdctl-0123/etcdctl", "helm-0123", "helm-0123/helm"
    ]  # fmt: skip


def test_without_an_image_nothing_is_done(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no image of etcdctl"):
        program(make_settings(tmp_path), ["etcdctl"])


@pytest.mark.parametrize("arguments", [[], ["kubectl"], ["helm", "etcdctl"]])
def test_one_program_that_is_known_must_be_named(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"takes one of helm, etcdctl.*helm\|etcdctl"):
        program(make_settings(tmp_path), arguments)
