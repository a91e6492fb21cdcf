import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.programs.chart_values import with_values

VALUES = {"global.clusterDNS": "10.43.0.10", "global.clusterCIDRv6": "", "global.prime.enabled": "false"}
INJECTED = {name: value for name, value in VALUES.items() if value}


def chart(spec: str, inject: str = '"true"', kind: str = "HelmChart") -> str:
    return (
        "# Größe\n"
        "apiVersion: helm.cattle.io/v1\n"
        f"kind: {kind}\n"
        "metadata:\n"
        f"  annotations: {{rke2.cattle.io/inject-cluster-config: {inject}}}\n"
        "  name: a\n"
        f"{spec}"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("spec:\n  bootstrap: true\n", INJECTED),
        ("spec:\n  bootstrap: true\n  set:\n", INJECTED),
        ("spec:\n  bootstrap: true\n  set: {}\n", INJECTED),
        ("spec:\n  set: ~\n  bootstrap: true\n", INJECTED),
        ("spec: {bootstrap: true}\n", INJECTED),
        ("spec: {set: {a: b}}\n", {"a": "b", **INJECTED}),
        (
            "spec:\n  # why\n  set:\n    # more\n    a: 1\n\n    b: x # last\n",
            {"a": 1, "b": "x", **INJECTED},
        ),
        (
            "spec:\n    set:\n      global.clusterDNS: 1.2.3.4\n      a: |\n        b\n",
            {"a": "b\n", **INJECTED},
        ),
        ("spec:\n  set:\n    global.clusterDNS:\n    global.prime.enabled: false\n", INJECTED),
        ("spec:\n  set:\n    global.clusterCIDRv6: fd00::/8\n", {"global.clusterCIDRv6": "", **INJECTED}),
    ],
)
def test_the_clusters_values_are_set_however_the_chart_is_written(
    spec: str, expected: dict[str, object]
) -> None:
    before = chart(spec)
    after = with_values(before, VALUES)
    assert yaml.safe_load(after)["spec"]["set"] == expected
    assert with_values(after, VALUES) == after
    assert [line for line in before.splitlines() if "#" in line] == [
        line for line in after.splitlines() if "#" in line
    ]


@pytest.mark.parametrize(
    "text",
    [
        chart("spec:\n  set: {a: b}\n", inject='"false"'),
        chart("spec:\n  set: {a: b}\n", kind="HelmChartConfig"),
        chart("spec:\n"),
        chart("spec:\n  set: {global.clusterDNS: 10.43.0.10, global.prime.enabled: 'false'}\n"),
        "apiVersion: v1\nkind: ConfigMap\ndata: {a: rke2.cattle.io/inject-cluster-config}\n",
        "- rke2.cattle.io/inject-cluster-config\n---\n---\nnull\n",
    ],
)
def test_all_else_stays_as_it_is(text: str) -> None:
    assert with_values(text, VALUES) == text


def test_only_the_charts_among_several_documents_change() -> None:
    other = "a: [1e3, 2001-01-01]\n"
    text = "---\n".join([other, chart("spec: {set: {b: c}}\n"), other, chart("spec: {chart: d}\n")])
    after = with_values(text, VALUES)
    assert after.split("---\n")[0::2] == [other, other]
    documents = list(yaml.safe_load_all(after))
    assert documents[1]["spec"]["set"] == {"b": "c", **INJECTED}
    assert documents[3]["spec"] == {"chart": "d", "set": INJECTED}


@pytest.mark.parametrize("spec", ["spec: {set: [1]}\n", "spec:\n  set: {a: b\n"])
def test_what_cannot_be_changed_is_an_error_of_one_line(spec: str) -> None:
    with pytest.raises(ValueError, match="^.+$"):
        with_values(chart(spec), VALUES)


def test_aliases_that_multiply_cost_nothing() -> None:
    bomb = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(30))
    text = chart("spec: {chart: a}\n") + bomb
    after = with_values(text, VALUES)
    assert after.endswith(bomb) and '"10.43.0.10"' in after


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8)


@given(values=st.dictionaries(TEXT, TEXT, max_size=4))
def test_any_value_arrives_as_the_text_that_it_is(values: dict[str, str]) -> None:
    after = with_values(chart("spec:\n  chart: a\n  set:\n    other: '1'\n"), values)
    assert yaml.safe_load(after)["spec"]["set"] == {"other": "1", **values}
