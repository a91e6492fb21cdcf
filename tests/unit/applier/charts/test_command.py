"""helm's command lines: nothing secret on them, and nothing a HelmChart says becomes an option."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.applier.charts import command
from rke2_units.applier.charts.chart import Credentials, Release
from rke2_units.applier.charts.command import Paths, Version
from rke2_units.applier.charts.decision import Step
from rke2_units.applier.charts.set_values import SetValues
from rke2_units.errors import UserError

RELEASE = Release(
    name="a",
    namespace="n",
    chart="demo",
    repository="https://r/",
    version="",
    content=None,
    values=(),
    set_values=SetValues({}),
    create_namespace=False,
    take_ownership=False,
    server_side="auto",
    force_conflicts=False,
    failure_policy="reinstall",
    back_off_limit=1000,
    timeout="",
    insecure_skip_tls_verify=False,
    plain_http=False,
    driver="secret",
    authority="",
    credentials=Credentials(),
    hash="ABC",
    source="",
)
HELM_3: Version = (3, 17)
HELM_4: Version = (4, 2)
LABELS = "--labels=helmcharts.helm.cattle.io/configHash=ABC"
PATHS = Paths("/w")


def arguments(
    release: Release, step: Step = Step.UPGRADE, version: Version = HELM_3, **more: bool
) -> list[str]:
    return command.install_or_upgrade(step, release, PATHS, version, **more)


def test_the_plainest_install_and_upgrade() -> None:
    assert arguments(RELEASE, Step.INSTALL) == ["install", "--namespace=n", LABELS, "--", "a", "a/demo"]
    assert arguments(RELEASE) == [
        "upgrade", "--namespace=n", "--reset-values", LABELS, "--", "a", "a/demo",
    ]  # fmt: skip


def test_every_field_has_its_option() -> None:
    release = replace(
        RELEASE,
        chart="oci://r/demo",
        repository="",
        version="1.2",
        create_namespace=True,
        take_ownership=True,
        timeout="10m",
        insecure_skip_tls_verify=True,
        plain_http=True,
        set_values=SetValues({}, (), ("a[0]=1",)),
    )
    paths = Paths("/w", ("/w/1.yaml", "/w/2.yaml"), (("b[0]", "/w/set-000"),), authority="/w/ca.pem")
    assert command.install_or_upgrade(Step.UPGRADE, release, paths, HELM_4) == [
        "upgrade",
        "--namespace=n",
        "--reset-values",
        "--create-namespace",
        "--take-ownership",
        "--version=1.2",
        "--timeout=10m",
        LABELS,
        "--server-side=auto",
        "--ca-file=/w/ca.pem",
        "--insecure-skip-tls-verify",
        "--plain-http",
        "--values=/w/1.yaml",
        "--values=/w/2.yaml",
        "--set=a[0]=1",
        "--set-file=b[0]=/w/set-000",
        "--",
        "a",
        "oci://r/demo",
    ]


def test_content_is_a_file() -> None:
    release = replace(RELEASE, content=b"tgz", chart="", repository="")
    found = command.install_or_upgrade(Step.INSTALL, release, Paths("/w", chart="/w/chart.tgz"), HELM_3)
    assert found[-2:] == ["a", "/w/chart.tgz"]


@pytest.mark.parametrize(
    ("step", "server_side", "force", "was_server_side", "expected"),
    [
        (Step.INSTALL, "auto", False, False, ["--server-side=true"]),
        (Step.INSTALL, "auto", True, False, ["--server-side=true", "--force-conflicts"]),
        (Step.INSTALL, "false", True, False, ["--server-side=false"]),
        (Step.UPGRADE, "auto", True, False, ["--server-side=auto"]),
        (Step.UPGRADE, "auto", True, True, ["--server-side=auto", "--force-conflicts"]),
        (Step.UPGRADE, "true", True, False, ["--server-side=true", "--force-conflicts"]),
        (Step.UPGRADE, "false", True, True, ["--server-side=false"]),
    ],
)
def test_conflicts_are_forced_only_where_helm_allows_it(
    step: Step, server_side: str, force: bool, was_server_side: bool, expected: list[str]
) -> None:
    release = replace(RELEASE, server_side=server_side, force_conflicts=force)
    found = arguments(release, step, HELM_4, applied_server_side=was_server_side)
    assert [word for word in found if word.startswith(("--server-side", "--force"))] == expected
    assert not [w for w in arguments(release, step) if w.startswith(("--server-side", "--force"))]


def test_what_helm_3_lacks_is_said() -> None:
    release = replace(RELEASE, server_side="true", force_conflicts=True, take_ownership=True)
    assert command.lacking(release, HELM_4) == []
    assert command.lacking(release, (3, 14)) == [
        "takeOwnership (needs helm 3.17)",
        "serverSide (needs helm 4)",
        "forceConflicts (needs helm 4)",
    ]
    assert command.lacking(RELEASE, HELM_3) == []
    assert command.lacking(replace(release, server_side="false", take_ownership=False), HELM_3) == []


def test_a_helm_that_cannot_label_its_releases_is_refused() -> None:
    command.check_version((3, 13))
    with pytest.raises(UserError, match="helm 3.12 is too old"):
        command.check_version((3, 12))


def test_an_uninstallation_waits() -> None:
    assert command.uninstall("a", "n", "5m") == [
        "uninstall", "--namespace=n", "--wait", "--timeout=5m", "--", "a",
    ]  # fmt: skip
    assert command.uninstall("a", "n") == ["uninstall", "--namespace=n", "--wait", "--", "a"]


@pytest.mark.parametrize(("version", "strict"), [(HELM_3, ["--fail-on-repo-update-fail"]), (HELM_4, [])])
def test_an_index_that_cannot_be_fetched_is_an_error(version: Version, strict: list[str]) -> None:
    assert command.update_repository(RELEASE, version) == ["repo", "update", *strict, "--", "a"]


def test_a_repository_has_its_credentials() -> None:
    release = replace(
        RELEASE,
        insecure_skip_tls_verify=True,
        credentials=Credentials("u", "sesame", pass_to_all=True),
    )
    paths = Paths("/w", authority="/w/ca.pem")
    assert command.repositories(release, paths, "/w/tls.crt", "/w/tls.key")["repositories"] == [
        {
            "name": "a",
            "url": "https://r/",
            "username": "u",
            "password": "sesame",
            "certFile": "/w/tls.crt",
            "keyFile": "/w/tls.key",
            "caFile": "/w/ca.pem",
            "insecure_skip_tls_verify": True,
            "pass_credentials_all": True,
        }
    ]
    assert not [word for word in arguments(release) if "sesame" in word]


def test_of_the_environment_only_proxies_are_handed_on() -> None:
    caller = {"HTTPS_PROXY": "p", "no_proxy": "q", "HELM_PLUGINS": "/evil", "all_proxy": "", "PATH": "/bin"}
    found = command.environment("/w", "/k", "configmap", caller)
    assert {name for name in found if name.lower().endswith("_proxy")} == {"HTTPS_PROXY", "no_proxy"}
    assert (found["KUBECONFIG"], found["HELM_DRIVER"], found["HOME"]) == ("/k", "configmap", "/w")
    assert "HELM_PLUGINS" not in found
    assert found["PATH"] != "/bin"


TEXT = st.text(min_size=1, max_size=20)


@given(TEXT, TEXT, TEXT, TEXT, st.sampled_from([Step.INSTALL, Step.UPGRADE]))
def test_whatever_a_chart_says_stays_a_value(
    name: str, chart: str, version: str, namespace: str, step: Step
) -> None:
    release = replace(RELEASE, name=name, chart=chart, repository="", version=version, namespace=namespace)
    found = arguments(release, step)
    assert found[-3:] == ["--", name, chart]
    reset = ["--reset-values"] if step is Step.UPGRADE else []
    assert found[1:-3] == [f"--namespace={namespace}", *reset, f"--version={version}", LABELS]
