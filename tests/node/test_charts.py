"""Charts become releases: HelmChart and HelmChartConfig objects, real helm, on a real node.

The node's kube-proxy is a chart itself, and its runtime image ships charts. In the order of the file.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.node.helpers import applier, chart_sources, product
from tests.node.helpers.applier import (
    APPLIER,
    DATA,
    MANIFESTS,
    Object,
    chart,
    chart_config,
    condition,
    find,
    place,
    release,
    uid,
    values,
    wait_for_object,
    wait_for_release,
    wait_until_failed,
    wait_until_gone,
)
from tests.node.helpers.chart_sources import BASIC_AUTH, CA, REGISTRY_AUTH, ChartSources
from tests.node.helpers.product import CONFIG, SERVER
from tests.nodes import charts, helm
from tests.nodes.content import content
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode

# The charts of the runtime image bring no network, so the tests' own stays.
CONFIGURATION = "cni: canal\ndisable-kube-proxy: true\ndisable: [rke2-metrics-server]\n"
WEB = charts.content_of("web", "1.0.0")
NEWER = charts.content_of("web", "1.1.0")


@dataclass(frozen=True)
class Charts:
    """A server, and where it can get charts from."""

    node: Node
    sources: ChartSources


def is_deployed(**fields: str) -> Callable[[Object], bool]:
    """Whether a release is deployed, and has these fields: helm writes them before it has done the work."""
    return lambda found: found["status"] == "deployed" and fields.items() <= found.items()


@pytest.fixture(scope="module")
def cluster(deb: Path) -> Iterator[Charts]:
    made = content("bookworm")
    with NspawnNode.boot("charts", made.suite, made, replace=True) as node:
        node.copy_in(charts.runtime_image(made), f"{DATA}/agent/images/rke2-runtime.tar")
        applier.bring_helm(node)
        sources = chart_sources.serve(node)
        product.install(node, deb, made.release, CONFIGURATION)
        product.start(node)
        node.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s", timeout=130)
        yield Charts(node, sources)


@pytest.fixture
def node(cluster: Charts) -> Node:
    return cluster.node


def answer(node: Node, name: str, namespace: str = "kube-system") -> str:
    """What the chart's web server says through its Service, from the node."""
    found = find(node, "service", name, namespace)
    assert found is not None
    return node.run(
        "curl", "--silent", "--max-time", "5", f"http://{found['spec']['clusterIP']}/"
    ).stdout.strip()


def wait_for_answer(node: Node, name: str, wanted: str, namespace: str = "kube-system") -> None:
    node.wait_for(f"{name} to answer {wanted}", lambda: answer(node, name, namespace) == wanted, timeout=90)


def shown(node: Node, name: str) -> str:
    """The line of `rke2-units status` on a chart."""
    lines = node.run("rke2-units", "status", check=False).stdout.splitlines()
    return next((line for line in lines if name in line), "")


def uninstall(node: Node, *names: str) -> None:
    """Delete HelmCharts, and wait until their releases are gone."""
    node.kubectl("-n", "kube-system", "delete", "helmcharts.helm.cattle.io", *names, "--wait=false")
    for name in names:
        wait_until_gone(node, "helmcharts.helm.cattle.io", name, "kube-system", timeout=90)
        assert release(node, name) is None


def create(node: Node, *objects: Object) -> None:
    every = {"apiVersion": "v1", "kind": "List", "items": objects}
    node.kubectl("apply", "-f", "-", input=json.dumps(every))


def restart_with(node: Node, configuration: str) -> None:
    """Restart the server with another configuration, and wait until it has nothing to complain of."""
    node.write(CONFIG, configuration)
    node.systemctl("restart", SERVER)
    node.wait_for("the server to run", lambda: product.status_text(node) == "running", timeout=120)


def test_the_runtime_images_charts_are_installed_with_the_clusters_values(node: Node) -> None:
    for name in ("rke2-canal", "rke2-coredns", "rke2-kube-proxy"):
        wait_for_release(node, name)
    given = values(node, "rke2-canal")["global"]
    assert given["clusterCIDR"] == "10.42.0.0/16" and given["serviceCIDR"] == "10.43.0.0/16"
    assert given["clusterDNS"] == "10.43.0.10" and given["clusterDomain"] == "cluster.local"
    assert given["rke2DataDir"] == DATA


def test_charts_that_are_disabled_or_not_chosen_are_left_out(node: Node) -> None:
    for name in ("rke2-metrics-server", "rke2-cilium"):
        assert release(node, name) is None
        assert find(node, "helmcharts.helm.cattle.io", name, "kube-system") is None


def test_a_kube_proxy_that_is_a_chart_serves_services(node: Node) -> None:
    found = wait_for_object(
        node,
        "daemonset",
        "kube-proxy",
        "kube-system",
        holds=lambda found: found["status"].get("numberReady") == 1,
        timeout=60,
    )
    assert found["metadata"]["annotations"]["meta.helm.sh/release-name"] == "rke2-kube-proxy"
    place(node, "web.yaml", chart("web", chartContent=WEB, valuesContent="text: first"))
    wait_for_release(node, "web")
    wait_for_answer(node, "web", "first")


def test_status_shows_each_chart_with_its_versions(node: Node) -> None:
    line = shown(node, "web")
    assert "1.0.0" in line and "deployed" in line
    assert "rke2-coredns" in node.run("rke2-units", "status", check=False).stdout


def test_a_chart_object_says_that_it_was_installed_as_rke2_reads_it(node: Node) -> None:
    found = find(node, "helmcharts.helm.cattle.io", "web", "kube-system")
    assert found is not None
    assert condition(node, "web", "Failed").get("status", "False") == "False"
    assert "wrangler.cattle.io/on-helm-chart-remove" in found["metadata"]["finalizers"]
    labels = [
        each["metadata"]["labels"]
        for each in applier.every(node, "secrets", "-n", "kube-system", "-l", "owner=helm,name=web")
    ]
    assert all(each["helmcharts.helm.cattle.io/configHash"] for each in labels)


def test_new_values_upgrade_the_release(node: Node) -> None:
    before = uid(node, "deployment", "web", "kube-system")
    place(node, "web.yaml", chart("web", chartContent=WEB, valuesContent="text: second"))
    wait_for_release(node, "web", holds=is_deployed(revision="2"))
    wait_for_answer(node, "web", "second")
    assert uid(node, "deployment", "web", "kube-system") == before


def test_a_new_version_upgrades_the_release(node: Node) -> None:
    place(node, "web.yaml", chart("web", chartContent=NEWER, valuesContent="text: second"))
    found = wait_for_release(node, "web", holds=is_deployed(chart="web-1.1.0"))
    assert found["status"] == "deployed" and found["revision"] == "3"


def test_nothing_that_changes_nothing_makes_a_revision(node: Node) -> None:
    since = node.now()
    node.systemctl("restart", APPLIER)
    node.kubectl("-n", "kube-system", "annotate", "helmcharts.helm.cattle.io", "web", "tests.example/a=b")
    place(node, "later.yaml", chart("later", chartContent=WEB))
    wait_for_release(node, "later")
    found = release(node, "web")
    assert found is not None and found["revision"] == "3", node.journal(APPLIER, since=since)
    node.sh(f"rm {MANIFESTS}/later.yaml")
    uninstall(node, "later")


def test_values_come_in_the_documented_order(node: Node) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "more-values", "namespace": "kube-system"},
        "stringData": {"a.yaml": "text: secret\nd: secret\ne: secret\n"},
    }
    place(
        node,
        "ordered.yaml",
        secret,
        chart(
            "ordered",
            chartContent=WEB,
            valuesContent="text: content\na: content\nb: content\nc: content\nd: content\ne: content\n",
            values={"b": "values", "c": "values", "d": "values", "e": "values"},
            valuesSecrets=[{"name": "more-values", "keys": ["a.yaml"]}],
            set={"f": "set", "text": "se,t", "g": 5, "h": "true", "i": "null", "j": "007"},
        ),
        chart_config("ordered", valuesContent="c: config\ne: config\nf: config\nk: config\n"),
    )
    wait_for_release(node, "ordered")
    given = values(node, "ordered")
    wanted = {
        "a": "content",
        "b": "values",
        "c": "config",
        "d": "secret",
        "e": "config",
        "f": "set",
        "g": 5,
        "h": True,
        "k": "config",
        "text": "se,t",
    }
    assert {key: given.get(key) for key in wanted} == wanted


def test_a_changed_helmchartconfig_upgrades_its_release(node: Node) -> None:
    create(node, chart_config("ordered", valuesContent="k: changed\n"))
    wait_for_object(
        node,
        "configmap",
        "ordered-values",
        "kube-system",
        holds=lambda found: json.loads(found["data"]["values"]).get("k") == "changed",
        timeout=60,
    )
    assert values(node, "ordered")["e"] == "secret"


def test_a_changed_secret_of_values_upgrades_its_release(node: Node) -> None:
    patch = json.dumps({"stringData": {"a.yaml": "d: new\n"}})
    node.kubectl("-n", "kube-system", "patch", "secret", "more-values", "--type=merge", "-p", patch)
    wait_for_object(
        node,
        "configmap",
        "ordered-values",
        "kube-system",
        holds=lambda found: json.loads(found["data"]["values"]).get("d") == "new",
        timeout=60,
    )
    node.sh(f"rm {MANIFESTS}/ordered.yaml")
    node.kubectl("-n", "kube-system", "delete", "secret", "more-values")
    node.kubectl("-n", "kube-system", "delete", "helmchartconfigs.helm.cattle.io", "ordered")
    uninstall(node, "ordered")


@pytest.mark.parametrize("source", ["repository", "registry"])
def test_a_chart_comes_from_an_open_source(cluster: Charts, source: str) -> None:
    node, name = cluster.node, f"open-{source}"
    place_of = getattr(cluster.sources, source)
    spec: Object = {"chart": f"{place_of}/web", "plainHTTP": True}
    if source == "repository":
        spec = {"chart": "web", "repo": place_of}
    create(node, chart(name, version="1.0.0", **spec))
    wait_for_release(node, name, holds=is_deployed(chart="web-1.0.0"))
    create(node, chart(name, version="1.1.0", **spec))
    wait_for_release(node, name, holds=is_deployed(chart="web-1.1.0"))
    uninstall(node, name)


@pytest.mark.parametrize("source", ["repository", "registry"])
def test_a_chart_comes_from_a_private_source_with_password_and_ca(cluster: Charts, source: str) -> None:
    node, name = cluster.node, f"private-{source}"
    place_of = getattr(cluster.sources, f"private_{source}")
    create(node, *chart_sources.secrets(node))
    spec: Object = {"chart": f"{place_of}/web", "dockerRegistrySecret": {"name": REGISTRY_AUTH}}
    if source == "repository":
        spec = {"chart": "web", "repo": place_of, "authSecret": {"name": BASIC_AUTH}}
    create(node, chart(name, version="1.0.0", **spec))
    wait_until_failed(node, name, "certificate")
    create(node, chart(name, version="1.0.0", repoCAConfigMap={"name": CA}, **spec))
    wait_for_release(node, name)
    uninstall(node, name)


def test_a_chart_comes_from_a_url(cluster: Charts) -> None:
    create(cluster.node, chart("url", chart=f"{cluster.sources.repository}/web-1.0.0.tgz"))
    wait_for_release(cluster.node, "url")
    uninstall(cluster.node, "url")


def test_a_source_that_is_down_is_named_and_tried_again(cluster: Charts) -> None:
    node = cluster.node
    node.systemctl("stop", "charts-5010.service")
    create(node, chart("down", chart="web", repo=cluster.sources.repository))
    wait_until_failed(node, "down", "127.0.0.1:5010")
    assert "127.0.0.1:5010" in shown(node, "down") + node.run("rke2-units", "status", check=False).stdout
    node.systemctl("start", "charts-5010.service")
    wait_for_release(node, "down", timeout=120)
    uninstall(node, "down")


def test_a_namespace_is_made_when_that_is_asked_for(node: Node) -> None:
    create(node, chart("spaced", chartContent=WEB, targetNamespace="spaced", createNamespace=True))
    wait_for_release(node, "spaced", "spaced")
    wait_for_answer(node, "spaced", "hello", "spaced")
    uninstall(node, "spaced")
    assert release(node, "spaced", "spaced") is None


def test_a_chart_brings_a_definition_and_its_resource(node: Node) -> None:
    create(node, chart("widgets", chartContent=charts.content_of("widgets", "1.0.0"), set={"size": 3}))
    wait_for_release(node, "widgets")
    found = find(node, "widgets.tests.example", "widgets", "kube-system")
    assert found is not None and found["spec"] == {"size": 3}
    uninstall(node, "widgets")
    assert find(node, "widgets.tests.example", "widgets", "kube-system") is None


def test_a_deleted_chart_is_uninstalled_and_then_gone(node: Node) -> None:
    create(node, chart("short", chartContent=WEB))
    wait_for_release(node, "short")
    uninstall(node, "short")
    assert find(node, "deployment", "short", "kube-system") is None
    assert find(node, "secret", "sh.helm.release.v1.short.v1", "kube-system") is None


def test_objects_of_others_are_taken_over_when_that_is_asked_for(node: Node) -> None:
    for name in ("owner", "taker"):
        create(node, chart(name, chartContent=WEB, failurePolicy="retry", set={"shared": "true"}))
        if name == "owner":
            wait_for_release(node, name)
    wait_until_failed(node, "taker", "shared")
    taken = chart("taker", chartContent=WEB, failurePolicy="retry", set={"shared": "true"})
    taken["spec"]["takeOwnership"] = True
    create(node, taken)
    wait_for_release(node, "taker", timeout=120)
    uninstall(node, "taker", "owner")


@pytest.mark.parametrize("policy", ["abort", "reinstall", "retry"])
def test_a_hook_that_fails_is_treated_as_the_policy_says(node: Node, policy: str) -> None:
    name = f"hooked-{policy}"
    good: Object = {"chartContent": WEB, "failurePolicy": policy}
    create(node, chart(name, **good, set={"hook": "succeed"}))
    wait_for_release(node, name)
    before = uid(node, "deployment", name, "kube-system")
    create(node, chart(name, **good, set={"hook": "fail"}))
    wait_until_failed(node, name, "hook")
    assert "hook" in shown(node, name) + node.run("rke2-units", "status", check=False).stdout
    events = node.kubectl("-n", "kube-system", "describe", "helmcharts.helm.cattle.io", name).stdout
    assert "Warning" in events
    create(node, chart(name, **good, set={"hook": "succeed", "text": "mended"}))
    if policy == "abort":
        node.run("sleep", "5")
        found = release(node, name)
        assert found is not None and found["status"] == "failed"
        # As the words of the policy say, it is for a person to mend.
        applier.run_helm(node, "rollback", name, "1", "--namespace", "kube-system")
        create(node, chart(name, **good, set={"hook": "succeed", "text": "mended again"}))
    wait_for_release(node, name, timeout=120)
    wait_for_answer(node, name, "mended again" if policy == "abort" else "mended")
    made_anew = uid(node, "deployment", name, "kube-system") != before
    assert made_anew == (policy == "reinstall")
    uninstall(node, name)


def test_a_chart_that_takes_too_long_fails_by_its_timeout_and_blocks_no_other(node: Node) -> None:
    slow = chart("slow", chartContent=WEB, timeout="20s", failurePolicy="retry", set={"hook": "hang"})
    create(node, slow, chart("never-ready", chartContent=WEB, set={"ready": "false"}))
    create(node, chart("beside", chartContent=WEB))
    wait_for_release(node, "beside", timeout=18)
    # As RKE2 has it: what was installed need not be ready.
    wait_for_release(node, "never-ready")
    wait_until_failed(node, "slow")
    create(node, chart("slow", chartContent=WEB, timeout="20s", failurePolicy="retry", set={"hook": "none"}))
    wait_for_release(node, "slow", timeout=120)
    uninstall(node, "slow", "never-ready", "beside")


def test_a_chart_whose_image_cannot_be_pulled_makes_the_status_not_well(node: Node) -> None:
    image = "127.0.0.1:5999/no/such:1"

    def told() -> str:
        """What the status has against the chart, once it has the registry's words."""
        done = node.run("rke2-units", "status", "--json", check=False)
        found = json.loads(done.stdout)
        [each] = [each for each in found["charts"] if each["name"] == "unpullable"] or [{"workloads": []}]
        problems = [workload["problem"] for workload in each["workloads"]]
        assert not any(problems) or (done.returncode, found["well"]) == (1, False)
        return next((problem for problem in problems if "refused" in problem), "")

    create(node, chart("unpullable", chartContent=WEB, set={"image": image}))
    wait_for_release(node, "unpullable")
    problem = node.wait_for("the status to tell of the image", told, timeout=60)
    assert str(problem).startswith(f"0 of 1 ready: image {image} cannot be pulled: ")
    uninstall(node, "unpullable")
    assert image not in node.run("rke2-units", "status", check=False).stdout


def test_values_are_on_no_command_line_and_in_no_file_that_others_read(node: Node) -> None:
    secret = "correct-horse-battery-staple"
    create(
        node,
        chart("secretive", chartContent=WEB, valuesContent=f"secret: {secret}", set={"hook": "hang"}),
    )
    wait_for_object(node, "job", "secretive-hook", "kube-system", timeout=60)
    lines = node.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true").stdout
    assert "secretive" in lines and secret not in lines
    assert secret not in node.sh("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' ' ' || true").stdout
    pid = node.main_pid(APPLIER)
    found = node.sh(
        f"grep -rl {secret} /proc/{pid}/root/run /proc/{pid}/root/tmp 2>/dev/null || true"
    ).stdout
    files = found.split()
    assert files
    for file in files:
        assert node.run("stat", "--format=%a %u", file).stdout.split() == ["600", "0"], file
    assert secret not in node.journal(APPLIER)
    create(node, chart("secretive", chartContent=WEB, set={"hook": "none"}))
    uninstall(node, "secretive")
    assert not files_with(node, secret)


def files_with(node: Node, text: str) -> list[str]:
    """The files with this text that the applier and its helm have for themselves."""
    root = f"/proc/{node.main_pid(APPLIER)}/root"
    folders = f"{root}/run/rke2-units {root}/tmp {root}/var/tmp"
    return node.sh(f"grep -rlF -D skip -e {text} {folders} || true").stdout.split()


def test_the_applier_sees_its_own_files_and_no_secret_of_the_node(node: Node) -> None:
    inside = ("nsenter", f"--target={node.main_pid(APPLIER)}", "--mount")
    found = node.run(
        *inside, "find", f"{DATA}/server", "-type", "f", "-not", "-path", f"{MANIFESTS}/*"
    ).stdout
    assert {
        path.removeprefix(f"{DATA}/server/") for path in found.splitlines() if "/static/" not in path
    } == {
        "etc/rke2-helm-applier.json",
        "tls/server-ca.crt",
        "tls/client-supervisor.crt",
        "tls/client-supervisor.key",
        "cred/supervisor.kubeconfig",
    }
    for path in ("/root", "/etc/shadow", "/etc/rancher", "/run/k3s", f"{DATA}/agent"):
        assert node.run("ls", "-A", path).stdout, f"there is no {path} to hide"
        assert node.run(*inside, "find", path, "-mindepth", "1").stdout == "", path
        assert node.run(*inside, "stat", "--format=%s %a", path).stdout.split()[1] == "0", path
    writable = node.run(*inside, "findmnt", "--noheadings", "--output=TARGET", "--options=rw").stdout.split()
    assert not [path for path in writable if path.startswith(DATA) and path != MANIFESTS]


def test_helms_words_are_in_the_journal_with_chart_and_release(node: Node) -> None:
    for field in ("HELM_CHART", "HELM_RELEASE"):
        lines = node.run(
            "journalctl", "--boot", "--no-pager", "--output=json", f"{field}=kube-system/web"
        ).stdout
        assert lines, field
        assert all(json.loads(line)["_SYSTEMD_UNIT"] == APPLIER for line in lines.splitlines())


def test_a_chart_that_is_another_controllers_is_left_alone(node: Node) -> None:
    unmanaged, others = chart("unmanaged", chartContent=WEB), chart("others", chartContent=WEB)
    unmanaged["metadata"]["annotations"] = {"helmcharts.helm.cattle.io/unmanaged": "true"}
    others["metadata"]["annotations"] = {"helmcharts.cattle.io/managed-by": "another-controller"}
    create(node, unmanaged, others, chart("managed", chartContent=WEB))
    wait_for_release(node, "managed")
    assert release(node, "unmanaged") is None and release(node, "others") is None
    uninstall(node, "managed")
    node.kubectl("-n", "kube-system", "delete", "helmcharts.helm.cattle.io", "unmanaged", "others")


def test_with_helm_3_charts_are_installed_and_what_it_lacks_is_said(node: Node) -> None:
    node.copy_in(helm.images(helm.HELM_3), f"{DATA}/agent/images")
    try:
        restart_with(node, f"{CONFIGURATION}helm-job-image: {helm.image(helm.HELM_3)}\n")
        create(node, chart("old", chartContent=WEB, forceConflicts=True))
        wait_for_release(node, "old")
        found = find(node, "helmcharts.helm.cattle.io", "old", "kube-system")
        assert found is not None and "forceConflicts" in json.dumps(found["status"])
        create(node, chart("old", chartContent=NEWER, forceConflicts=True))
        wait_for_release(node, "old", holds=is_deployed(chart="web-1.1.0"))
        uninstall(node, "old")
    finally:
        restart_with(node, CONFIGURATION)
    # A release that helm 3 made is helm 4's as well.
    create(node, chart("after", chartContent=WEB))
    wait_for_release(node, "after")
    uninstall(node, "after")


def test_disabling_a_chart_uninstalls_it(node: Node) -> None:
    assert release(node, "rke2-coredns") is not None
    restart_with(node, CONFIGURATION.replace("server]", "server, rke2-coredns]"))
    node.wait_for("rke2-coredns to go", lambda: release(node, "rke2-coredns") is None, timeout=90)
    assert find(node, "helmcharts.helm.cattle.io", "rke2-coredns", "kube-system") is None
    assert not node.exists(f"{MANIFESTS}/rke2-coredns.yaml")
