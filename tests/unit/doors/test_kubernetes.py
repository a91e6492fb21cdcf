"""The client against a server on loopback that answers, refuses and breaks off as an API server does."""

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from rke2_units.doors import kubernetes
from rke2_units.doors.kubernetes import (
    ApiError,
    ApiUnavailable,
    Client,
    Discovery,
    Event,
    Object,
    Resource,
    UnknownKind,
    path_of,
    path_to,
)
from rke2_units.errors import ConfigurationError
from rke2_units.lean.http import Identity
from tests.unit.kubernetes_api import ApiServer, Reply, Request, refused, served, unused_port

COLLECTION = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, version: int = 1) -> Object:
    return {"metadata": {"namespace": "default", "name": name, "resourceVersion": str(version)}}


def page(*items: Object, version: int = 1, more: str = "") -> Reply:
    metadata = {"resourceVersion": str(version), "continue": more}
    return Reply(
        body={"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": list(items)}
    )


def test_what_is_sent_is_what_the_api_asks_for(server: ApiServer, client: Client) -> None:
    server.answer = lambda request: Reply(body={"kind": "ConfigMap"})
    client.get(f"{COLLECTION}/a")
    client.create(COLLECTION, {"a": 1})
    client.apply(f"{COLLECTION}/a", {"a": 2})
    client.apply(f"{COLLECTION}/a", {"a": 2}, manager="other", force=False)
    client.merge_patch(f"{COLLECTION}/a", {"a": None})
    client.merge_patch(f"{COLLECTION}/a", {"a": 3}, "status")
    client.delete(f"{COLLECTION}/a")
    client.delete(f"{COLLECTION}/a", propagation="Foreground")
    assert [(r.method, r.path, r.query, r.headers.get("content-type"), r.body) for r in server.requests] == [
        ("GET", f"{COLLECTION}/a", {}, None, None),
        ("POST", COLLECTION, {}, "application/json", {"a": 1}),
        (
            "PATCH",
            f"{COLLECTION}/a",
            {"fieldManager": "rke2-helm-applier", "force": "true"},
            "application/apply-patch+yaml",
            {"a": 2},
        ),
        (
            "PATCH",
            f"{COLLECTION}/a",
            {"fieldManager": "other", "force": "false"},
            "application/apply-patch+yaml",
            {"a": 2},
        ),
        ("PATCH", f"{COLLECTION}/a", {}, "application/merge-patch+json", {"a": None}),
        ("PATCH", f"{COLLECTION}/a/status", {}, "application/merge-patch+json", {"a": 3}),
        ("DELETE", f"{COLLECTION}/a", {}, "application/json", {"propagationPolicy": "Background"}),
        ("DELETE", f"{COLLECTION}/a", {}, "application/json", {"propagationPolicy": "Foreground"}),
    ]


def test_one_connection_serves_all_requests_of_a_thread(server: ApiServer, client: Client) -> None:
    server.answer = lambda request: Reply()
    for _ in range(5):
        client.get("/api")
    other = threading.Thread(target=client.get, args=("/api",))
    other.start()
    other.join()
    assert [request.connection for request in server.requests] == [1] * 5 + [2]


@pytest.mark.parametrize("method", ["get", "create"])
def test_a_connection_that_ended_while_idle_is_replaced(
    server: ApiServer, client: Client, method: str
) -> None:
    server.answer = lambda request: Reply(headers={"Connection": "close"})
    client.get("/api")
    time.sleep(0.05)
    if method == "get":
        client.get("/api")
    else:
        client.create("/api", {})
    assert [request.connection for request in server.requests] == [1, 2]


def test_a_request_that_a_kept_connection_loses_is_sent_again(server: ApiServer, client: Client) -> None:
    server.answer = lambda request: Reply(cut=request.connection == 1 and len(server.requests) == 2)
    client.get("/api")
    client.get("/api")
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_a_creation_that_a_kept_connection_loses_is_not_sent_twice(
    server: ApiServer, client: Client
) -> None:
    server.answer = lambda request: Reply(cut=request.method == "POST")
    client.get("/api")
    with pytest.raises(ApiUnavailable):
        client.create(COLLECTION, {})
    assert [request.method for request in server.requests] == ["GET", "POST"]


def test_a_new_connection_that_breaks_is_not_tried_for_ever(server: ApiServer, client: Client) -> None:
    server.answer = lambda request: Reply(cut=True)
    with pytest.raises(ApiUnavailable, match="does not answer"):
        client.get("/api")
    assert len(server.requests) == 1


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(ApiUnavailable, match="Connection refused"):
        Client(f"http://127.0.0.1:{unused_port()}").get("/api")


def test_no_answer_in_time_is_unavailable(server: ApiServer) -> None:
    waiting = threading.Event()

    def late(request: Request) -> Reply:
        waiting.wait(5)
        return Reply()

    server.answer = late
    with pytest.raises(ApiUnavailable, match="timed out"):
        Client(server.url, timeout=0.1).get("/api")
    waiting.set()


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"kind": '])
def test_an_answer_that_is_no_object_is_unavailable(server: ApiServer, client: Client, body: bytes) -> None:
    server.answer = lambda request: Reply(body=body)
    with pytest.raises(ApiUnavailable):
        client.get("/api")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            refused(409, "Conflict", "the object has been modified"),
            (409, "Conflict", "the object has been modified"),
        ),
        (refused(404, "NotFound", "two\nlines \x1b[31m"), (404, "NotFound", "two lines [31m")),
        (Reply(404, b"404 page not found\n"), (404, "Not Found", "404 page not found")),
        (Reply(502, b""), (502, "Bad Gateway", "Bad Gateway")),
        (Reply(500, {"kind": "Status"}), (500, "Internal Server Error", "Internal Server Error")),
    ],
)
def test_a_refusal_has_status_reason_and_one_line(
    server: ApiServer, client: Client, reply: Reply, expected: tuple[int, str, str]
) -> None:
    server.answer = lambda request: reply
    with pytest.raises(ApiError) as error:
        client.get("/api")
    assert (error.value.status, error.value.reason, error.value.message) == expected


@pytest.mark.parametrize("status", [429, 503])
def test_too_many_requests_are_asked_again_when_the_server_says(
    server: ApiServer, client: Client, status: int
) -> None:
    def busy(request: Request) -> Reply:
        return Reply(status, headers={"Retry-After": "1"}) if len(server.requests) < 2 else Reply()

    server.answer = busy
    began = time.monotonic()
    client.create(COLLECTION, {})
    assert len(server.requests) == 2
    assert 0.9 < time.monotonic() - began < 3


@pytest.mark.parametrize("asked", ["100", "Wed, 21 Oct 2065 07:28:00 GMT", "-1", "1" * 400, ""])
def test_what_cannot_be_waited_for_is_refused_at_once(server: ApiServer, client: Client, asked: str) -> None:
    server.answer = lambda request: Reply(429, b"slowly", headers={"Retry-After": asked})
    with pytest.raises(ApiError, match="slowly"):
        client.get("/api")
    assert len(server.requests) == 1


def test_a_list_comes_in_pages_and_its_items_say_what_they_are(server: ApiServer, client: Client) -> None:
    pages = {"": page(config_map("a"), more="x/+="), "x/+=": page(config_map("b"))}
    server.answer = lambda request: pages[request.query.get("continue", "")]
    found = list(client.list(COLLECTION, label_selector="a in (b,c)", limit=1))
    assert [(o["metadata"]["name"], o["kind"], o["apiVersion"]) for o in found] == [
        ("a", "ConfigMap", "v1"),
        ("b", "ConfigMap", "v1"),
    ]
    assert all(r.query["labelSelector"] == "a in (b,c)" and r.query["limit"] == "1" for r in server.requests)


def test_metadata_alone_is_asked_for_by_the_accept_header(server: ApiServer, client: Client) -> None:
    server.answer = lambda request: page()
    list(client.list(COLLECTION, metadata_only=True))
    assert server.requests[0].headers["accept"] == (
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    )


def line(kind: str, obj: Object) -> Object:
    return {"type": kind, "object": obj}


def bookmark(version: int) -> Object:
    return line("BOOKMARK", {"kind": "ConfigMap", "metadata": {"resourceVersion": str(version)}})


def told(events: Iterator[Event], count: int) -> list[tuple[str, str, str]]:
    """Type, name and version of the next events."""
    return [
        (event.type, metadata.get("name", ""), metadata.get("resourceVersion", ""))
        for event in islice(events, count)
        for metadata in [event.object.get("metadata", {})]
    ]


class Cluster:
    """Lists and watches as told: each watch takes the next of `watches`, later ones stay silent."""

    def __init__(self, server: ApiServer, lists: list[Reply], watches: list[Reply]) -> None:
        self.lists, self.watches, self.server = lists, watches, server
        self.over = threading.Event()
        server.answer = self.answer

    def answer(self, request: Request) -> Reply:
        if "watch" not in request.query:
            return self.lists.pop(0)
        return self.watches.pop(0) if self.watches else Reply(stream=self.silence())

    def silence(self) -> Iterator[Object]:
        self.over.wait(20)
        yield from ()

    @property
    def versions(self) -> list[str | None]:
        """From where each request went on; None for a list."""
        return [request.query.get("resourceVersion") for request in self.server.requests]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "_FIRST_PAUSE", 0.01)


@pytest.mark.usefixtures("_quick")
def test_a_watch_lists_then_tells_what_changes(server: ApiServer, client: Client) -> None:
    changes = [
        line("ADDED", config_map("b", 8)),
        line("MODIFIED", config_map("a", 9)),
        line("DELETED", config_map("a", 10)),
    ]
    cluster = Cluster(server, [page(config_map("a", 3), version=7)], [Reply(stream=changes)])
    assert told(client.watch(COLLECTION, stop=threading.Event()), 5) == [
        ("ADDED", "a", "3"),
        ("SYNCED", "", ""),
        ("ADDED", "b", "8"),
        ("MODIFIED", "a", "9"),
        ("DELETED", "a", "10"),
    ]
    assert cluster.versions == [None, "7"]
    watch = server.requests[1].query
    assert watch["watch"] == watch["allowWatchBookmarks"] == "true"
    cluster.over.set()


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("cut", [False, True])
def test_a_watch_goes_on_where_its_connection_ended(server: ApiServer, client: Client, cut: bool) -> None:
    half = b'{"type": "MODIFIED", "object": {"metadata": {"name": "a", "resourceVersion": "12'
    cluster = Cluster(
        server,
        [page(version=7)],
        [
            Reply(stream=[line("ADDED", config_map("a", 8))], cut=cut),
            Reply(stream=[bookmark(11), *([half] if cut else [])], cut=cut),
            Reply(stream=[line("MODIFIED", config_map("a", 12))]),
        ],
    )
    assert told(client.watch(COLLECTION, stop=threading.Event()), 3) == [
        ("SYNCED", "", ""),
        ("ADDED", "a", "8"),
        ("MODIFIED", "a", "12"),
    ]
    assert cluster.versions == [None, "7", "8", "11"]
    cluster.over.set()


STATUS = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    "gone",
    [Reply(410, STATUS), Reply(stream=[line("ERROR", STATUS)])],
    ids=["refused", "streamed"],
)
def test_a_watch_that_the_server_forgot_tells_the_difference(
    server: ApiServer, client: Client, gone: Reply
) -> None:
    first = page(config_map("same", 1), config_map("changed", 2), config_map("gone", 3), version=7)
    second = page(config_map("same", 1), config_map("changed", 8), config_map("new", 9), version=20)
    cluster = Cluster(
        server, [first, second], [gone, Reply(stream=[line("DELETED", config_map("same", 21))])]
    )
    events = list(islice(client.watch(COLLECTION, stop=threading.Event()), 9))
    assert told(iter(events[3:]), 6) == [
        ("SYNCED", "", ""),
        ("MODIFIED", "changed", "8"),
        ("ADDED", "new", "9"),
        ("DELETED", "gone", ""),
        ("SYNCED", "", ""),
        ("DELETED", "same", "21"),
    ]
    assert events[6].object == {"metadata": {"namespace": "default", "name": "gone"}}
    assert cluster.versions == [None, "7", None, "20"]
    cluster.over.set()


@pytest.mark.usefixtures("_quick")
def test_a_watch_from_a_version_lists_nothing(server: ApiServer, client: Client) -> None:
    cluster = Cluster(server, [], [Reply(stream=[line("ADDED", config_map("a", 6))])])
    watch = client.watch(COLLECTION, resource_version="5", stop=threading.Event(), metadata_only=True)
    assert told(watch, 1) == [("ADDED", "a", "6")]
    assert cluster.versions == ["5"]
    assert "as=PartialObjectMetadata;" in server.requests[0].headers["accept"]


@pytest.mark.parametrize(
    "bad",
    [
        refused(403, "Forbidden"),
        Reply(stream=[]),
        Reply(stream=[b"hello\n"]),
        Reply(stream=[b"[]\n"]),
        Reply(stream=[{"type": "ADDED"}]),
        Reply(stream=[line("ADDED", {"metadata": {}})]),
        Reply(stream=[line("ERROR", {"code": "x"})]),
        Reply(cut=True),
    ],
    ids=str,
)
def test_a_watch_that_fails_is_tried_again_after_growing_pauses(
    server: ApiServer,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bad: Reply,
) -> None:
    monkeypatch.setattr(kubernetes, "_LAST_PAUSE", 4.0)
    pauses: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            return False

    cluster = Cluster(
        server, [page(version=7)], [bad] * 5 + [Reply(stream=[line("ADDED", config_map("a", 8))])]
    )
    events = client.watch(COLLECTION, stop=Stop())
    assert told(events, 2) == [("SYNCED", "", ""), ("ADDED", "a", "8")]
    assert pauses == [1, 2, 4, 4, 4]
    assert cluster.versions == [None] + ["7"] * 6
    # Said once, for all five.
    assert capsys.readouterr().err.count("is tried again") == 1


def test_a_list_for_a_watch_that_fails_is_tried_again(
    server: ApiServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_FIRST_PAUSE", 0.01)
    Cluster(server, [refused(404, "NotFound"), Reply(body={}), page(config_map("a"))], [])
    assert told(client.watch(COLLECTION, stop=threading.Event()), 1) == [("ADDED", "a", "1")]


def test_a_silent_connection_is_replaced(
    server: ApiServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(kubernetes, "_WATCH_SILENCE", 0.1)
    cluster = Cluster(server, [page(version=7)], [])
    cluster.watches = [Reply(stream=cluster.silence()), Reply(stream=[line("ADDED", config_map("a", 8))])]
    assert told(client.watch(COLLECTION, stop=threading.Event()), 2)[1] == ("ADDED", "a", "8")
    cluster.over.set()


def test_a_watch_ends_at_once_when_its_client_closes(server: ApiServer, client: Client) -> None:
    cluster = Cluster(server, [page(version=7)], [])
    stop = threading.Event()
    events = client.watch(COLLECTION, stop=stop)
    next(events)
    watcher = threading.Thread(target=list, args=(events,))
    watcher.start()
    while len(server.requests) < 2:
        time.sleep(0.01)
    stop.set()
    client.close()
    watcher.join(2)
    assert not watcher.is_alive()
    cluster.over.set()


def test_a_closed_client_asks_nothing_more(server: ApiServer, client: Client) -> None:
    client.close()
    with pytest.raises(ApiUnavailable, match="stopping"):
        client.get("/api")
    assert server.requests == []


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """A certificate for 127.0.0.1 that vouches for itself, as a server's and as a client's."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return Identity(certificate, certificate, key)


@pytest.fixture
def tls_server(identity: Identity) -> Iterator[ApiServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(identity.certificate), identity.key)
    context.load_verify_locations(identity.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    with served(context) as server:
        server.answer = lambda request: Reply()
        yield server


def test_both_sides_show_certificates(tls_server: ApiServer, identity: Identity) -> None:
    client = Client(f"https://127.0.0.1:{tls_server.port}", identity)
    client.get("/api")
    client.get("/api")
    assert tls_server.connections == 1
    client.close()


def test_a_server_of_another_authority_is_not_asked(
    tls_server: ApiServer, identity: Identity, tmp_path: Path
) -> None:
    other = Identity(ssl.get_default_verify_paths().openssl_cafile, identity.certificate, identity.key)
    with pytest.raises(ApiUnavailable, match="certificate verify failed"):
        Client(f"https://127.0.0.1:{tls_server.port}", other).get("/api")
    with pytest.raises(ApiUnavailable, match="mismatch|doesn't match"):
        Client(f"https://localhost:{tls_server.port}", identity).get("/api")
    assert tls_server.requests == []


def test_an_identity_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "admin.crt")
    with pytest.raises(ConfigurationError, match="admin.crt"):
        Client("https://127.0.0.1", Identity(None, missing, missing))


APPS = {
    "resources": [
        {"name": "deployments", "kind": "Deployment", "namespaced": True},
        {"name": "deployments/scale", "kind": "Scale", "namespaced": True},
    ]
}
CORE = {"resources": [{"name": "namespaces", "kind": "Namespace", "namespaced": False}]}


def test_a_kind_is_asked_for_once(server: ApiServer, client: Client) -> None:
    bodies = {"/apis/apps/v1": APPS, "/api/v1": CORE}
    server.answer = lambda request: Reply(body=bodies[request.path])
    discovery = Discovery(client)
    for _ in range(3):
        assert discovery.resource("apps/v1", "Deployment") == Resource("apps", "v1", "deployments", True)
        assert discovery.resource("v1", "Namespace") == Resource("", "v1", "namespaces", False)
    assert [request.path for request in server.requests] == ["/apis/apps/v1", "/api/v1"]


def test_a_kind_that_comes_later_is_found_after_a_pause(
    server: ApiServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_MISSING_SECONDS", 0.2)
    answers = [refused(404, "NotFound"), Reply(body={"resources": []}), Reply(body=APPS)]
    server.answer = lambda request: answers.pop(0)
    discovery = Discovery(client)
    for asked in (1, 2):
        for _ in range(3):
            with pytest.raises(UnknownKind, match=r"no kind Deployment in apps/v1"):
                discovery.resource("apps/v1", "Deployment")
        assert len(server.requests) == asked
        time.sleep(0.25)
    assert discovery.resource("apps/v1", "Deployment").plural == "deployments"


def test_what_is_forgotten_is_asked_for_again(server: ApiServer, client: Client) -> None:
    server.answer = lambda request: Reply(body=APPS)
    discovery = Discovery(client)
    discovery.resource("apps/v1", "Deployment")
    discovery.forget("apps/v1")
    discovery.resource("apps/v1", "Deployment")
    assert len(server.requests) == 2


def test_subresources_are_no_kinds(server: ApiServer, client: Client) -> None:
    server.answer = lambda request: Reply(body=APPS)
    with pytest.raises(UnknownKind):
        Discovery(client).resource("apps/v1", "Scale")


@pytest.mark.parametrize("status", [403, 500])
def test_a_refused_discovery_is_no_unknown_kind(server: ApiServer, client: Client, status: int) -> None:
    server.answer = lambda request: refused(status, "x")
    with pytest.raises(ApiError):
        Discovery(client).resource("apps/v1", "Deployment")


NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
DEPLOYMENTS = Resource("apps", "v1", "deployments", namespaced=True)


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "path"),
    [
        (NAMESPACES, "", "", "/api/v1/namespaces"),
        (NAMESPACES, "ignored", "a", "/api/v1/namespaces/a"),
        (DEPLOYMENTS, "", "", "/apis/apps/v1/deployments"),
        (DEPLOYMENTS, "n", "", "/apis/apps/v1/namespaces/n/deployments"),
        (DEPLOYMENTS, "n", "a.b", "/apis/apps/v1/namespaces/n/deployments/a.b"),
        (DEPLOYMENTS, "", "a", "/apis/apps/v1/namespaces/default/deployments/a"),
        (NAMESPACES, "", "system:a", "/api/v1/namespaces/system:a"),
        (NAMESPACES, "", "a?b=c#d e", "/api/v1/namespaces/a%3Fb%3Dc%23d%20e"),
    ],
)
def test_a_path_is_the_apis(resource: Resource, namespace: str, name: str, path: str) -> None:
    assert path_of(resource, namespace, name) == path


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../secrets", "a%2fb"])
def test_nothing_in_a_name_leads_to_another_path(name: str) -> None:
    for arguments in ((DEPLOYMENTS, "n", name), (DEPLOYMENTS, name, "a")):
        with pytest.raises(ApiError) as error:
            path_of(*arguments)
        assert error.value.status == 422


@pytest.mark.parametrize("version", ["", "..", "a/b/c", "apps/..", "apps/", "/v1"])
def test_nothing_in_an_api_version_leads_to_another_path(client: Client, version: str) -> None:
    with pytest.raises(ApiError):
        Discovery(client).resource(version, "Deployment")


def test_a_name_is_one_segment_of_a_path_whatever_is_in_it() -> None:
    assert path_to("/api/v1/namespaces", "n", "secrets", "a.b") == "/api/v1/namespaces/n/secrets/a.b"
    assert path_to("/api/v1/nodes", "a?watch=true&x=#") == "/api/v1/nodes/a%3Fwatch%3Dtrue%26x%3D%23"
    for name in ("", ".", "..", "a/b", "a%2fb"):
        with pytest.raises(ApiError, match="is not a valid name") as caught:
            path_to("/api/v1/nodes", name)
        assert caught.value.status == 422
