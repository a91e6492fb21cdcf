"""What skopeo 1.9 and 1.18 say."""

import pytest

from rke2_units.images.pull_failures import explain, last_words

PING = 'pinging container registry r.local: Get "https://r.local/v2/": '
READ = "reading manifest 3.2 in r.local/rancher/pause: "
BLOB = "reading blob sha256:99: Error fetching blob: invalid status code from registry "
WRITE = "writing blob: happened during read: "

FINAL = {
    "it refuses connections": [PING + "dial tcp 10.9.9.9:443: connect: connection refused"],
    "its name cannot be resolved": [
        PING + "dial tcp: lookup r.local on 10.0.0.1:53: no such host",
        PING + "dial tcp: lookup r.local: Temporary failure in name resolution",
        PING + "dial tcp: lookup r.local on 10.0.0.1:53: read: connection refused",
    ],
    "it does not answer in time": [
        PING + "dial tcp 10.9.9.9:443: i/o timeout",
        PING + "net/http: TLS handshake timeout",
    ],
    "it cannot be reached": [PING + "dial tcp 10.9.9.9:443: connect: no route to host"],
    "the proxy cannot be reached": [
        PING + "proxyconnect tcp: dial tcp 10.0.0.2:3128: connect: connection refused"
    ],
    "its certificate is not trusted": [
        PING + "x509: certificate signed by unknown authority",
        PING + "tls: failed to verify certificate: x509: certificate has expired",
    ],
    "it rejects this node as a TLS client: bad certificate": [PING + "remote error: tls: bad certificate"],
    "it speaks http, not https": [PING + "http: server gave HTTP response to HTTPS client"],
    "it lacks the image (404)": [
        READ + "manifest unknown: manifest unknown",
        READ + "name unknown: repository name not known to registry",
        BLOB + "404 (Not Found)",
    ],
    "it rejects the credentials (401)": [
        READ + "unauthorized: authentication required",
        READ + "authentication required",
        "unable to retrieve auth token: invalid username/password: unauthorized",
    ],
    "it denies access (403)": [READ + "denied: requested access to the resource is denied"],
    "it received too many requests (429)": [
        READ + "toomanyrequests: You have reached your pull rate limit",
        BLOB + "429 (Too Many Requests)",
    ],
    "the data does not match its digest": [
        WRITE + "Digest did not match, expected sha256:99, got sha256:34",
        "Manifest does not match provided manifest digest sha256:60",
    ],
    'it lacks the image for arm64, variant "", OS linux': [
        'no image found in manifest list for architecture arm64, variant "", OS linux',
        'no image found in image index for architecture arm64, variant "", OS linux',
    ],
}
AGAIN = {
    "it answers with an error, 500 Internal Server Error": [
        READ + "received unexpected HTTP status: 500 Internal Server Error"
    ],
    "it answers with an error, 503 (Service Unavailable)": [BLOB + "503 (Service Unavailable)"],
    "it closed the connection": [
        WRITE + "unexpected EOF",
        WRITE + "unexpected EOF (after reconnecting, server did not process a Range: header, status 200)",
        WRITE + "read tcp 10.0.0.1:4->10.0.0.2:5: read: connection reset by peer",
        PING + "EOF",
    ],
}
LOCAL = {"the disk is full": ["writing blob: write /x/dir-put-blob106: no space left on device"]}


@pytest.mark.parametrize(
    ("words", "cause", "kind"),
    [
        (words, cause, kind)
        for kind, causes in (("", FINAL), ("again", AGAIN), ("local", LOCAL))
        for cause, several in causes.items()
        for words in several
    ],
)
def test_what_skopeo_says_gets_a_cause(words: str, cause: str, kind: str) -> None:
    failure = explain(words)
    assert str(failure) == f"{cause} ({words})"
    assert (failure.again, failure.local) == (kind == "again", kind == "local")


@pytest.mark.parametrize("words", ["something new", "something with r:5404/a/manifest-404:v500"])
def test_what_is_not_known_is_passed_on(words: str) -> None:
    assert str(explain(words)) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            r'time="2026" level=fatal msg="Error parsing image name \"docker://r.local/a:1\": READ: x"',
            "READ: x",
        ),
        ('time="2026" level=fatal msg="initializing source docker://r.local/a:1: READ: x"', "READ: x"),
        (r'time="2026" level=fatal msg="one\ntwo"', "one two"),
        (r'time="2026" level=fatal msg="odd \x00"', r"odd \x00"),
        (r'level=fatal msg="toomanyrequests: \u001b[2Jgone"', "toomanyrequests: [2Jgone"),
        ("FATA[0000] on a terminal", "FATA[0000] on a terminal"),
        ("exit code 137", "exit code 137"),
    ],
)
def test_skopeos_line_is_reduced_to_its_message(line: str, words: str) -> None:
    assert last_words(line) == words
