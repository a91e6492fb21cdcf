import ssl
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from rke2_units.doors import web
from rke2_units.doors.web import Answer, NoAnswer
from tests.unit.doors.web_server import content, redirection, served

Certificate = tuple[Path, ssl.SSLContext]


def ask(url: str, context: ssl.SSLContext | None = None) -> Answer:
    return web.get(f"{url}/", context, timeout=5, patience=5, limit=100)


def trusting(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return context


def test_nothing_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    headers: list[dict[str, str]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        headers.append({name.lower(): value for name, value in request.headers.items()})
        content(b"ok")(request)

    (tmp_path / "netrc").write_text("default login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with served({"/": answer}) as url:
        assert ask(url).body == b"ok"
    assert headers[0]["user-agent"].startswith("rke2-units/")
    assert headers[0].keys() == {"host", "user-agent", "accept-encoding"}
    assert headers[0]["accept-encoding"] == "identity"


def test_the_context_alone_says_whom_to_trust(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, context = certificate
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(path))
    with served({"/": content(b"ok")}, context) as url:
        assert ask(url, trusting(path)).body == b"ok"
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with pytest.raises(NoAnswer, match="certificate not accepted: ") as caught:
            ask(url, nobody)
        assert isinstance(caught.value.cause, ssl.SSLCertVerificationError)
        assert nobody.get_ca_certs() == [] and nobody.verify_mode is ssl.CERT_REQUIRED


def test_the_certificate_has_to_be_for_the_host_that_was_asked_for(certificate: Certificate) -> None:
    path, context = certificate
    with served({"/": content(b"ok")}, context) as url:
        with pytest.raises(NoAnswer, match="(?i)hostname mismatch"):
            ask(url.replace("127.0.0.1", "localhost"), trusting(path))


def test_a_context_may_trust_anybody(certificate: Certificate) -> None:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    with served({"/": content(b"ok")}, certificate[1]) as url:
        assert ask(url, anybody).body == b"ok"


def test_redirections_are_answers() -> None:
    with served({"/": redirection("/other")}) as url:
        answer = ask(url)
    assert (answer.status, answer.headers["location"]) == (302, "/other")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_of_a_refusal_the_beginning_is_read(status: int) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Location", "/")
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"x" * 10000)
        except OSError:
            pass  # Nobody reads on.

    with served({"/": endless}) as url:
        answer = ask(url)
    assert (answer.status, answer.body) == (status, b"x" * 100)


def test_what_is_no_answer_is_told_in_one_line() -> None:
    def nonsense(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    with served({"/": nonsense}) as url:
        with pytest.raises(NoAnswer, match="^no valid answer .BadStatusLine.$"):
            ask(url)
        with pytest.raises(NoAnswer, match="^no TLS connection .wrong version number.$"):
            ask(url.replace("http:", "https:"), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with pytest.raises(NoAnswer, match="^Connection refused$"):
        ask("http://127.0.0.1:9")
