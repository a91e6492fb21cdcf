"""Extra arguments of components, merged as RKE2 merges them."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.config.arguments import merge_arguments, merge_values

KEYS = st.sampled_from(["a", "b-c", "d.e", "v"])
VALUES = st.text("xyz01,=-+ ", max_size=5)


@pytest.mark.parametrize(
    ("defaults", "extra", "expected"),
    [
        ({}, [], []),
        ({"b": "1", "a": "2"}, [], ["--a=2", "--b=1"]),
        ({"a": "1"}, ["a=2"], ["--a=2"]),
        ({"a": "1"}, ["--a=2"], ["--a=2"]),
        ({"a": "1"}, ["a="], ["--a="]),
        ({"a": "1"}, ["a=2", "a=3"], ["--a=2", "--a=3"]),
        ({"a": "1"}, ["a+=2"], ["--a=1", "--a=2"]),
        ({"a": "1"}, ["a-=0"], ["--a=0", "--a=1"]),
        ({"a": "1"}, ["a+=2", "a+=3", "a-=0"], ["--a=0", "--a=1", "--a=2", "--a=3"]),
        ({}, ["a+=2"], ["--a=2"]),
        ({"a": ""}, ["a+=2"], ["--a=2"]),
        ({"a": "1"}, ["a+=2", "a=3"], ["--a=1", "--a=2", "--a=3"]),
        ({"a": "1"}, ["a=x=y"], ["--a=x=y"]),
        ({}, ["profiling"], ["--profiling=true"]),
        # The components of Kubernetes take both spellings for one flag.
        ({"a-b": "1"}, ["a_b=2"], ["--a-b=2"]),
        ({"a-b": "1"}, ["--a_b+=x_y"], ["--a-b=1", "--a-b=x_y"]),
        ({"b": "1"}, ["c=1", "a=1"], ["--a=1", "--b=1", "--c=1"]),
        ({"bind-address": "0.0.0.0"}, ["bind-address=::"], ["--bind-address=::"]),
    ],
)
def test_extra_arguments_follow_rke2(
    defaults: Mapping[str, str], extra: list[str], expected: list[str]
) -> None:
    assert merge_arguments(defaults, extra) == expected


@given(st.dictionaries(KEYS, VALUES), st.lists(st.tuples(KEYS, VALUES)))
def test_the_result_is_sorted_and_loses_no_key_and_no_extra_value(
    defaults: dict[str, str], extra: list[tuple[str, str]]
) -> None:
    before = dict(defaults)
    merged = merge_values(defaults, [f"{key}={value}" for key, value in extra])
    assert list(merged) == sorted({*defaults, *(key for key, _ in extra)})
    for key, values in merged.items():
        assert values == ([value for name, value in extra if name == key] or [defaults[key]])
    assert defaults == before


@given(st.lists(st.text(max_size=8)))
def test_anything_else_is_a_value_error(extra: list[str]) -> None:
    try:
        merged = merge_arguments({}, extra)
    except ValueError:
        return
    assert len(merged) <= len(extra)
