"""The version of a chart archive is found without unpacking it."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.charts.archive import version


def tar(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"apiVersion: v2\nname: a\nversion: 1.2.3\n", "1.2.3"),
        (b'version: "v3.32.1-build2026081900"\n', "v3.32.1-build2026081900"),
        (b"version: '1.0'  # said twice\n", "1.0"),
        (b"name: a\ndependencies:\n- version: 9\nversion: 2.0.0+up1\n", "2.0.0+up1"),
        (b"appVersion: 5\n", ""),
    ],
)
def test_the_version_of_chart_yaml_is_told(text: bytes, expected: str) -> None:
    assert version(gzip.compress(tar(("a/Chart.yaml", text)))) == expected


def test_a_dependencys_chart_yaml_is_not_the_charts() -> None:
    files = (("a/charts/b/Chart.yaml", b"version: 9.9.9\n"), ("a/Chart.yaml", b"version: 1.0.0\n"))
    assert version(gzip.compress(tar(*files))) == "1.0.0"


def test_the_extra_field_in_helms_gzip_header_does_no_harm() -> None:
    packed = gzip.compress(tar(("a/Chart.yaml", b"version: 1.0.0\n")))
    extra = b"+aHR0cHM6Ly95b3V0dS5iZS96OVV6MWljandyTQo="
    header = packed[:3] + bytes([packed[3] | 4]) + packed[4:10] + len(extra).to_bytes(2, "little") + extra
    assert version(header + packed[10:]) == "1.0.0"


def test_a_large_file_before_chart_yaml_ends_the_search() -> None:
    files = (("a/bomb", bytes(2 << 20)), ("a/Chart.yaml", b"version: 1.0.0\n"))
    assert version(gzip.compress(tar(*files))) == ""


@given(st.binary(max_size=200))
def test_what_is_no_archive_has_no_version(content: bytes) -> None:
    assert version(content) == ""
    assert version(gzip.compress(content)) == ""
