"""The version of a chart archive is found without unpacking it."""

import gzip
import io
import tarfile
import time
import tracemalloc

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
    files = (("a/bomb", bytes(5 << 20)), ("a/Chart.yaml", b"version: 1.0.0\n"))
    assert version(gzip.compress(tar(*files))) == ""


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a/Chart.yaml", "./a/Chart.yaml", f"{'n' * 97}/Chart.yaml"])
def test_every_kind_of_tar_is_read_with_what_comes_before_the_file(kind: int, name: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for each, text in (("a/._x", b"version: 7\n"), (name, b"name: a\nversion: 1.0.0\n")):
            member = tarfile.TarInfo(each)
            member.size = len(text)
            if kind == tarfile.PAX_FORMAT:
                member.pax_headers = {"LIBARCHIVE.xattr.com.apple": "x" * 2000}
            archive.addfile(member, io.BytesIO(text))
    # A name that only an extended header holds is not read.
    told = "" if kind != tarfile.USTAR_FORMAT and len(name) > 100 else "1.0.0"
    assert version(gzip.compress(out.getvalue())) == told


def header(kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo("a/Chart.yaml")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("kind", "size", "filling", "times"),
    [
        (tarfile.GNUTYPE_LONGNAME, 1 << 30, b"\0", 60 << 20),
        (tarfile.GNUTYPE_LONGLINK, 1 << 30, b"x", 60 << 20),
        (tarfile.XHDTYPE, 1 << 30, b"6 a=b\n", 10 << 20),
        (tarfile.XHDTYPE, 3 << 20, b"1", 60 << 20),
        (tarfile.XGLTYPE, 1 << 30, b"\0", 60 << 20),
        (tarfile.GNUTYPE_SPARSE, 1 << 30, b"\0", 60 << 20),
        (tarfile.REGTYPE, 1 << 30, b"aversion: 1", 6 << 20),
        (tarfile.DIRTYPE, 0, header(tarfile.DIRTYPE, 0), 1 << 17),
    ],
)
def test_a_bomb_costs_neither_time_nor_memory(kind: bytes, size: int, filling: bytes, times: int) -> None:
    packed = gzip.compress(header(kind, size) + filling * times, 1)
    tracemalloc.start()
    began = time.process_time()
    assert version(packed) == ""
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    assert took < 1


@given(st.binary(max_size=200))
def test_what_is_no_archive_has_no_version(content: bytes) -> None:
    assert version(content) == ""
    assert version(gzip.compress(content)) == ""
