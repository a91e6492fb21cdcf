"""What the values of the keys of snapshots may look like."""

import base64
import re
from collections.abc import Callable

import pytest

from rke2_units.config import snapshot_grammar
from rke2_units.errors import ConfigurationError
from rke2_units.unit_names import Role
from tests.unit.configs import make_config

PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n").decode()

GOOD: list[tuple[Callable[[str], object], list[str]]] = [
    (snapshot_grammar.name, ["etcd-snapshot", "7", "a.b_c-", "x" * 128]),
    (snapshot_grammar.directory, ["/mnt/backup", "/mnt", "/tmpfs", "/var/lib/rancher/rke2/server/db/x"]),
    (snapshot_grammar.endpoint, ["s3.amazonaws.com", "a:9000", "192.0.2.1", "[2001:db8::1]:9000"]),
    (snapshot_grammar.authorities, ["/etc/ca.pem", PEM, f"/etc/ca.pem  {PEM} /etc/b"]),
    (snapshot_grammar.bucket, ["abc", "my.bucket-1", "A_b", "x" * 255]),
    (snapshot_grammar.region, ["us-east-1", "r", "EU"]),
    (snapshot_grammar.time_limit, ["1s", "24h"]),
    (snapshot_grammar.folder, ["a", "a/b", "/a/", "..a"]),
    (
        snapshot_grammar.proxy,
        ["none", "http://proxy:3128", "https://me:p@ss@proxy.example/", "http://[2001:db8::1]:3128"],
    ),
]
BAD: list[tuple[Callable[[str], object], list[str], str]] = [
    (snapshot_grammar.name, ["-a", ".a", "a/b", "a b", "ä", "x" * 129], "at most 128 letters"),
    (snapshot_grammar.directory, ["backup", "/", "/a b", "/a/../b", "/a%b"], "an absolute path"),
    (
        snapshot_grammar.directory,
        ["/tmp", "/tmp/a", "/var/tmp/a", "/run/a", "/dev/shm/a"],
        "a folder whose files are kept",
    ),
    (snapshot_grammar.endpoint, ["http://a", "https://a:9000"], "HOST or HOST:PORT, without http://"),
    (snapshot_grammar.endpoint, ["a/b", "a:0", "a:b", "u@a", "[::1"], "HOST or HOST:PORT, such as"),
    (
        snapshot_grammar.authorities,
        [" ", "ca.pem", "/etc/ca.pem, x", base64.b64encode(b"x").decode(), PEM[:-2]],
        "absolute paths of PEM files",
    ),
    (snapshot_grammar.bucket, ["a", "s3://abc", "a/b", "-abc", "a:b", "x" * 256], "a bucket's name"),
    (snapshot_grammar.region, ["1", "-a", "a_b", "a.b", "x" * 64], "a region such as us-east-1"),
    (snapshot_grammar.time_limit, ["25h", "1000000h"], "a duration of at most 24h"),
    (snapshot_grammar.time_limit, ["0", "999ms"], "a duration of at least 1s"),
    (snapshot_grammar.folder, ["..", "a/../b", "./a"], "a folder without"),
    (
        snapshot_grammar.proxy,
        ["proxy", "proxy:3128", "http://", "ftp://proxy", "http://proxy:0", "http://a/b", "NONE"],
        "a URL with scheme and host",
    ),
]


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in GOOD for text in texts])
def test_well_formed_values_are_accepted(check: Callable[[str], object], text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    ("check", "text", "must_be"), [(check, text, must_be) for check, texts, must_be in BAD for text in texts]
)
def test_other_values_are_refused_with_what_they_must_be(
    check: Callable[[str], object], text: str, must_be: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(must_be)):
        check(text)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("etcd-snapshot-retention", "many", "must be a whole number, got 'many'"),
        ("etcd-snapshot-reconcile-interval", "10", "must be a duration such as 10m"),
        ("etcd-snapshot-reconcile-interval", "500ms", "must be a duration of at least 1s"),
        ("etcd-snapshot-schedule-cron", "0 25 * * *", "must be a cron expression whose hour has numbers"),
        ("etcd-snapshot-name", "a/b", "must be at most 128 letters"),
        ("etcd-snapshot-dir", "backup", "must be an absolute path"),
        ("etcd-s3-bucket-lookup-type", "host", "must be one of auto, dns, path"),
        ("etcd-s3-endpoint", "https://a", "must be HOST or HOST:PORT, without http://"),
        ("etcd-s3-timeout", "0", "must be a duration of at least 1s"),
        ("etcd-s3-retention", "1.5", "must be a whole number"),
        ("etcd-s3-config-secret", "A_b", "must be a DNS name"),
        ("etcd-snapshot-compress", "yes please", "must be true or false"),
    ],
)
def test_every_key_names_what_is_wrong(key: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        make_config(Role.SERVER, {key: value})
    assert str(error.value).startswith(f"test: {key} {problem}")


def test_a_proxys_password_is_in_no_error() -> None:
    with pytest.raises(ConfigurationError) as error:
        make_config(Role.SERVER, {"etcd-s3-proxy": "me:hunter2@proxy"})
    assert "hunter2" not in str(error.value)
