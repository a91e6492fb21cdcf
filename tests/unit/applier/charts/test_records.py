"""helm's records are read, and one that a killed helm left is repaired."""

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.charts.records import Deployed, Record, deployed, failed, latest, path, unpack
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


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_repaired_record_says_failed_in_its_label_and_inside(kind: str) -> None:
    patch = failed(record_object(RELEASE, kind))
    assert patch["metadata"]["labels"]["status"] == "failed"
    # Whoever changed it since makes the API refuse the patch.
    assert patch["metadata"]["resourceVersion"] == "7"
    again = unpack({"kind": kind, "metadata": {}, **patch})
    assert again["info"]["status"] == "failed"
    assert {**again, "info": {}} == {**RELEASE, "info": {}}


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_record_tells_version_time_and_way_of_its_deployment(kind: str) -> None:
    found = deployed(unpack(record_object(RELEASE, kind)))
    assert found == Deployed("1.2.3", "2026-01-02T03:04:05.123456789Z", True)


def test_an_old_record_tells_less() -> None:
    assert deployed({}) == Deployed("", "", False)


@given(st.text(max_size=40))
def test_what_is_no_record_is_said_in_one_line(text: str) -> None:
    obj = {"kind": "Secret", "metadata": {"name": "a", "namespace": "n"}, "data": {"release": text}}
    with pytest.raises(UserError, match="^a in n is not a record"):
        unpack(obj)


def test_a_bomb_is_no_record() -> None:
    bomb = record_object({})
    packed = gzip.compress(b" " * (65 << 20), compresslevel=1)
    bomb["data"]["release"] = base64.b64encode(base64.b64encode(packed)).decode()
    with pytest.raises(UserError, match="is not a record"):
        unpack(bomb)


def test_records_are_where_the_driver_puts_them() -> None:
    assert path("secret", "n") == "/api/v1/namespaces/n/secrets"
    assert path("configmap", "n", "a") == "/api/v1/namespaces/n/configmaps/a"
