"""A HelmChart, its HelmChartConfig and their Secrets come to what helm-controller would tell helm."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.charts.chart import Missing, Release, duration, references, release
from rke2_units.errors import UserError

API = "127.0.0.1:6443"
REPOSITORY = {"chart": "demo", "repo": "https://charts.example/"}


def chart(spec: dict[str, Any] | None = None, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "kube-system", "annotations": annotations}
    return {"metadata": metadata, "spec": REPOSITORY if spec is None else spec}


def config(spec: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "a", "namespace": "kube-system"}, "spec": spec}


def of(
    spec: dict[str, Any],
    over: dict[str, Any] | None = None,
    secrets: dict[str, dict[str, bytes]] | None = None,
    config_maps: dict[str, dict[str, bytes]] | None = None,
) -> Release:
    if not {"chart", "chartContent"} & spec.keys():
        spec = REPOSITORY | spec
    overridden = config(over) if over is not None else None
    return release(chart(spec), overridden, secrets or {}, config_maps or {}, api_address=API)


def test_values_are_ordered_as_documented_from_weak_to_strong() -> None:
    found = of(
        {
            "valuesContent": "a: 1\n",
            "values": {"a": 2},
            "valuesSecrets": [{"name": "s", "keys": ["one", "two"]}, {"name": "t", "keys": ["three"]}],
        },
        {"valuesContent": "a: 3\n", "values": {"a": 4}, "valuesSecrets": [{"name": "s", "keys": ["two"]}]},
        {"s": {"one": b"a: 5", "two": b"a: 6"}, "t": {"three": b"a: 7"}},
    )
    assert found.values == (
        ("values-0-000-HelmChart-ValuesContent.yaml", "a: 1\n"),
        ("values-0-001-HelmChart-Values.yaml", '{"a": 2}'),
        ("values-0-002-HelmChart-ValuesSecret.yaml", "a: 5"),
        ("values-0-003-HelmChart-ValuesSecret.yaml", "a: 6"),
        ("values-0-004-HelmChart-ValuesSecret.yaml", "a: 7"),
        ("values-1-000-HelmChartConfig-ValuesContent.yaml", "a: 3\n"),
        ("values-1-001-HelmChartConfig-Values.yaml", '{"a": 4}'),
        ("values-1-002-HelmChartConfig-ValuesSecret.yaml", "a: 6"),
    )
    assert [name for name, _ in found.values] == sorted(name for name, _ in found.values)


def test_a_secret_that_is_missing_is_waited_for() -> None:
    with pytest.raises(Missing, match="valuesSecrets of the HelmChart: there is no Secret s"):
        of({"valuesSecrets": [{"name": "s", "keys": ["k"]}]})
    with pytest.raises(
        Missing, match="valuesSecrets of the HelmChartConfig: there is no key k in the Secret s"
    ):
        of({}, {"valuesSecrets": [{"name": "s", "keys": ["k"]}]}, {"s": {}})


def test_a_secret_whose_updates_are_ignored_may_be_missing_and_changes_nothing() -> None:
    spec = {"valuesSecrets": [{"name": "s", "keys": ["k"], "ignoreUpdates": True}]}
    without, with_it = of(spec), of(spec, secrets={"s": {"k": b"a: 1"}})
    assert without.values == ()
    assert with_it.values == (("values-0-002-HelmChart-ValuesSecret.yaml", "a: 1"),)
    assert without.hash == with_it.hash


def test_what_has_to_be_fetched_is_named() -> None:
    found = references(
        chart(
            {
                "authSecret": {"name": "auth"},
                "dockerRegistrySecret": {"name": "docker"},
                "repoCAConfigMap": {"name": "ca"},
                "valuesSecrets": [
                    {"name": "s", "keys": ["k"]},
                    {"name": "i", "keys": ["k"], "ignoreUpdates": True},
                    {"name": "no-keys"},
                    {"name": "chart-values-a", "keys": ["k"]},
                ],
            }
        ),
        config({"valuesSecrets": [{"name": "t", "keys": ["k"]}]}),
    )
    assert found.watched_secrets == {"s", "t"}
    assert found.other_secrets == {"auth", "docker", "i"}
    assert found.config_maps == {"ca"}


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        (None, ("retry", "false", True)),
        ({}, ("retry", "false", True)),
        (
            {"failurePolicy": "abort", "serverSide": "auto", "forceConflicts": False},
            ("abort", "auto", False),
        ),
    ],
)
def test_a_helm_chart_config_overrides(over: dict[str, Any] | None, expected: tuple[object, ...]) -> None:
    found = of({"failurePolicy": "retry", "serverSide": "false", "forceConflicts": True}, over)
    assert (found.failure_policy, found.server_side, found.force_conflicts) == expected


def test_defaults_are_helm_controllers() -> None:
    found = of({})
    assert (found.namespace, found.driver, found.failure_policy) == ("kube-system", "secret", "reinstall")
    assert (found.server_side, found.back_off_limit, found.timeout) == ("auto", 1000, "")


def test_the_content_wins_over_chart_and_version() -> None:
    found = of({**REPOSITORY, "version": "1", "chartContent": base64.b64encode(b"tgz").decode()})
    assert (found.content, found.chart, found.repository, found.version) == (b"tgz", "", "", "")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"chart": "demo", "repo": "https://r/"}, ("demo", "https://r/")),
        ({"chart": "https://r/demo.tgz", "repo": "https://r/"}, ("https://r/demo.tgz", "")),
        ({"chart": "oci://r/demo"}, ("oci://r/demo", "")),
        ({"chart": "stable/demo"}, ("demo", "https://charts.helm.sh/stable/")),
        (
            {"chart": "https://%{KUBERNETES_API}%/static/demo.tgz"},
            ("https://127.0.0.1:6443/static/demo.tgz", ""),
        ),
    ],
)
def test_a_chart_is_in_a_repository_or_at_an_address(
    spec: dict[str, str], expected: tuple[str, str]
) -> None:
    found = of(spec)
    assert (found.chart, found.repository) == expected


@pytest.mark.parametrize(
    "name",
    [
        "/etc",
        "./demo",
        "../../etc",
        "demo/../../etc",
        "~/demo",
        "file:///etc",
        "-demo",
        "--post-renderer=/x",
    ],
)
@pytest.mark.parametrize("repository", [{}, {"repo": "https://r/"}])
def test_no_chart_is_read_from_this_machine(name: str, repository: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"^spec\.chart"):
        of({"chart": name, **repository})


@pytest.mark.parametrize(
    "spec",
    [
        {"chart": "demo"},
        {"chartContent": "no base64!"},
        {"timeout": "soon"},
        {"failurePolicy": "explode"},
        {"serverSide": "maybe"},
        {"driver": "sql"},
        {"backOffLimit": -1},
    ],
)
def test_what_helm_could_not_take_is_refused_with_the_field(spec: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^spec\.{next(iter(spec))}"):
        of(spec)


def test_passwords_are_read_without_their_line_end_and_never_shown() -> None:
    found = of({"authSecret": {"name": "s"}}, secrets={"s": {"username": b"u", "password": b"sesame\n"}})
    assert (found.credentials.username, found.credentials.password) == ("u", "sesame")
    assert "sesame" not in repr(found)


def test_a_certificate_takes_the_place_of_a_password() -> None:
    found = of({"authSecret": {"name": "s"}}, secrets={"s": {"tls.crt": b"C", "tls.key": b"K"}})
    assert (found.credentials.certificate, found.credentials.key) == ("C", "K")


@pytest.mark.parametrize(
    "spec", [{"authSecret": {"name": "s"}}, {"dockerRegistrySecret": {"name": "s"}}], ids=["auth", "docker"]
)
def test_credentials_that_are_not_there_are_waited_for(spec: dict[str, Any]) -> None:
    for secrets in ({}, {"s": {"other": b""}}):
        with pytest.raises(Missing, match="Secret s"):
            of(spec, secrets=secrets)


def test_a_docker_configuration_names_no_program_to_run() -> None:
    text = json.dumps({"auths": {"r": {"auth": "dTpw"}}, "credsStore": "x", "credHelpers": {"r": "evil"}})
    found = of({"dockerRegistrySecret": {"name": "s"}}, secrets={"s": {".dockerconfigjson": text.encode()}})
    assert json.loads(found.credentials.docker) == {"auths": {"r": {"auth": "dTpw"}}}


def test_authorities_are_joined() -> None:
    found = of(
        {"repoCA": "ONE", "repoCAConfigMap": {"name": "ca"}}, config_maps={"ca": {"b": b"3", "a": b"2"}}
    )
    assert found.authority == "ONE\n2\n3"
    with pytest.raises(Missing, match="ConfigMap ca"):
        of({"repoCAConfigMap": {"name": "ca"}})


BASE: dict[str, Any] = {**REPOSITORY, "set": {"a": "b"}, "values": {"x": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"chart": "other"},
        {"repo": "https://other/"},
        {"version": "2"},
        {"chartContent": "dGd6"},
        {"set": {"a": "c"}},
        {"values": {"x": 2}},
        {"valuesContent": "x: 1"},
        {"timeout": "1m"},
        {"targetNamespace": "other"},
        {"failurePolicy": "abort"},
        {"backOffLimit": 3},
        {"forceConflicts": True},
        {"takeOwnership": True},
        {"repoCA": "PEM"},
        {"authSecret": {"name": "s"}},
        {"valuesSecrets": [{"name": "t", "keys": ["k"]}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_change_of_the_chart_is_another_hash(change: dict[str, Any]) -> None:
    secrets = {"s": {"username": b"u", "password": b"p"}, "t": {"k": b"a: 1"}}
    assert of(BASE | change, secrets=secrets).hash != of(BASE).hash


def test_the_hash_fits_a_label_and_depends_on_watched_secrets_only() -> None:
    spec = {
        "authSecret": {"name": "auth"},
        "valuesSecrets": [{"name": "s", "keys": ["k"]}],
    }
    auth = {"username": b"u", "password": b"p"}
    first = of(spec, secrets={"auth": auth, "s": {"k": b"a: 1", "unused": b"1"}})
    assert len(first.hash) == 63
    assert set(first.hash) <= set("0123456789ABCDEF")
    assert (
        first.hash
        == of(spec, secrets={"auth": auth | {"password": b"new"}, "s": {"k": b"a: 1", "unused": b"2"}}).hash
    )
    assert first.hash != of(spec, secrets={"auth": auth, "s": {"k": b"a: 2", "unused": b"1"}}).hash


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("5m0s", 300), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("2h0m0s", 7200)],
)
def test_gos_durations_are_read(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@given(st.text(max_size=8))
def test_a_duration_is_seconds_or_refused(text: str) -> None:
    try:
        assert duration(text) >= 0
    except UserError as error:
        assert "spec.timeout" in str(error)


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ({"chartContent": "dGd6"}, "inline spec.chartContent"),
        ({"chart": "oci://r/a"}, "latest stable version from OCI registry oci://r/a"),
        ({"chart": "oci://r/a", "version": "1"}, "version 1 from OCI registry oci://r/a"),
        ({"chart": "https://r/a.tgz"}, "https://r/a.tgz"),
        ({"chart": "a", "repo": "https://r"}, "latest stable version of a from chart repository https://r"),
        ({"chart": "a", "repo": "http://R", "version": "1"}, "a version 1 from chart repository http://R"),
    ],
)
def test_the_source_is_told_as_helm_controller_tells_it(spec: dict[str, str], source: str) -> None:
    assert of(spec).source == source


def test_the_address_of_packaged_content_is_told() -> None:
    packaged = chart({"chartContent": "dGd6"}, **{"helm.cattle.io/chart-url": "https://r/a-1.tgz"})
    assert (
        release(packaged, None, {}, {}, api_address=API).source
        == "inline spec.chartContent from https://r/a-1.tgz"
    )


@pytest.mark.parametrize(
    ("repository", "words"),
    [
        (
            "oci://harbor.example.org/helm",
            "whole address into spec.chart: oci://harbor.example.org/helm/mychart",
        ),
        (
            "OCI://harbor.example.org/helm/",
            "whole address into spec.chart: oci://harbor.example.org/helm/mychart",
        ),
        ("charts.example.org", "'charts.example.org' is not an http:// or https:// address"),
        ("file:///etc", "'file:///etc' is not an http:// or https:// address"),
        ("/etc", "'/etc' is not an http:// or https:// address"),
    ],
)
def test_a_repository_that_is_none_is_told_with_what_to_do(repository: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        of({"chart": "mychart", "repo": repository})
    assert str(caught.value).startswith("spec.repo: ") and words in str(caught.value)


def test_a_repository_beside_a_whole_address_does_not_count() -> None:
    found = of({"chart": "oci://harbor.example.org/helm/mychart", "repo": "oci://harbor.example.org/helm"})
    assert (found.chart, found.repository) == ("oci://harbor.example.org/helm/mychart", "")
    assert of({"chart": "demo", "repo": "HTTPS://charts.example"}).repository == "HTTPS://charts.example"


def test_byte_order_marks_are_no_part_of_values_and_authorities() -> None:
    found = of(
        {
            "valuesContent": "\ufeffa: 1\n# x\n\ufeffb: 2\n",
            "valuesSecrets": [{"name": "s", "keys": ["k"]}],
            "repoCAConfigMap": {"name": "ca"},
        },
        secrets={"s": {"k": b"\xef\xbb\xbfa: 1"}},
        config_maps={"ca": {"a": b"\xef\xbb\xbf-----BEGIN", "b": b"\xef\xbb\xbf-----BEGIN"}},
    )
    assert [text for _, text in found.values] == ["a: 1\n# x\nb: 2\n", "a: 1"]
    assert found.authority == "-----BEGIN\n-----BEGIN"


@pytest.mark.parametrize(
    "name", ["kube-system/configmaps?watch=true&x=", "..", "a%2fb", "A", "x" * 64, "a b"]
)
def test_a_namespace_that_cannot_be_is_told(name: str) -> None:
    with pytest.raises(UserError, match="spec.targetNamespace: .* cannot be the name of a namespace"):
        of({"targetNamespace": name})
