"""Objects are counted by kind, with questions that etcd answers from its index."""

from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.lean.etcd import Count, Etcd
from rke2_units.snapshots import kinds

REVISION = 7
SEGMENT = st.text("abz-0", min_size=1, max_size=3)
KEY = st.builds(
    lambda kind, rest: "/registry/" + "/".join([kind, *rest]),
    SEGMENT | st.sampled_from(["services", "x.io", "apps", "pods"]),
    st.lists(SEGMENT, min_size=2, max_size=3),
)


class Keys(Etcd):
    """An etcd that has these keys at REVISION."""

    def __init__(self, *keys: str) -> None:
        super().__init__("", [])
        self.keys_there = sorted(keys)

    def count(self, start: str, end: str = "", *, revision: int = 0) -> Count:
        assert revision == REVISION
        first, last = (bisect_left(self.keys_there, key) for key in (start, end))
        found = self.keys_there[first:last]
        return Count(len(found), found[0] if found else "", 0, REVISION)


@given(st.lists(KEY, unique=True))
def test_every_object_belongs_to_one_kind(keys: list[str]) -> None:
    etcd = Keys(*keys, "/bootstrap/0011", "/registry", "compact_rev_key", "/registryabc/x")
    assert kinds.counted(etcd, REVISION) == Counter(map(kinds.prefix_of, keys))
    assert kinds.differences(etcd, Counter(map(kinds.prefix_of, keys)), REVISION) == []


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("/registry/pods/default/web-1", "pods"),
        ("/registry/minions/node-1", "nodes"),
        ("/registry/namespaces/default", "namespaces"),
        ("/registry/services/specs/default/kubernetes", "services"),
        ("/registry/services/endpoints/default/kubernetes", "endpoints"),
        ("/registry/ranges/serviceips", "ranges"),
        ("/registry/helm.cattle.io/helmcharts/kube-system/rke2-canal", "helmcharts.helm.cattle.io"),
        ("/registry/apiregistration.k8s.io/apiservices/v1.apps", "apiservices.apiregistration.k8s.io"),
    ],
)
def test_kinds_are_called_as_kubectl_calls_them(key: str, resource: str) -> None:
    assert kinds.resource(kinds.prefix_of(key)) == resource


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (["/registry/pods/a/b"], ["pods: 2, live etcd has 1"]),
        (["/registry/pods/a/b", "/registry/pods/a/c", "/registry/pods/a/d"], ["pods: 2, live etcd has 3"]),
        (
            ["/registry/pods/a/b", "/registry/pods/a/c", "/registry/secrets/a/d"],
            ["other kinds: 0, live etcd has 1"],
        ),
        ([], ["pods: 2, live etcd has 0"]),
    ],
)
def test_another_number_of_a_kind_is_a_difference(live: list[str], words: list[str]) -> None:
    assert kinds.differences(Keys(*live), {"/registry/pods/": 2}, REVISION) == words
