"""helm's records are read, and one that a killed helm left is repaired."""

import base64
import gzip
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.charts.records import Deployed, Record, deployed, failed, latest, path
from rke2_units.errors import UserError

RELEASE = {
    "name": "a",
    "version": 2,
    "info": {"status": "pending-upgrade", "last_deployed": "2026-01-02T03:04:05.123456789Z"},
    "chart": {"metadata": {"name": "demo", "version": "1.2.3"}},
    "apply_method": "ssa",
}


def metadata(revision: object, status: str = "deployed", **labels: str) -> dict[str, Any]:
    name = f"sh.helm.release.v1.a.v{revision}"
    return {"metadata": {"name": name, "labels": {"version": str(revision), "status": status, **labels}}}


def record_object(release: object, kind: str = "Secret") -> dict[str, Any]:
    text = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    if kind == "Secret":
        text = base64.b64encode(text)
    return {
        "kind": kind,
        "metadata": {"name": "sh.helm.release.v1.a.v2", "namespace": "n", "resourceVersion": "7"},
        "data": {"release": text.decode()},
    }


def test_the_highest_revision_counts_by_number() -> None:
    objects = [metadata(9, "superseded"), metadata(10, "failed"), metadata(2, "superseded")]
    assert latest(objects) == Record(10, "failed", "", "sh.helm.release.v1.a.v10")


def test_the_hash_is_a_label() -> None:
    found = latest([metadata(1, **{"helmcharts.helm.cattle.io/configHash": "ABC"})])
    assert found is not None
    assert found.hash == "ABC"


def test_what_has_no_revision_is_no_record() -> None:
    assert latest([metadata("x"), {"metadata": {"name": "other"}}]) is None


def content(obj: dict[str, Any]) -> Any:
    """The release in a record's object, as helm reads it."""
    packed = base64.b64decode(obj["data"]["release"])
    return json.loads(gzip.decompress(base64.b64decode(packed) if obj["kind"] == "Secret" else packed))


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_repaired_record_says_failed_in_its_label_and_inside(kind: str) -> None:
    patch = failed(record_object(RELEASE, kind))
    assert patch["metadata"]["labels"]["status"] == "failed"
    # Whoever changed it since makes the API refuse the patch.
    assert patch["metadata"]["resourceVersion"] == "7"
    again = content({"kind": kind, **patch})
    assert again["info"]["status"] == "failed"
    assert again["info"]["description"] == "was pending-upgrade; set by rke2-helm-applier"
    assert {**again, "info": {}} == {**RELEASE, "info": {}}


def test_a_repair_leaves_everything_else_of_a_record_as_it_is() -> None:
    packed = base64.b64encode(
        gzip.compress(b'{"info":{"description":"\xff\xc3\xa9"},"chart":{"metadata":{}},"z":"\xff"}')
    )
    obj = record_object(RELEASE, "ConfigMap") | {"data": {"release": packed.decode()}}
    written = gzip.decompress(base64.b64decode(failed(obj)["data"]["release"]))
    assert written.endswith(b'"status": "failed"},"chart":{"metadata":{}},"z":"\xff"}')


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_record_tells_version_time_and_way_of_its_deployment(kind: str) -> None:
    found = deployed(record_object(RELEASE, kind))
    assert found == Deployed("1.2.3", "2026-01-02T03:04:05.123456789Z", True)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
QUOTES = st.sampled_from(
    ['"info":{"status":"x"}', '"chart":{"metadata":{"version":"9"}}', '"apply_method":"ssa"}']
)


@given(TEXTS | QUOTES, TEXTS | QUOTES, st.sampled_from([None, "csa", "ssa"]), st.booleans())
def test_what_texts_of_a_release_quote_does_not_count(
    notes: str, manifest: str, method: str | None, spaces: bool
) -> None:
    """As helm writes it, with texts that look like fields, and values with fields of these names."""
    trap = {
        "info": {"last_deployed": "never"},
        "chart": {"metadata": {"version": "8"}},
        "apply_method": "ssa",
    }
    release: dict[str, Any] = {
        "name": "a",
        "info": {"last_deployed": "then", "description": notes, "status": "deployed", "notes": notes},
        "chart": {"metadata": {"name": "demo", "version": "1.2.3", "description": manifest}, "values": trap},
        "config": trap,
        "manifest": manifest,
        "hooks": [{"manifest": notes, **trap}],
        "version": 2,
        "namespace": "n",
    } | ({"apply_method": method} if method else {})
    obj = record_object(release)
    packed = gzip.compress(
        json.dumps(release, separators=None if spaces else (",", ":"), ensure_ascii=False).encode()
    )
    obj["data"]["release"] = base64.b64encode(base64.b64encode(packed)).decode()
    assert deployed(obj) == Deployed("1.2.3", "then", method == "ssa")
    again = content({"kind": "Secret", **failed(obj)})
    info = {"status": "failed", "description": "was deployed; set by rke2-helm-applier"}
    assert again == {**release, "info": release["info"] | info}


def test_what_is_told_is_one_short_line() -> None:
    chart = {"metadata": {"version": "1\x1b[2J\n" + "x" * 5000}}
    found = deployed(record_object({"info": {"last_deployed": 7}, "chart": chart}))
    assert found.version.startswith("1 [2J xxx") and len(found.version) == 200
    assert found.since == ""


@pytest.mark.parametrize(
    "release", [{}, [], {"info": {}}, {"info": {}, "chart": None}, {"info": 3, "chart": {"metadata": {}}}]
)
def test_a_release_without_info_and_chart_is_none(release: object) -> None:
    with pytest.raises(UserError, match="^sh.helm.release.v1.a.v2 in n is not a release record of helm$"):
        deployed(record_object(release))


@given(st.text(max_size=40))
def test_what_is_no_record_is_said_in_one_line(text: str) -> None:
    obj = {"kind": "Secret", "metadata": {"name": "a", "namespace": "n"}, "data": {"release": text}}
    for read in (deployed, failed):
        with pytest.raises(UserError, match="^a in n is not a release record"):
            read(obj)


HEAD = b'{"name":"a","info":{"last_deployed":"then"},"chart":{"metadata":{"version":"1"}'


@pytest.mark.parametrize(
    ("head", "filling", "times"),
    [
        (b"", b" ", 65 << 20),
        (HEAD + b',"values":[', b"[],", 20 << 20),
        (HEAD + b',"values":[', b"[],", 5 << 20),
        (b'{"info":{"a":[', b"{},", 20 << 20),
        (b'{"info":', b"[", 60 << 20),
        (b'{"info":{"a":', b"[", 15 << 20),
        (b"", b'{"info":', 2 << 20),
        (b"", b'"info":', 2 << 20),
        (b"", b'"', 60 << 20),
        (HEAD + b"},", b'"apply_method":"ssa"', 1 << 19),
    ],
)
def test_a_hostile_record_costs_neither_time_nor_memory(head: bytes, filling: bytes, times: int) -> None:
    packed = gzip.compress(head + filling * times, 1)
    obj = record_object({})
    obj["data"]["release"] = base64.b64encode(base64.b64encode(packed)).decode()
    for read in (deployed, failed):
        tracemalloc.start()
        began = time.process_time()
        try:
            read(obj)
        except UserError:
            pass
        took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100 << 20
        assert took < 3


def test_records_are_where_the_driver_puts_them() -> None:
    assert path("secret", "n") == "/api/v1/namespaces/n/secrets"
    assert path("configmap", "n", "a") == "/api/v1/namespaces/n/configmaps/a"
