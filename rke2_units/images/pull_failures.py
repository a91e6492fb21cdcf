"""Turns skopeo's messages about a failed pull into one clear cause."""

import json
import re

from rke2_units import printable


class Failure:
    """Why a pull failed: a cause, and skopeo's own last words.

    `again`: worth a retry at the same endpoint; `local`: no other endpoint would help.
    """

    def __init__(self, cause: str, words: str, *, again: bool = False, local: bool = False) -> None:
        self.cause = cause
        self.words = words
        self.again = again
        self.local = local

    def __str__(self) -> str:
        return f"{self.cause} ({self.words})" if self.cause else self.words


# A regular expression for skopeo's words, the cause (\1: a part of the words), and what kind it is. The
# first that is found decides.
_CAUSES = (
    ("no space left on device", "the disk is full", "local"),
    ("read-only file system", "the disk cannot be written to", "local"),
    (r"no such host|server misbehaving|name resolution|\blookup \S+ on ", "its name cannot be resolved", ""),
    ("proxyconnect", "the proxy cannot be reached", ""),
    ("connection refused", "it refuses connections", ""),
    ("no route to host|network is unreachable", "it cannot be reached", ""),
    (r"remote error: tls: (.*)", r"it rejects this node as a TLS client: \1", ""),
    ("x509: |tls: failed to verify", "its certificate is not trusted", ""),
    ("HTTP response to HTTPS client", "it speaks http, not https", ""),
    (
        "digest did not match|does not match provided manifest digest",
        "the data does not match its digest",
        "",
    ),
    (r"toomanyrequests|too many requests|status\D{0,30}429\b", "it received too many requests (429)", ""),
    (r"status\D{0,30}(5\d\d\b[^,;]*)", r"it answers with an error, \1", "again"),
    (
        r"unauthorized|authentication required|invalid username/password|status\D{0,30}401\b",
        "it rejects the credentials (401)",
        "",
    ),
    (r"denied|forbidden|status\D{0,30}403\b", "it denies access (403)", ""),
    (r"(manifest|name|repository name) (un|not )known|status\D{0,30}404\b", "it lacks the image (404)", ""),
    (r"no image found in .* for architecture (.*)", r"it lacks the image for \1", ""),
    ("unexpected EOF|connection reset|broken pipe|: EOF$", "it closed the connection", "again"),
    ("i/o timeout|deadline exceeded|handshake timeout|timed out", "it does not answer in time", ""),
)


def explain(words: str) -> Failure:
    """The cause behind skopeo's last words; without a known one the words alone."""
    for pattern, cause, kind in _CAUSES:
        match = re.search(pattern, words, re.IGNORECASE)
        if match:
            return Failure(match.expand(cause).strip(), words, again=kind == "again", local=kind == "local")
    return Failure("", words)


def last_words(line: str) -> str:
    """skopeo's message out of its line `time="..." level=fatal msg="..."`, without what is said anyway."""
    match = re.search(r'\bmsg=("(?:[^"\\]|\\.)*")', line)
    if match:
        try:
            line = str(json.loads(match[1]))
        except ValueError:
            line = match[1].strip('"')
    line = re.sub(r'^(Error parsing image name|initializing source) "?docker://[^ "]*"?: ', "", line)
    # It may quote the registry: no control characters may reach a terminal.
    return printable.line(line)
