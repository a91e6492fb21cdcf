import ssl
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from rke2_units.doors.download import download
from rke2_units.errors import UserError
from tests.unit.doors.web_server import content, redirection, served


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def fails(url: str, cause: str, *, limit: int = 100, timeout: float = 5, patience: float = 60) -> None:
    with pytest.raises(UserError) as error:
        download(url, limit=limit, timeout=timeout, patience=patience)
    assert error.value.message.startswith(f"cannot fetch {url}")
    assert cause in error.value.message
    assert "\n" not in error.value.message


def test_a_file_is_fetched_whole() -> None:
    with served({"/a%2Bb": content(b"x" * 100), "/unknown-length": content(b"y", length=-1)}) as url:
        assert download(f"{url}/a%2Bb", limit=100) == b"x" * 100
        assert download(f"{url}/unknown-length", limit=100) == b"y"


def test_what_is_missing_is_told_with_the_servers_answer() -> None:
    with served({}) as url:
        fails(f"{url}/missing", "HTTP 404 Not Found")


def test_what_is_too_large_is_not_fetched() -> None:
    with served({"/": content(b"x" * 101), "/endless": content(b"x" * 500_000, length=-1)}) as url:
        fails(f"{url}/", "larger than 100 bytes")
        fails(f"{url}/endless", "larger than 100 bytes")


def test_half_a_file_is_no_file() -> None:
    with served({"/": content(b"half", length=8)}) as url:
        fails(f"{url}/", "cut after 4 bytes")


def test_a_silent_server_is_not_waited_for_without_end() -> None:
    ended = threading.Event()

    def wait(request: BaseHTTPRequestHandler) -> None:
        ended.wait(10)

    with served({"/": wait}) as url:
        fails(f"{url}/", "no answer", timeout=0.2)
        ended.set()


def test_a_server_that_drips_is_not_waited_for_without_end() -> None:
    ended = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "90")
        request.end_headers()
        while not ended.wait(0.02):
            request.wfile.write(b"x")

    with served({"/": drip}) as url:
        fails(f"{url}/", "no answer in time", patience=0.2)
        ended.set()


def test_nobody_listening_is_told() -> None:
    fails("http://127.0.0.1:9/x", "Connection refused")


def test_redirections_are_followed() -> None:
    answers = {"/from": redirection("/between"), "/between": redirection("to"), "/to": content(b"there")}
    with served(answers) as url:
        assert download(f"{url}/from", limit=100) == b"there"


def test_redirections_in_a_circle_end() -> None:
    with served({"/": redirection("/")}) as url:
        fails(f"{url}/", "more than 5 redirections")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "//"])
def test_a_redirection_leads_nowhere_but_to_the_web(target: str) -> None:
    with served({"/": redirection(target)}) as url:
        fails(f"{url}/", "")


def test_https_needs_a_certificate_that_is_trusted(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = certificate
    with served({"/": content(b"secure")}, context) as url:
        fails(f"{url}/", "certificate")
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        assert download(f"{url}/", limit=100) == b"secure"


def test_https_is_not_left_by_a_redirection(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with served({"/": content(b"plain")}) as plain, served({"/": redirection(plain)}, context) as url:
        fails(f"{url}/", "redirected to a URL that is not https")


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with served({"http://elsewhere.invalid/file": content(b"through the proxy")}) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert download("http://elsewhere.invalid/file", limit=100) == b"through the proxy"
        monkeypatch.setenv("no_proxy", "elsewhere.invalid")
        fails("http://elsewhere.invalid/file", "Name or service not known")
