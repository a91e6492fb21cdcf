"""What the supervisor is told, and the TLS that it makes of it."""

import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rke2_units.errors import ConfigurationError
from rke2_units.join_api import settings, tls

from .conftest import Api, running

VALID = {
    "node_name": "one",
    "node_ips": ["192.0.2.5"],
    "kubernetes": {"url": "https://127.0.0.1:6443"},
    "config": {"HTTPSPort": 6443},
    "min_tls_version": "VersionTLS12",
    "cipher_suites": [],
    "etcdctl": "",
    "etcd_url": "https://127.0.0.1:2379",
    "static": "/static",
    "apiservers_fallback": ["192.0.2.5:6443"],
    "connections": 256,
}


def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> settings.Settings:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "settings.json").write_text(json.dumps({**VALID, **changes}))
    return settings.read(str(tmp_path / "settings.json"))


def test_the_file_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(tmp_path, monkeypatch)
    assert found.kubernetes_url == "https://127.0.0.1:6443"
    assert (found.config, found.connections) == ({"HTTPSPort": 6443}, 256)
    assert found.credentials.read("passwd") == b""
    with pytest.raises(ConfigurationError, match="the credential passwd is missing"):
        found.credentials.text("passwd")


@pytest.mark.parametrize(
    "changes",
    [{"connections": 0}, {"connections": "1"}, {"config": []}, {"node_ips": "a"}, {"kubernetes": {}}],
    ids=str,
)
def test_what_the_plan_does_not_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationError):
        read(tmp_path, monkeypatch, **changes)


def test_without_systemd_it_says_how_it_is_started(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(VALID))
    command = [sys.executable, "-m", "rke2_units.join_api", "--settings", str(tmp_path / "settings.json")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CREDENTIALS")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 78
    assert (
        done.stderr
        == "systemd passed no credentials (start this program with systemctl start rke2-supervisor)\n"
    )
    done = subprocess.run(
        command, capture_output=True, text=True, env={**environment, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    )
    assert done.returncode == 78 and "no listening socket" in done.stderr


def test_the_process_begins_without_the_libraries_that_it_can_do_without() -> None:
    libraries = {"click", "cryptography", "jinja2", "pystemd", "requests", "yaml"}
    code = f"import sys, rke2_units.join_api.__main__; print(*sorted({libraries!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_suite_that_is_offered_is_one_that_openssl_has() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(tls.suites(()))
    found = {suite["name"] for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.2"}
    assert found == set(tls.suites(()).split(":"))


def test_suites_without_forward_secrecy_are_left_out() -> None:
    names = ("TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")
    assert tls.suites(names) == "ECDHE-ECDSA-AES256-GCM-SHA384"
    with pytest.raises(ConfigurationError, match="none of the suites in tls-cipher-suites"):
        tls.suites(names[:1])
    assert tls.suites(("TLS_AES_128_GCM_SHA256",)) == tls.suites(())


@pytest.mark.parametrize(
    ("configured", "spoken", "works"),
    [
        ("VersionTLS12", ssl.TLSVersion.TLSv1_2, True),
        ("VersionTLS12", ssl.TLSVersion.TLSv1_3, True),
        ("VersionTLS13", ssl.TLSVersion.TLSv1_2, False),
        ("VersionTLS13", ssl.TLSVersion.TLSv1_3, True),
        ("VersionTLS10", ssl.TLSVersion.TLSv1_2, True),
    ],
)
def test_tls_is_as_new_as_configured(
    material: Path, api: Api, configured: str, spoken: ssl.TLSVersion, works: bool
) -> None:
    with running(material, api, min_tls_version=configured) as supervisor:
        context = supervisor.tls()
        context.maximum_version = context.minimum_version = spoken
        with supervisor.connect() as connection:
            try:
                with context.wrap_socket(connection, server_hostname="127.0.0.1") as wrapped:
                    assert works and wrapped.version() == spoken.name.replace("_", ".")
            except ssl.SSLError:
                assert not works


def test_a_certificate_of_a_stranger_is_refused(material: Path, api: Api) -> None:
    with running(material, api) as supervisor:
        for suffix in ("crt", "key"):
            own = (supervisor.credentials / f"serving.{suffix}").read_bytes()
            (material / f"stranger.{suffix}").write_bytes(own)
        with pytest.raises(OSError):
            supervisor.ask("/v1-rke2/config", client="stranger", user="node")
        # The refusal is sent first.
        deadline = time.monotonic() + 5
        while not supervisor.journal and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "127.0.0.1 failed the TLS handshake" in supervisor.journal
