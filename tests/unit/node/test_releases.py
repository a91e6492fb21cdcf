import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.node import releases
from rke2_units.release.table import DEFAULT, RELEASES

NAME = "v1.34.2+rke2r1"
CORE = """docker.io/rancher/rke2-runtime:v1.34.2-rke2r1
docker.io/rancher/hardened-kubernetes:v1.34.2-rke2r1-build20251112
docker.io/rancher/hardened-etcd:v3.6.5-k3s1-build20251017
docker.io/rancher/mirrored-pause:3.6
"""
CANAL = "docker.io/rancher/hardened-flannel:v0.27.4-build20251015\n"
CORE_FILE = "rke2-images-core.linux-amd64.txt"
SUMS = "sha256sum-amd64.txt"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "releases"
    monkeypatch.setattr(releases, "RELEASES_DIRECTORY", str(folder))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """A server's URL, its files by path, and what it was asked for."""
    served: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = served.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{http.server_port}/releases", served, asked
        http.shutdown()


@pytest.fixture
def artefacts(server: tuple[str, dict[str, bytes], list[str]]) -> tuple[str, dict[str, bytes], list[str]]:
    server[1].clear()
    server[2].clear()
    return server


def publish(served: dict[str, bytes], lists: dict[str, bytes]) -> None:
    folder = "/releases/v1.34.2%2Brke2r1"
    sums = "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in lists.items())
    served.update({f"{folder}/{name}": text for name, text in lists.items()})
    served[f"{folder}/{SUMS}"] = sums.encode()


def fetch(url: str) -> releases.Fetched:
    return releases.fetch(NAME, url, "amd64", lambda line: None)


def test_a_release_is_fetched_with_all_lists_that_the_checksums_name(
    artefacts: tuple[str, dict[str, bytes], list[str]], kept: Path
) -> None:
    url, served, asked = artefacts
    publish(
        served,
        {
            CORE_FILE: CORE.encode(),
            "rke2-images-canal.linux-amd64.txt": CANAL.encode(),
            "rke2-images.linux-amd64.txt": (CORE + CANAL).encode(),
            "rke2-images-all.linux-amd64.txt": (CORE + CANAL).encode(),
            "rke2-images-core.linux-arm64.txt": b"",
            "rke2.linux-amd64.tar.gz": b"",
        },
    )
    fetched = fetch(url)
    assert fetched.release.etcd == (3, 6, 5)
    assert dict(fetched.release.lists) == {
        "core": tuple(sorted(CORE.split())),
        "canal": tuple(CANAL.split()),
    }
    assert fetched.source == f"{url}/v1.34.2%2Brke2r1"
    assert [path.rpartition("/")[2] for path in asked] == [
        SUMS,
        "rke2-images-canal.linux-amd64.txt",
        CORE_FILE,
    ]
    assert not kept.exists()


def test_a_release_from_before_the_core_list_is_fetched_too(
    artefacts: tuple[str, dict[str, bytes], list[str]],
) -> None:
    url, served, _ = artefacts
    publish(served, {"rke2-images.linux-amd64.txt": (CORE + CANAL).encode()})
    assert set(fetch(url).release.lists) == {"all"}


def test_what_was_fetched_is_kept_for_everyone_to_read_and_found_again(
    artefacts: tuple[str, dict[str, bytes], list[str]], kept: Path
) -> None:
    url, served, _ = artefacts
    publish(served, {CORE_FILE: CORE.encode()})
    fetched = fetch(url)
    with pytest.raises(ConfigurationError, match=r"run: rke2-units release fetch v1\.34\.2\+rke2r1"):
        releases.find(NAME)
    assert releases.keep(fetched)
    assert not releases.keep(fetched)
    assert (kept / f"{NAME}.json").stat().st_mode & 0o777 == 0o644
    assert releases.read(NAME) == fetched
    assert releases.find(NAME) == fetched.release
    assert releases.fetched_names() == (NAME,)


def wrong_checksum(served: dict[str, bytes]) -> None:
    served[f"/releases/v1.34.2%2Brke2r1/{CORE_FILE}"] += b"docker.io/rancher/evil:1\n"


def no_checksums(served: dict[str, bytes]) -> None:
    del served[f"/releases/v1.34.2%2Brke2r1/{SUMS}"]


def missing_list(served: dict[str, bytes]) -> None:
    del served[f"/releases/v1.34.2%2Brke2r1/{CORE_FILE}"]


def html(served: dict[str, bytes]) -> None:
    served[f"/releases/v1.34.2%2Brke2r1/{SUMS}"] = b"<html>sign in</html>"


def no_list(served: dict[str, bytes]) -> None:
    publish(served, {"rke2.linux-amd64": b""})


def no_text(served: dict[str, bytes]) -> None:
    publish(served, {CORE_FILE: CORE.encode() + b"\xff\n"})


def half(served: dict[str, bytes]) -> None:
    publish(served, {CORE_FILE: CORE.encode()[:100]})


def too_large(served: dict[str, bytes]) -> None:
    publish(served, {CORE_FILE: CORE.encode() + b"#" * (1 << 20)})


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (wrong_checksum, "does not match"),
        (no_checksums, "HTTP 404"),
        (missing_list, "HTTP 404"),
        (html, "not a line of a sha256sum file"),
        (no_list, "names no image list for amd64"),
        (no_text, "is not plain text"),
        (half, "lacks rancher/hardened-etcd"),
        (too_large, "larger than"),
    ],
)
def test_what_is_not_whole_or_not_right_is_refused_with_its_place(
    spoil: object, cause: str, artefacts: tuple[str, dict[str, bytes], list[str]], kept: Path
) -> None:
    url, served, _ = artefacts
    publish(served, {CORE_FILE: CORE.encode()})
    assert callable(spoil)
    spoil(served)
    with pytest.raises(UserError) as error:
        fetch(url)
    assert error.value.message.startswith(f"cannot fetch release {NAME}: ")
    assert cause in error.value.message
    assert error.value.hint
    assert not kept.exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_no_answer_of_a_server_makes_anything_but_an_error_of_one_line(
    artefacts: tuple[str, dict[str, bytes], list[str]], first: bytes, second: bytes
) -> None:
    url, served, _ = artefacts
    for sums, text in ((first, b""), (None, second)):
        publish(served, {CORE_FILE: text})
        if sums is not None:
            served[f"/releases/v1.34.2%2Brke2r1/{SUMS}"] = sums
        with pytest.raises(UserError) as error:
            fetch(url)
        assert "\n" not in error.value.message


def test_a_server_that_is_not_there_is_told_with_another_way() -> None:
    with pytest.raises(UserError) as error:
        fetch("http://127.0.0.1:9/releases")
    assert "Connection refused" in error.value.message
    assert "--from FILE" in (error.value.hint or "")


def test_a_release_comes_out_of_files(tmp_path: Path) -> None:
    core, canal = tmp_path / CORE_FILE, tmp_path / "rke2-images-canal.linux-amd64.txt"
    core.write_text(CORE)
    canal.write_text(CANAL)
    fetched = releases.of_files(NAME, [str(core), str(canal)])
    assert set(fetched.release.lists) == {"core", "canal"}
    assert fetched.source == f"{core}, {canal}"


def test_a_file_of_any_name_counts_as_a_list_of_everything(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(CORE)
    assert set(releases.of_files(NAME, [str(tmp_path / "mine.txt")]).release.lists) == {"all"}


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"x" * ((1 << 20) + 1), CANAL.encode()])
def test_a_file_that_is_no_image_list_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"list\.txt|lacks"):
        releases.of_files(NAME, [str(path)])


def test_what_is_built_in_is_neither_fetched_nor_replaced(kept: Path) -> None:
    with pytest.raises(ConfigurationError, match="is built in"):
        releases.fetch(DEFAULT, "http://127.0.0.1:9", "amd64", print)
    with pytest.raises(ConfigurationError, match="is built in"):
        releases.of_files(DEFAULT, ["/nowhere"])
    kept.mkdir()
    (kept / f"{DEFAULT}.json").write_text("nonsense")
    assert releases.find(DEFAULT) is RELEASES[DEFAULT]


@pytest.mark.parametrize("name", ["../../etc/passwd", "nonsense", "", "v1.34.2+k3s1"])
def test_what_is_no_release_is_looked_for_nowhere(name: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown release"):
        releases.find(name)
    with pytest.raises(ConfigurationError, match="unknown release"):
        releases.fetch(name, "http://127.0.0.1:9", "amd64", print)


GOOD = json.dumps({"release": NAME, "source": "x", "lists": {"core": CORE.split()}})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        GOOD[:-5],
        GOOD.replace("v1.34.2-rke2r1", "v1.34.3-rke2r1"),
        json.dumps({"source": "x", "lists": []}),
        json.dumps({"source": "x", "lists": {"core": 7}}),
        json.dumps({"source": "x", "lists": {"core": [7]}}),
        json.dumps({"source": "x", "lists": {"core": ["a b"]}}),
    ],
)
def test_a_damaged_record_is_told_with_its_path(content: str, kept: Path) -> None:
    kept.mkdir()
    (kept / f"{NAME}.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"v1\.34\.2\+rke2r1\.json is damaged") as error:
        releases.find(NAME)
    assert error.value.hint == f"fetch it again: rke2-units release fetch {NAME}"
