"""Bytes of manifests become objects, and whatever is wrong with one of them has a line."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rke2_units.applier.manifests.documents import Contents, read

HEAD = "apiVersion: v1\nkind: ConfigMap\n"


def objects(text: str) -> list[dict[str, Any]]:
    found = read(text.encode())
    assert found.errors == []
    return [json.loads(each.body) for each in found.objects]


def errors(text: str | bytes) -> list[tuple[int, str]]:
    content = text if isinstance(text, bytes) else text.encode()
    return [(error.line, error.text) for error in read(content).errors]


def data(text: str) -> Any:
    """What is read from `data`, of an object that has it."""
    (found,) = objects(f"{HEAD}metadata: {{name: a}}\ndata:\n{text}")
    return found["data"]


def test_each_document_is_an_object_with_its_line() -> None:
    first, second = f"{HEAD}metadata: {{name: a}}", f"{HEAD}metadata: {{name: b, namespace: n}}"
    text = f"# first\n{first}\n---\n# none\n--- # next\n{second}"
    found = read(text.encode())
    assert [(str(each), each.line) for each in found.objects] == [("ConfigMap a", 2), ("ConfigMap n/b", 8)]


@pytest.mark.parametrize(
    "text", ["", "\n", "# comment", "---\n---\n# x\n", "%YAML 1.1\n---\n", "\ufeff", "null"]
)
def test_what_says_nothing_has_no_objects_and_no_errors(text: str) -> None:
    assert read(text.encode()) == Contents()


def test_a_document_that_cannot_be_read_takes_no_other_with_it() -> None:
    text = f"{HEAD}metadata: {{name: a}}\n---\nfoo: [\n---\n{HEAD}metadata: {{name: b}}\n"
    found = read(text.encode())
    assert [each.name for each in found.objects] == ["a", "b"]
    assert [error.line for error in found.errors] == [5]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: b\n", 1, "apiVersion is missing"),
        ("\napiVersion: v1\nkind: A\nmetadata: {}\n", 2, "metadata.name is missing"),
        ("apiVersion: v1\nkind: 3\n", 1, "kind is not a string"),
        (f"{HEAD}metadata: {{name: a, labels: [x]}}", 1, "metadata.labels is not a map"),
        (f"{HEAD}metadata: {{name: a, namespace: [x]}}", 1, "metadata.namespace is not a string"),
        ("- a\n", 1, "not a Kubernetes object"),
        ("text", 1, "not a Kubernetes object"),
        ("a: 1\n\tb: 2\n", 2, "a tab character; YAML is indented with spaces"),
        ("a:\n\tb: 2\n", 2, "a tab character; YAML is indented with spaces"),
        ("a: |\n\tx\n", 2, "a tab character; YAML is indented with spaces"),
        ("a: b\n \tc: d\n", 2, "a tab character; YAML is indented with spaces"),
        ("- \ta: 1\n", 1, "a tab character; YAML is indented with spaces"),
        ("a: @b\n", 1, "@ cannot begin a value; put the value in quotes"),
        ("a: b\nc\n", 2, "not valid YAML"),
        ("a: *b\n", 1, "*b"),
        ("a: &b [1, *b]\n", 1, "contains itself"),
        ("a: !secret x\n", 1, "!secret"),
        ("a: .nan\n", 1, ".nan"),
        ("a: 1e999\n", 1, "too large"),
        ("? [a]\n: b\n", 1, "a key must be a string"),
        ("~: b\n", 1, "a key must be a string"),
        ("a: 1\n<<: 3\n", 2, "can merge maps only"),
        ("a: \x01\n", 1, "not allow"),
        (b"a: b\nc: \xff\n", 2, "UTF-8"),
        (f"{HEAD}metadata: {{name: a}}\nx: \"\\ud800\"\n", 4, ""),
        ('{"apiVersion": "v1"}', 1, "kind is missing"),
        ('{"a": NaN}', 1, ""),
        ('{"a": 1} {', 1, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str | bytes, line: int, word: str) -> None:
    found = errors(text)
    assert found
    assert found[-1][0] == line
    assert word in found[-1][1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("Off", False), ("y", "y"), ("~", None), ("", None),
        ("12:30", "12:30"), ("2024-01-02", "2024-01-02"), ("1_000", 1000), ("0644", 420), ("0o644", 420),
        ("0x1F", 31), ("0b11", 3), ("-7", -7), ("+7", 7), ("08", 8), ("1.50", 1.5), ("1e3", 1000),
        (".5", 0.5),
        ("18446744073709551616", 18446744073709551616.0), ("0x_", "0x_"), ("-", "-"), ("+", "+"), (".", "."),
        ("'7'", "7"), ("! 7", "7"), ("!!str 7", "7"), ("!!int '7'", 7), ("1.2.3", "1.2.3"), ("1.", 1),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_mean_to_kubernetes(text: str, value: object) -> None:
    found = objects(f"{HEAD}metadata: {{name: a}}\nx: {text}\n")[0]["x"] if text != "-" else "-"
    assert found == value
    assert type(found) is type(value)


def test_keys_become_texts() -> None:
    assert data("  1: a\n  true: b\n  1.5: c") == {"1": "a", "true": "b", "1.5": "c"}


def test_a_key_that_stands_twice_counts_the_last_time_and_is_told() -> None:
    found = read(f"{HEAD}metadata: {{name: a}}\ndata:\n  k: 1\n  k: 2\n".encode())
    assert json.loads(found.objects[0].body)["data"] == {"k": 2}
    assert [(warning.line, warning.text) for warning in found.warnings] == [
        (6, "duplicate key 'k'; the last value is used")
    ]


def test_aliases_and_merges_are_written_out() -> None:
    text = (
        "  base: &base {a: 1, b: 2}\n  other: &other {b: 3, c: 4}\n  same: *base\n"
        "  both:\n    <<: [*base, *other]\n    a: 9"
    )
    assert data(text) == {
        "base": {"a": 1, "b": 2},
        "other": {"b": 3, "c": 4},
        "same": {"a": 1, "b": 2},
        "both": {"a": 9, "b": 2, "c": 4},
    }


def test_an_anchor_ends_with_its_document() -> None:
    assert errors(f"a: &x 1\n---\n{HEAD}metadata: {{name: *x}}\n")[-1][0] == 5


def bomb(line: str) -> str:
    """Ten of ten of ten..., nine times: a thousand million."""
    lines = ["x0: &x0 {k: xxxxxxxxxx}"]
    for level in range(1, 10):
        lines.append(line.format(level=level, refer=f"*x{level - 1}"))
    return "\n".join(lines)


@pytest.mark.parametrize(
    "line",
    [
        "x{level}: &x{level} [" + ", ".join(["{refer}"] * 10) + "]",
        "x{level}: &x{level} {{" + ", ".join(f"k{n}: {{refer}}" for n in range(10)) + "}}",
        "x{level}: &x{level} {{<<: [" + ", ".join(["{refer}"] * 10) + "], l{level}: " + "{refer}" + "}}",
    ],
)
def test_a_bomb_of_aliases_is_refused_before_it_goes_off(line: str) -> None:
    text = f"{bomb(line)}\n---\n{HEAD}metadata: {{name: a}}\n"
    found = read(text.encode())
    assert [each.name for each in found.objects] == ["a"]
    assert len(found.errors) == 1
    assert len(found.errors[0].text) < 300


@pytest.mark.parametrize("text", ["[", "{a: ", "- ", '{"a":', "? "])
@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_is_refused_and_not_followed(text: str, depth: int) -> None:
    assert errors(text * depth)


def test_aliases_cannot_nest_deeper_than_collections_may() -> None:
    lines = ["x0: &x0 [1]"] + [f"x{n}: &x{n} [*x{n - 1}]" for n in range(1, 500)]
    assert "deep" in errors("\n".join(lines))[0][1]


@pytest.mark.parametrize("separator", ["", "\n", " \n---\n"])
def test_json_may_hold_one_object_after_the_other(separator: str) -> None:
    text = separator.join(
        json.dumps({"apiVersion": "v1", "kind": "A", "metadata": {"name": name}}) for name in "ab"
    )
    assert [each["metadata"]["name"] for each in objects(text)] == ["a", "b"]


def test_what_follows_json_is_told_and_spoils_nothing() -> None:
    found = read(b'{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}\n}\n')
    assert [each.name for each in found.objects] == ["a"]
    assert [error.line for error in found.errors] == [2]


def test_yaml_in_braces_is_yaml() -> None:
    assert objects("{apiVersion: v1, kind: A, metadata: {name: a}}")[0]["kind"] == "A"


def test_lists_are_their_items_with_their_lines() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: A, metadata: {name: a}}\n"
        "- 3\n"
        "- apiVersion: v1\n  kind: BList\n  items: [{metadata: {name: b}}]\n"
    )
    found = read(text.encode())
    assert [(str(each), each.line) for each in found.objects] == [("A a", 4), ("B b", 6)]
    assert [error.line for error in found.errors] == [5]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # What is one object, whatever its kind is called.
        ("kind: AccessWhiteList\nmetadata: {name: a}\nspec: {cidrs: []}\n", ["AccessWhiteList a"]),
        ("kind: IPAllowList\nmetadata: {name: a}\nspec: {}\n", ["IPAllowList a"]),
        ("kind: IPAllowList\nmetadata: {name: a}\nitems:\n", ["IPAllowList a"]),
        ("kind: PrefixList\nmetadata: {name: a}\nitems: [{cidr: 192.0.2.0/24}]\n", ["PrefixList a"]),
        ("kind: Prefixes\nmetadata: {name: a}\nitems: [x]\n", ["Prefixes a"]),
        ("kind: List\nmetadata: {name: a}\nspec: {}\n", ["List a"]),
        # What is a list, also of such kinds, and as the API returns it.
        ("kind: List\n", []),
        ("kind: List\nitems:\n", []),
        ("kind: List\nitems: []\nmetadata: {resourceVersion: ''}\n", []),
        (
            "kind: List\nmetadata: {name: x}\nitems: [{apiVersion: v1, kind: A, metadata: {name: a}}]",
            ["A a"],
        ),
        ("kind: ConfigMapList\nitems:\n", []),
        ("kind: ConfigMapList\nmetadata: {}\nitems: [{metadata: {name: a}}]", ["ConfigMap a"]),
        ("kind: IPAllowListList\nitems: [{metadata: {name: a}, spec: {}}]\n", ["IPAllowList a"]),
        (
            "kind: List\nitems: [{apiVersion: v1, kind: IPAllowList, metadata: {name: a}}]\n",
            ["IPAllowList a"],
        ),
        ("kind: Bundle\nitems: [{apiVersion: v1, kind: A, metadata: {name: a}}]\n", ["A a"]),
    ],
)
def test_a_list_is_known_by_its_items_and_not_by_its_kinds_name(text: str, names: list[str]) -> None:
    found = read(f"apiVersion: v1\n{text}".encode())
    assert ([str(each) for each in found.objects], found.errors) == (names, [])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("kind: IPAllowList\nspec: {}\n", "metadata.name is missing"),
        ("kind: IPAllowList\nspec: {}\nitems: []\n", "metadata.name is missing"),
        ("kind: IPAllowList\nmetadata: {generateName: a-}\nitems: []\n", "metadata.name is missing"),
        ("kind: List\nitems: 3\n", "metadata.name is missing"),
        ("kind: Bundle\nitems: [{metadata: {name: a}}]\n", "apiVersion is missing"),
        ("items: [{metadata: {name: a}}]\n", "kind is missing"),
    ],
)
def test_what_is_neither_an_object_nor_a_list_is_told(text: str, word: str) -> None:
    assert word in errors(f"apiVersion: v1\n{text}")[0][1]


KINDS = st.from_regex(r"[A-Z][A-Za-z]{0,9}(List)?", fullmatch=True)


@given(KINDS, st.booleans(), st.sampled_from([None, {}, {"cidrs": ["192.0.2.0/24"]}]))
def test_an_object_with_a_name_is_one_object_whatever_its_kind_is_called(
    kind: str, in_a_list: bool, spec: object
) -> None:
    obj = {"apiVersion": "x.io/v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    text = {"apiVersion": "v1", "kind": "List", "items": [obj]} if in_a_list else obj
    assert objects(json.dumps(text)) == [obj]


@pytest.mark.parametrize(
    "text",
    [
        "{mark}{a}---\n{b}",
        "{mark}{mark}{a}---\n{b}",
        "{a}---\n{mark}{b}",
        "{a}---\n{mark}{mark}{b}",
        "{a}{mark}---\n{b}",
        "{a}--- # next\n{mark}# why\n{b}",
        "{a}---\n# why\n{mark}{b}",
        "# a\n{mark}{a}---\n{b}",
        "{a}{mark}# of the second file\n---\n{b}",
        "{mark}---\n{a}---\n{mark}---\n{b}",
    ],
)
def test_byte_order_marks_at_the_start_of_any_document_say_nothing(text: str) -> None:
    a, b = f"{HEAD}metadata: {{name: a}}\n", f"{HEAD}metadata: {{name: b}}\n"
    found = read(text.format(mark="\ufeff", a=a, b=b).encode())
    assert ([str(each) for each in found.objects], found.errors) == (["ConfigMap a", "ConfigMap b"], [])


def test_a_byte_order_mark_within_a_value_is_part_of_it() -> None:
    assert data('  a: "x\ufeffy"\n  b: |\n    x\ufeff') == {"a": "x\ufeffy", "b": "x\ufeff"}


def test_lists_in_lists_end_somewhere() -> None:
    assert errors('{"kind": "List", "items": [' * 20 + "]}" * 20)


def test_a_file_may_be_large_but_not_endless() -> None:
    assert "split it" in errors(b"#" * (17 << 20))[0][1]


def test_garbage_of_many_documents_is_given_up() -> None:
    assert len(errors("---\n@\n" * 100_000)) < 200


def test_five_megabytes_of_documents_are_all_read() -> None:
    one = f"---\n{HEAD}metadata: {{name: n}}\ndata: {{k: {'x' * 1000}}}\n"
    count = (5 << 20) // len(one)
    found = read((one * count).encode())
    assert len(found.objects) == count
    assert found.objects[-1].line == 2 + 5 * (count - 1)


YAMLISH = st.text(st.sampled_from("abk01:-[]{}&*!|>'\"%@#?,~<. \n\t" + "é\u2028"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        YAMLISH.map(str.encode),
        st.binary(max_size=60),
        st.lists(YAMLISH).map("\n---\n".join).map(str.encode),
    )
)
def test_garbage_gives_errors_and_no_exception(content: bytes) -> None:
    found = read(content)
    lines = content.count(b"\n") + content.count("\u2028".encode()) + 2
    assert all(1 <= error.line <= lines and error.text.isprintable() for error in found.errors)


SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(string.printable, max_size=9)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_json_and_yaml_of_the_same_value_are_the_same(value: object) -> None:
    import yaml

    whole = {"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "x": value}
    # In quotes: PyYAML leaves out those around texts that are numbers to Kubernetes, such as 0E0.
    quoted = [yaml.safe_dump(whole, default_style='"', default_flow_style=flow) for flow in (True, False)]
    for text in (json.dumps(whole), *quoted):
        assert objects(text) == [whole]
