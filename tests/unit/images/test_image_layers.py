import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.errors import UserError
from rke2_units.images.image_layers import Image, Part, image_path
from tests.unit.program_values import Member, layer


def make_image(directory: Path, *layers: bytes) -> Image:
    directory.mkdir(exist_ok=True)
    image = Image(("bin", "charts"), str(directory))
    for content in layers:
        plain = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        image.add_layer(
            Part(io.BytesIO(content), 0, len(content)), "sha256:" + hashlib.sha256(plain).hexdigest()
        )
    return image


def contents(image: Image) -> dict[str, str]:
    return {path: Path(image.entries[image.resolve(path)].content).read_text() for path in image.entries}


def test_only_the_wanted_directories_are_taken(tmp_path: Path) -> None:
    image = make_image(
        tmp_path, layer(Member("./bin/a", "1"), Member("/charts/b", "2"), Member("etc/passwd", "3"))
    )
    assert contents(image) == {"bin/a": "1", "charts/b": "2"}


def test_a_later_layer_counts(tmp_path: Path) -> None:
    assert contents(make_image(tmp_path, layer(Member("bin/a", "1")), layer(Member("bin/a", "2")))) == {
        "bin/a": "2"
    }


def test_a_compressed_layer_is_checked_by_its_content(tmp_path: Path) -> None:
    assert contents(make_image(tmp_path, gzip.compress(layer(Member("bin/a", "1"))))) == {"bin/a": "1"}


def test_a_layer_that_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    content = layer(Member("bin/a", "1"))
    image = Image(("bin",), str(tmp_path))
    with pytest.raises(ValueError, match="does not match its digest"):
        image.add_layer(Part(io.BytesIO(content), 0, len(content)), "sha256:00")


@pytest.mark.parametrize(
    ("lower", "upper", "left"),
    [
        (["bin/a", "bin/b"], ["bin/.wh.a"], ["bin/b"]),
        (["bin/d/a", "bin/da"], ["bin/.wh.d"], ["bin/da"]),
        (["bin/a", "bin/d/b"], ["bin/.wh..wh..opq", "bin/c"], ["bin/c"]),
        (["bin/a", "charts/b"], [".wh.bin"], ["charts/b"]),
        (["bin/a", "charts/b"], [".wh..wh..opq"], []),
        # What the same layer brings is not hidden by it.
        (["bin/a"], ["bin/.wh.a", "bin/a"], ["bin/a"]),
        (["bin/a", "bin/b"], ["bin/.wh.nothing"], ["bin/a", "bin/b"]),
        # A file in the place of a directory, and the other way round.
        (["bin/a/x", "bin/ab"], ["bin/a"], ["bin/a", "bin/ab"]),
        (["bin/a", "bin/ab"], ["bin/a/x"], ["bin/a/x", "bin/ab"]),
    ],
)
def test_whiteouts_hide_what_lies_below(
    tmp_path: Path, lower: list[str], upper: list[str], left: list[str]
) -> None:
    image = make_image(tmp_path, layer(*map(Member, lower)), layer(*map(Member, upper)))
    assert sorted(image.entries) == left


@pytest.mark.parametrize("target", ["a", "./a", "/bin/a", "../bin/a", "../bin/link2"])
def test_links_within_the_image_lead_to_their_file(tmp_path: Path, target: str) -> None:
    links = [
        Member("bin/link", kind=tarfile.SYMTYPE, link=target),
        Member("bin/link2", kind=tarfile.SYMTYPE, link="a"),
    ]
    assert contents(make_image(tmp_path, layer(Member("bin/a", "1"), *links)))["bin/link"] == "1"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "nothing", "link", "..", "/", ""])
def test_links_out_of_what_is_taken_are_refused(tmp_path: Path, target: str) -> None:
    image = make_image(tmp_path, layer(Member("bin/link", kind=tarfile.SYMTYPE, link=target)))
    with pytest.raises(UserError, match="link bin/link leads"):
        image.resolve("bin/link")


def test_a_hard_link_is_the_file_that_it_names(tmp_path: Path) -> None:
    lower = layer(Member("bin/a", "1"))
    upper = layer(Member("bin/b", kind=tarfile.LNKTYPE, link="bin/a"))
    assert contents(make_image(tmp_path, lower, upper)) == {"bin/a": "1", "bin/b": "1"}


@pytest.mark.parametrize("link", ["etc/passwd", "bin/nothing", "../../../etc/passwd", "/etc/shadow"])
def test_a_hard_link_to_what_is_not_taken_is_refused(tmp_path: Path, link: str) -> None:
    with pytest.raises(UserError, match="hard link|leads out"):
        make_image(tmp_path, layer(Member("bin/b", kind=tarfile.LNKTYPE, link=link)))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(UserError, match="bin/device is neither a file nor a link"):
        make_image(tmp_path, layer(Member("bin/device", kind=kind)))


@pytest.mark.parametrize("name", ["../x", "bin/../../x", "/../x", "bin/..", "etc/../../bin/x"])
def test_a_path_that_climbs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out"):
        make_image(tmp_path, layer(Member(name, "x")))


PARTS = st.sampled_from(
    ["", ".", "..", "bin", "charts", "a", ".wh.a", ".wh..wh..opq", ".wh..", ".wh...", "\u00e4"]
)
PATHS = st.builds("/".join, st.lists(PARTS, min_size=1, max_size=5))
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE]
)


@given(members=st.lists(st.builds(Member, PATHS, st.just("x"), KINDS, PATHS), max_size=6))
def test_no_archive_writes_outside_its_directory(
    tmp_path_factory: pytest.TempPathFactory, members: list[Member]
) -> None:
    for member in members:
        if member.kind != tarfile.REGTYPE:
            member.content = b""
    root = tmp_path_factory.mktemp("root")
    try:
        image = make_image(root / "inside", layer(*members))
    except UserError as error:
        assert "\n" not in str(error)
        image = Image((), "")
    # Numbers alone are ever written, below the directory; every path that is left is clean.
    assert [path.name for path in root.iterdir()] == ["inside"]
    assert all(path.name.isdecimal() and path.is_file() for path in (root / "inside").iterdir())
    for path in image.entries:
        assert path.split("/")[0] in ("bin", "charts")
        assert not {"", ".", ".."} & set(path.split("/"))


@given(name=st.text(max_size=30))
def test_a_path_of_the_image_is_clean_or_refused(name: str) -> None:
    try:
        path = image_path(name)
    except UserError:
        assert ".." in name.split("/") or "\0" in name
    else:
        assert not path.startswith("/")
        assert path == "" or not {"", ".", ".."} & set(path.split("/"))
