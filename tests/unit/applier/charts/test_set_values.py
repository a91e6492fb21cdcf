"""spec.set means what helm-controller's --set and --set-string mean to helm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.charts.set_values import SetValues, read
from rke2_units.errors import UserError


@pytest.mark.parametrize(
    ("values", "tree"),
    [
        ({}, {}),
        ({"a": 5}, {"a": 5}),
        ({"a": "5"}, {"a": "5"}),
        ({"a": "True", "b": "FALSE", "c": "null"}, {"a": True, "b": False, "c": None}),
        ({"a.b.c": "x", "a.b.d": "y"}, {"a": {"b": {"c": "x", "d": "y"}}}),
        ({r"a\.b.c": "x"}, {"a.b": {"c": "x"}}),
        ({"a": "10.42.0.0/16,fd00::/56"}, {"a": "10.42.0.0/16,fd00::/56"}),
        ({"a": r"one\,two"}, {"a": "one,two"}),
        ({"a": r"back\\slash"}, {"a": r"back\slash"}),
        ({"a": r"C:\dir"}, {"a": "C:dir"}),
        ({"a": "ends in \\"}, {"a": "ends in "}),
        ({"a": "x=y"}, {"a": "x=y"}),
        ({"a": ""}, {"a": ""}),
        ({"a": "two\nlines"}, {"a": "two\nlines"}),
        ({"a": "{x}"}, {"a": ["x"]}),
        ({"a": "{x,y}"}, {"a": ["x,y"]}),
        ({"a": "{}"}, {"a": [""]}),
    ],
)
def test_plain_keys_become_a_tree_of_values(values: dict[str, int | str], tree: dict[str, object]) -> None:
    assert read(values) == SetValues(tree)


def test_texts_at_an_index_go_by_file_and_typed_values_there_by_argument() -> None:
    read_values = read({"a[0].b": "x,y", "a[1]": 7, "a[2]": "true", "c": 1})
    assert read_values == SetValues({"c": 1}, (("a[0].b", "x,y"),), ("a[1]=7", "a[2]=true"))


@pytest.mark.parametrize(
    "values",
    [
        {"a[0]=/etc/shadow,b": "x"},  # would name another file to read
        {"a[0].b,c": "x"},
        {"a[0]\\": "x"},
        {"a[0]": "{x}"},
        {"a,b": "x"},
        {"a=b": "x"},
        {"": "x"},
        {".a": "x"},
        {"a..b": "x"},
        {"a.": "x"},
        {"a\\": "x"},
        {"a[b]": "x"},
        {"a": "{x"},
        {"a": "{x}y"},
        {"a": 1, "a.b": 2},
        {"a": "x", "a.b.c": "y"},
    ],
)
def test_what_helm_would_refuse_or_misread_is_refused(values: dict[str, int | str]) -> None:
    with pytest.raises(UserError, match=r"^spec\.set"):
        read(values)


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.integers(), st.text(max_size=12)), max_size=4))
def test_any_set_is_read_or_refused_and_no_text_becomes_an_argument(values: dict[str, int | str]) -> None:
    try:
        found = read(values)
    except UserError:
        return
    for argument in found.typed:
        assert (
            argument.rpartition("=")[2].lower() in {"true", "false", "null"}
            or int(argument.rpartition("=")[2]) == values[argument.rpartition("=")[0]]
        )
    assert all(set("=,\\").isdisjoint(key) for key, _ in found.files)


@given(st.text(st.characters(exclude_characters="\\{"), max_size=30))
def test_a_text_without_backslashes_and_braces_arrives_as_it_is(text: str) -> None:
    if text.lower() not in {"true", "false", "null"}:
        assert read({"a": text}).tree == {"a": text}
