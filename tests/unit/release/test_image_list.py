import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.config import grammar
from rke2_units.errors import ConfigurationError
from rke2_units.release import image_list
from rke2_units.release.built_in_lists import LISTS
from rke2_units.release.model import ALL, CHART, CORE, STATIC_POD, Release
from rke2_units.release.table import DEFAULT, RELEASES

NAME = "v1.34.2+rke2r1"


def core(name: str = NAME, **other: str) -> list[str]:
    """The lines of a core list; other=REFERENCE replaces one, other="" takes it out."""
    tag = name.replace("+", "-")
    lines = {
        "runtime": f"docker.io/rancher/rke2-runtime:{tag}",
        "kubernetes": f"docker.io/rancher/hardened-kubernetes:{tag}-build20251112",
        "etcd": "docker.io/rancher/hardened-etcd:v3.6.5-k3s1-build20251017",
        "pause": "docker.io/rancher/mirrored-pause:3.6",
        "coredns": "docker.io/rancher/hardened-coredns:v1.13.1-build20251015",
    }
    return [line for line in (lines | other).values() if line]


def made(lines: list[str], name: str = NAME) -> Release:
    return image_list.release(name, {CORE: image_list.parse("\n".join(lines), "list")})


def test_a_release_follows_from_its_name_and_its_list() -> None:
    release = made(core())
    assert (release.name, release.kubernetes, release.etcd) == (NAME, (1, 34), (3, 6, 5))
    assert (release.containerd_config, release.kube_proxy, release.rewrites) == (3, STATIC_POD, True)
    assert release.images == {
        "runtime-image": "rancher/rke2-runtime:v1.34.2-rke2r1",
        **{
            f"{component}-image": "rancher/hardened-kubernetes:v1.34.2-rke2r1-build20251112"
            for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
        },
        "etcd-image": "rancher/hardened-etcd:v3.6.5-k3s1-build20251017",
        "pause-image": "rancher/mirrored-pause:3.6",
    }
    assert release.lists == {CORE: tuple(sorted(core()))}


@pytest.mark.parametrize(
    ("name", "containerd_config", "kube_proxy"),
    [
        ("v1.19.16+rke2r1", 2, CHART),
        ("v1.20.8+rke2r1", 2, CHART),
        ("v1.20.9+rke2r1", 2, STATIC_POD),
        ("v1.21.2+rke2r1", 2, CHART),
        ("v1.21.3+rke2r1", 2, STATIC_POD),
        ("v1.22.0+rke2r1", 2, STATIC_POD),
        ("v1.30.14+rke2r4", 2, STATIC_POD),
        ("v1.31.5+rke2r1", 2, STATIC_POD),
        ("v1.31.6+rke2r1", 3, STATIC_POD),
        ("v1.32.1+rke2r1", 2, STATIC_POD),
        ("v1.32.2+rke2r1", 3, STATIC_POD),
        ("v1.33.0+rke2r1", 3, STATIC_POD),
        ("v1.36.3-rc5+rke2r1", 3, STATIC_POD),
    ],
)
def test_containerd_and_kube_proxy_follow_from_the_version(
    name: str, containerd_config: int, kube_proxy: str
) -> None:
    release = made(core(name), name)
    assert (release.containerd_config, release.kube_proxy) == (containerd_config, kube_proxy)


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ("runtime", "rancher/rke2-runtime"),
        ("kubernetes", "rancher/hardened-kubernetes"),
        ("etcd", "rancher/hardened-etcd"),
        ("pause", "rancher/mirrored-pause"),
    ],
)
def test_a_list_without_an_image_that_nodes_need_is_refused_with_its_name(lacking: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=f"lacks {named}$|lacks {named} "):
        made(core(**{lacking: ""}))


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"lacks rancher/rke2-runtime, .*rancher/mirrored-pause"):
        image_list.release(NAME, {"canal": ("docker.io/rancher/hardened-flannel:v1",)})


def test_the_list_of_another_release_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"not that of v1\.34\.2\+rke2r1: .*v1\.34\.1-rke2r1"):
        made(core("v1.34.1+rke2r1"))


def test_two_versions_of_an_image_that_nodes_need_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="has both"):
        made([*core(), "docker.io/rancher/hardened-etcd:v3.5.0-k3s1"])


def test_an_etcd_without_a_version_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="an unknown version: latest"):
        made(core(etcd="docker.io/rancher/hardened-etcd"))


@pytest.mark.parametrize(
    "line",
    [
        "docker.io/rancher/pause:3.2",
        "rancher/mirrored-pause:3.6",
        "index.docker.io/rancher/mirrored-pause:3.6",
        "registry.rancher.com/rancher/mirrored-pause:3.6",
    ],
)
def test_older_names_and_other_spellings_of_images_are_known(line: str) -> None:
    assert made(core(pause=line)).images["pause-image"] == line[line.index("rancher/") :].replace(
        "rancher.com/rancher/", "rancher/"
    )


def test_the_cloud_controller_is_there_when_the_list_has_it() -> None:
    release = made([*core(), "docker.io/rancher/rke2-cloud-provider:v1.34.0"])
    assert release.images["cloud-controller-manager-image"] == "rancher/rke2-cloud-provider:v1.34.0"
    assert "cloud-controller-manager-image" not in made(core()).images


def test_an_image_of_another_registry_is_not_taken_for_rke2s() -> None:
    with pytest.raises(ConfigurationError, match="lacks rancher/hardened-etcd"):
        made(core(etcd="registry.example.com/rancher/hardened-etcd:v3.6.5-k3s1"))


def test_the_nodes_images_may_be_in_any_list() -> None:
    lists = {
        CORE: image_list.parse("\n".join(core(runtime="")), "list"),
        "runtime": ("docker.io/rancher/rke2-runtime:v1.34.2-rke2r1",),
    }
    assert image_list.release(NAME, lists).images == made(core()).images


def test_a_list_of_everything_does_where_there_is_no_core() -> None:
    lines = image_list.parse("\n".join(core()), "list")
    assert image_list.release(NAME, {ALL: lines}).images == made(core()).images


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("rke2-images-core.linux-amd64.txt", "core"),
        ("rke2-images-ingress-nginx.linux-amd64.txt", "ingress-nginx"),
        ("rke2-images.linux-amd64.txt", ALL),
        ("rke2-images-all.linux-amd64.txt", ALL),
        ("rke2-images-core.linux-arm64.txt", None),
        ("rke2-images-core.linux-amd64.tar.zst", None),
        ("rke2-images.windows-amd64.txt", None),
        ("sha256sum-amd64.txt", None),
        ("../rke2-images-core.linux-amd64.txt", None),
    ],
)
def test_a_lists_name_is_in_its_files_name(file: str, name: str | None) -> None:
    assert image_list.list_name(file, "amd64") == name


def test_empty_lines_and_comments_are_passed_over_and_images_told_once() -> None:
    text = (
        "\ufeff# core\n\n  rancher/a:1 # note \r\n\ufeffdocker.io/rancher/a:1\nexample.com:5000/b@sha256:"
        + "0" * 64
    )
    assert image_list.parse(text, "list") == (
        "docker.io/rancher/a:1",
        "example.com:5000/b@sha256:" + "0" * 64,
    )


@pytest.mark.parametrize("line", ["a b", "https://example.com/a:1", "a:1:2", "-", "ä:1", "a\0b", "UPPER//x"])
def test_a_line_that_is_no_reference_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(ConfigurationError, match="^list:2: .*no image reference"):
        image_list.parse(f"rancher/a:1\n{line}\n", "list")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_list_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="list names no image"):
        image_list.parse(text, "list")


@pytest.mark.parametrize(
    "name", ["", "v9", "1.34.2+rke2r1", "v1.34.2", "v1.34.2+k3s1", "v1.34.2+rke2r1/../x", "v1.34.2+rke2r1\n"]
)
def test_what_is_no_release_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a release"):
        image_list.release(name, {CORE: tuple(core())})


LINES = st.one_of(st.sampled_from(core()), st.text(max_size=60), st.from_regex(r"[a-z/:.@-]{0,30}"))


@given(st.lists(LINES, max_size=9))
def test_no_list_makes_anything_but_a_release_or_an_error_of_one_line(lines: list[str]) -> None:
    try:
        release = made(lines)
    except ConfigurationError as error:
        assert "\n" not in error.message
    else:
        assert set(core()) - {line for line in core() if "coredns" in line} <= set(release.lists[CORE])


@given(st.text(max_size=30))
def test_no_name_of_a_release_leads_out_of_a_folder(name: str) -> None:
    try:
        grammar.release(name)
    except ValueError:
        return
    assert "/" not in name and not name.startswith(".")


@pytest.mark.parametrize("name", RELEASES)
def test_what_is_built_in_are_lists_as_rke2_publishes_them(name: str) -> None:
    for key, lines in RELEASES[name].lists.items():
        written = LISTS[name][key].split()
        assert sorted(written) == list(lines)
        assert all(line.startswith("docker.io/rancher/") for line in written)


def test_the_default_release_has_a_list_for_every_choice_of_the_configuration() -> None:
    assert {"core", "canal", "calico", "cilium", "flannel", "multus", "ingress-nginx"} <= set(
        RELEASES[DEFAULT].lists
    )
