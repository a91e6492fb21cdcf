"""Addons and the marks on objects are those that k3s writes, so that what RKE2 applied is found again."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.manifests import addon
from rke2_units.applier.manifests.addon import Addon


def test_the_hash_is_the_one_that_k3s_puts_on_coredns() -> None:
    assert addon.owner_hash("coredns") == "bce283298811743a0386ab510f2f67ef74240c57"


def test_the_marks_replace_those_of_before_and_nothing_else() -> None:
    annotations = {"a": "b", addon.APPLIED_ANNOTATION: "H4s", "objectset.rio.cattle.io/owner-name": "other"}
    obj: dict[str, Any] = {"metadata": {"name": "x", "labels": None, "annotations": annotations}}
    addon.mark(obj, "coredns")
    assert obj["metadata"]["labels"] == {addon.HASH_LABEL: addon.owner_hash("coredns")}
    assert obj["metadata"]["annotations"] == {
        "a": "b",
        "objectset.rio.cattle.io/id": "",
        "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
        "objectset.rio.cattle.io/owner-name": "coredns",
        "objectset.rio.cattle.io/owner-namespace": "kube-system",
    }


def test_kinds_are_written_as_go_writes_them() -> None:
    obj = Addon("a", "/a.yaml", "sum", (("v1", "Secret"), ("apps/v1", "Deployment"))).object()
    assert obj["metadata"]["annotations"] == {
        "addon.k3s.cattle.io/gvks": "/v1, Kind=Secret;apps/v1, Kind=Deployment"
    }
    assert obj["spec"] == {"source": "/a.yaml", "checksum": "sum"}


WORDS = st.text("abcXYZ109.-", min_size=1, max_size=9)


@given(st.lists(st.tuples(st.one_of(WORDS, st.tuples(WORDS, WORDS).map("/".join)), WORDS)))
def test_kinds_are_read_as_they_are_written(kinds: list[addon.Kind]) -> None:
    assert addon.parse_kinds(";".join(addon.kind_text(*kind) for kind in kinds)) == tuple(kinds)


@given(st.text(";, Kind=/v1a", max_size=40))
def test_any_annotation_is_read(text: str) -> None:
    addon.parse_kinds(text)


def test_an_addon_without_anything_in_it_is_read() -> None:
    assert Addon.of({"metadata": {"name": "a"}}) == Addon("a", "")
