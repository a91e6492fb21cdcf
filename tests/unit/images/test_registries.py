import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rke2_units.errors import ConfigurationError
from rke2_units.images.registries import Endpoint, Registries, read
from rke2_units.lean.json_table import Table

DIGEST = "sha256:" + "0" * 64


def registries(tmp_path: Path, mirrors: object = None, hosts: object = None) -> Registries:
    file = tmp_path / "registries.json"
    file.write_text(json.dumps({"mirrors": mirrors or {}, "hosts": hosts or {}}))
    return read(str(file))


def mirror(*urls: str, rewrites: object = ()) -> list[dict[str, object]]:
    return [{"url": url, "rewrites": rewrites} for url in urls]


def only(endpoints: list[Endpoint]) -> Endpoint:
    (endpoint,) = endpoints
    return endpoint


@pytest.mark.parametrize(
    ("reference", "url", "source"),
    [
        ("rancher/x:1", "https://registry-1.docker.io/v2", "docker://docker.io/rancher/x:1"),
        ("index.docker.io/rancher/x:1", "https://registry-1.docker.io/v2", "docker://docker.io/rancher/x:1"),
        ("busybox", "https://registry-1.docker.io/v2", "docker://docker.io/library/busybox:latest"),
        ("r.example.com/a/b:1", "https://r.example.com/v2", "docker://r.example.com/a/b:1"),
        ("r.example.com:5000/a/b:1", "https://r.example.com:5000/v2", "docker://r.example.com:5000/a/b:1"),
        ("localhost:5000/a:1", "http://localhost:5000/v2", "docker://localhost:5000/a:1"),
        ("127.0.0.1:5000/a:1", "http://127.0.0.1:5000/v2", "docker://127.0.0.1:5000/a:1"),
        ("127.0.0.1:443/a:1", "https://127.0.0.1:443/v2", "docker://127.0.0.1:443/a:1"),
        ("localhost/a:1", "https://localhost/v2", "docker://localhost/a:1"),
        (f"r.io/a:1@{DIGEST}", "https://r.io/v2", f"docker://r.io/a@{DIGEST}"),
    ],
)
def test_without_a_mirror_an_image_comes_from_its_own_registry(
    reference: str, url: str, source: str
) -> None:
    endpoint = only(read("").endpoints(reference))
    assert (endpoint.url, endpoint.source, endpoint.problem) == (url, source, "")
    assert endpoint.verify == url.startswith("https")


def test_endpoints_come_in_the_order_of_registries_yaml(tmp_path: Path) -> None:
    urls = ["https://b.example.com/v2", "http://a.example.com:5000/v2", "https://registry-1.docker.io/v2"]
    found = registries(tmp_path, {"docker.io": mirror(*urls)}).endpoints("index.docker.io/rancher/x:1")
    assert [endpoint.url for endpoint in found] == urls
    assert [endpoint.source for endpoint in found] == [
        "docker://b.example.com/rancher/x:1",
        "docker://a.example.com:5000/rancher/x:1",
        "docker://docker.io/rancher/x:1",
    ]


def test_the_wildcard_is_for_registries_that_have_no_mirror_of_their_own(tmp_path: Path) -> None:
    known = registries(
        tmp_path, {"*": mirror("https://cache.local/v2", ""), "quay.io": mirror("https://q.local/v2")}
    )
    assert [e.url for e in known.endpoints("ghcr.io/a/b:1")] == [
        "https://cache.local/v2",
        "https://ghcr.io/v2",
    ]
    assert [e.url for e in known.endpoints("quay.io/a/b:1")] == ["https://q.local/v2"]


def test_a_mirror_that_is_the_registry_itself_is_asked_once(tmp_path: Path) -> None:
    known = registries(tmp_path, {"*": mirror("https://ghcr.io/v2", "")})
    assert [e.url for e in known.endpoints("ghcr.io/a/b:1")] == ["https://ghcr.io/v2"]


def test_an_image_may_be_left_without_any_endpoint(tmp_path: Path) -> None:
    assert registries(tmp_path, {"docker.io": []}).endpoints("rancher/x:1") == []


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://m.local/v2", "docker://m.local/rancher/x:1"),
        ("https://m.local/v2/", "docker://m.local/rancher/x:1"),
        ("https://m.local/v2/proxy/hub", "docker://m.local/proxy/hub/rancher/x:1"),
        ("http://[fd00::1]:5000/v2", "docker://[fd00::1]:5000/rancher/x:1"),
    ],
)
def test_the_path_of_an_endpoint_goes_before_the_repository(tmp_path: Path, url: str, source: str) -> None:
    endpoint = only(registries(tmp_path, {"docker.io": mirror(url)}).endpoints("rancher/x:1"))
    assert (endpoint.source, endpoint.problem) == (source, "")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://m.local/artifactory/api", "skopeo.*below /artifactory/api"),
        ("https://m.local", "skopeo.*below /"),
        ("https://m.local/v2x", "skopeo.*below /v2x"),
        ("ftp://m.local/v2", "neither http"),
    ],
)
def test_an_endpoint_that_skopeo_cannot_ask_says_so(tmp_path: Path, url: str, problem: str) -> None:
    endpoint = only(registries(tmp_path, {"docker.io": mirror(url)}).endpoints("rancher/x:1"))
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(endpoint.problem)


@pytest.mark.parametrize(
    ("rewrites", "path"),
    [
        ([["^rancher/(.*)", "mirror/$1"]], "mirror/x"),
        ([["^rancher/(.*)", "mirror/${1}y"]], "mirror/xy"),
        ([["^(?P<who>[^/]+)/(.*)", "${who}-cache/$2"]], "rancher-cache/x"),
        ([["^(?P<who>[^/]+)/(.*)", "$who/$2"]], "rancher/x"),
        ([["^rancher/(.*)", "a$$b/$1"]], "a$b/x"),
        # As Go reads it: a group named 1y, which there is not.
        ([["^rancher/(.*)", "mirror/$1y"]], "mirror"),
        ([["^rancher/(.*)", "mirror/$7"]], "mirror"),
        ([["^other/", "no"], ["^rancher/", "yes/"], ["^yes/", "both/"]], "yes/x"),
        ([["^other/(.*)", "no/$1"]], "rancher/x"),
        # Go replaces no empty match right behind another one.
        ([["(.*)", "mirror/$1"]], "mirror/rancher/x"),
        ([["x*$", "y"]], "rancher/y"),
        ([["|r", "-"]], "-r-a-n-c-h-e-r-/-x-"),
    ],
)
def test_the_first_rewrite_that_acts_changes_the_repository(
    tmp_path: Path, rewrites: object, path: str
) -> None:
    known = registries(tmp_path, {"docker.io": mirror("https://m.local/v2/hub", rewrites=rewrites)})
    assert only(known.endpoints("rancher/x:v1")).source == f"docker://m.local/hub/{path}:v1"
    assert only(known.endpoints(f"rancher/x@{DIGEST}")).source == f"docker://m.local/hub/{path}@{DIGEST}"


def joined_by_go(*parts: str) -> str:
    """Go's path.Join, by which containerd makes a request's path: joined, then cleaned (path.Clean)."""
    kept: list[str] = []
    for part in "/".join(parts).split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


PATHS = st.text(st.sampled_from("a/."), max_size=9)


@given(PATHS, PATHS, PATHS, st.sampled_from(["v1", DIGEST]))
@example("", "/mycompany/proxy/", "", "v1")
@example("", "../", "", "v1")
@example("", "/", "", "v1")
@settings(deadline=None)
def test_own_pulls_ask_for_the_path_that_containerd_asks_for(
    path: str, before: str, after: str, version: str
) -> None:
    separator = "@" if version == DIGEST else ":"
    table = {"url": f"https://m.local/v2/{path}", "rewrites": [["^rancher/(.*)$", f"{before}${{1}}{after}"]]}
    values = {"mirrors": {"docker.io": [table]}, "hosts": {}}
    endpoint = only(Registries(Table("", values)).endpoints(f"rancher/x{separator}{version}"))
    asked = joined_by_go("/", f"/v2/{path}", f"{before}x{after}", "manifests", version)
    if endpoint.problem:
        # skopeo cannot ask elsewhere.
        assert not re.match("/v2/.+/manifests/", asked) or not joined_by_go(f"/v2/{path}/").startswith("/v2")
        return
    image = endpoint.source.removeprefix("docker://m.local/").removesuffix(f"{separator}{version}")
    assert f"/v2/{image}/manifests/{version}" == asked


@pytest.mark.parametrize(
    ("reference", "user"),
    [
        ("m.local:5000/a:1", "port"),
        ("m.local/a:1", "host"),
        ("rancher/a:1", "hub"),
        ("docker.io/a:1", "hub"),
        ("other.local/a:1", "any"),
    ],
)
def test_credentials_are_those_of_the_endpoints_host(tmp_path: Path, reference: str, user: str) -> None:
    hosts = {"m.local:5000": "port", "m.local": "host", "docker.io": "hub", "*": "any"}
    known = registries(tmp_path, hosts={host: {"username": name} for host, name in hosts.items()})
    host = only(known.endpoints(reference)).host
    assert host.username == user and host.has_credentials


def test_credentials_of_the_image_s_own_registry_do_not_go_to_its_mirror(tmp_path: Path) -> None:
    known = registries(
        tmp_path, {"docker.io": mirror("https://m.local/v2")}, {"docker.io": {"password": "secret"}}
    )
    assert not only(known.endpoints("rancher/x:1")).host.has_credentials


def test_a_certificate_is_checked_unless_the_configuration_says_otherwise(tmp_path: Path) -> None:
    known = registries(
        tmp_path,
        {"docker.io": mirror("https://a.local/v2", "https://b.local/v2", "http://c.local/v2")},
        {"b.local": {"insecure": True}},
    )
    assert [endpoint.verify for endpoint in known.endpoints("rancher/x:1")] == [True, False, False]


def test_a_missing_file_for_tls_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    files = {"ca": f"{tmp_path}/ca.pem", "certificate": f"{tmp_path}/client.pem"}
    host = only(registries(tmp_path, hosts={"*": files}).endpoints("rancher/x:1")).host
    assert host.missing_file == f"{tmp_path}/client.pem, named in registries.yaml, is missing"
    assert host.files == {"ca.crt": files["ca"], "client.cert": files["certificate"]}


@pytest.mark.parametrize(
    ("mirrors", "complaint"),
    [
        ({"docker.io": {}}, "'docker.io' is not a list"),
        ({"docker.io": [{}]}, "'url' is not a text"),
        ({"docker.io": [{"url": "", "rewrites": ["a"]}]}, "'rewrites' is not a list of pairs"),
        ({"docker.io": [{"url": "", "rewrites": 7}]}, "'rewrites' is not a list of pairs"),
        (
            {"docker.io": [{"url": "", "rewrites": [["(", ""]]}]},
            r"'rewrites' is not a regular expression: \(",
        ),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, mirrors: object, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        registries(tmp_path, mirrors)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file.*rke2-server"):
        read(str(tmp_path / "nothing"))
