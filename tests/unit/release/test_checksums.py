import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.errors import ConfigurationError
from rke2_units.release import checksums

ONE, TWO = "1" * 64, "2" * 64


def test_each_file_has_its_checksum() -> None:
    text = f"{ONE}  rke2-images-core.linux-amd64.txt\n{TWO} *rke2.linux-amd64\n\n"
    assert checksums.parse(text, "sums") == {
        "rke2-images-core.linux-amd64.txt": ONE,
        "rke2.linux-amd64": TWO,
    }


@pytest.mark.parametrize(
    "line",
    [
        "<html>",
        ONE,
        f"{ONE} name",
        f"{ONE}  two names",
        f"{ONE}  folder/name",
        f"{ONE}  ../name",
        f"{ONE[1:]}  name",
        f"{'A' * 64}  name",
        f"  {ONE}  name",
        "name  " + ONE,
    ],
)
def test_anything_else_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(ConfigurationError, match="^sums:2: "):
        checksums.parse(f"{TWO}  other\n{line}\n", "sums")


def test_two_checksums_for_one_file_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="^sums:2: two checksums for name"):
        checksums.parse(f"{ONE}  name\n{TWO}  name\n", "sums")


@given(st.text(max_size=200))
def test_no_text_makes_anything_but_checksums_or_an_error_of_one_line(text: str) -> None:
    try:
        found = checksums.parse(text, "sums")
    except ConfigurationError as error:
        assert "\n" not in error.message
    else:
        assert all(len(digest) == 64 and "/" not in name for name, digest in found.items())
