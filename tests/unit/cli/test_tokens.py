"""rke2-units token: what is printed, what is told, and what never reaches a command line or a list."""

import hashlib
import io
import json
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rke2_units.certificates import token
from rke2_units.cli import tokens
from rke2_units.cli.invoke import invoke
from rke2_units.cluster import token_rotation
from rke2_units.cluster.token_rotation import Rotation
from rke2_units.doors.kubernetes import Client
from rke2_units.errors import ExitCode
from rke2_units.layout import Paths
from rke2_units.lean.etcd import Etcd
from rke2_units.node import installation
from rke2_units.node.installation import Installation
from rke2_units.plan import controllers_settings
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.kubernetes_api import ApiServer, Reply, Store, served
from tests.unit.plan.cases import make_node

BUNDLE = "the authority"
HASH = hashlib.sha256(BUNDLE.encode()).hexdigest()
GIVEN = "abcdef.0123456789abcdef"
SECRETS = "/api/v1/namespaces/kube-system/secrets"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A server, whose root runs the command."""
    paths = Paths(os.fspath(tmp_path))
    os.makedirs(paths.tls)
    Path(f"{paths.tls}/server-ca.crt").write_text(BUNDLE)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        installation, "read", lambda root="/": Installation(Role.SERVER, "v1.36.4+rke2r1", paths.data)
    )
    monkeypatch.setattr(token, "authority_hash", lambda bundle: hashlib.sha256(bundle).hexdigest())
    return paths


@pytest.fixture
def server(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with served() as server:
        asked = []

        @contextmanager
        def admin(used: Paths) -> Iterator[Client]:
            asked.append(used)
            client = Client(server.url, timeout=5)
            yield client
            client.close()

        monkeypatch.setattr(tokens, "_admin", admin)
        yield server


def test_a_new_token_names_the_clusters_authority(server: ApiServer, capsys: Any) -> None:
    server.answer = Store()
    assert invoke(["token", "create", "--ttl", "90m", "--description", "rack 7"]) == 0
    printed = token.parse(capsys.readouterr().out.strip())
    said = server.requests[0].body["stringData"]
    assert printed.ca_hash == HASH
    assert printed.bootstrap == f"{said['token-id']}.{said['token-secret']}"
    assert said["auth-extra-groups"] == "system:bootstrappers:rke2:default-node-token"
    assert {said[f"usage-bootstrap-{usage}"] for usage in ("signing", "authentication")} == {"true"}
    expires = datetime.fromisoformat(said["expiration"]) - datetime.now(UTC)
    assert timedelta(minutes=89) < expires <= timedelta(minutes=90)


def test_a_token_of_ones_own_comes_from_a_file_or_standard_input(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    server.answer = lambda request: Reply(201, request.body)
    file = tmp_path / "token"
    file.write_text(f"\ufeff{GIVEN}\r\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{GIVEN}\n".encode())))
    for source in (os.fspath(file), "-"):
        assert invoke(["token", "create", "--ttl", "0", "--token-file", source]) == 0
        assert capsys.readouterr().out == f"K10{HASH}::{GIVEN}\n"
    assert "expiration" not in server.requests[0].body["stringData"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ttl", "a day"], "invalid --ttl 'a day' (examples: 24h, 90m, or 0 for no expiry)"),
        (["--usages", "signing,flying"], "unknown usage of a bootstrap token: flying"),
        (["--groups", "system:masters"], "'system:masters' is not a valid group"),
        (["--token-file", "/nowhere/token"], "--token-file /nowhere/token cannot be read"),
    ],
)
def test_what_cannot_be_a_token_is_refused(
    server: ApiServer, arguments: list[str], message: str, capsys: Any
) -> None:
    assert invoke(["token", "create", *arguments]) != 0
    assert message in capsys.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize("content", [b"", b" \n", b"a\nb", b"a\0b", "\u00e9".encode(), b"x" * 5000])
def test_a_file_that_holds_no_token_is_refused_unseen(
    paths: Paths, tmp_path: Path, content: bytes, capsys: Any
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert invoke(["token", "create", "--token-file", os.fspath(file)]) == ExitCode.FAILURE
    assert capsys.readouterr().err == (
        f"rke2-units: --token-file {file} does not hold a token: one line of ASCII text\n"
    )


LISTED = {
    "kind": "SecretList",
    "apiVersion": "v1",
    "metadata": {"resourceVersion": "1"},
    "items": [
        {
            "metadata": {"name": f"bootstrap-token-{name}", "resourceVersion": "1"},
            "data": {"token-secret": "c2VjcmV0", "expiration": expires, "description": "cmFjayA3"},
        }
        for name, expires in (("aaaaaa", ""), ("bbbbbb", "MjAwMC0wMS0wMVQwMDowMDowMFo="))
    ],
}


def test_the_list_shows_what_has_expired_and_no_secret(server: ApiServer, capsys: Any) -> None:
    server.answer = lambda request: Reply(body=LISTED)
    assert invoke(["token", "list"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[:2] for line in printed.splitlines()] == [
        ["ID", "EXPIRES"],
        ["aaaaaa", "never"],
        ["bbbbbb", "expired"],
    ]
    assert "rack 7" in printed and "secret" not in printed
    assert invoke(["token", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["expires"]) for row in rows] == [
        ("aaaaaa", None),
        ("bbbbbb", "2000-01-01T00:00:00+00:00"),
    ]


def test_tokens_are_deleted_when_all_of_them_are_named_well(server: ApiServer, capsys: Any) -> None:
    server.answer = lambda request: Reply()
    assert invoke(["token", "delete", "abcdef", GIVEN]) != 0
    assert server.requests == []
    assert invoke(["token", "delete", "abcdef", "bbbbbb"]) == 0
    assert [request.path for request in server.requests] == [
        f"{SECRETS}/bootstrap-token-{name}" for name in ("abcdef", "bbbbbb")
    ]
    assert GIVEN not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["list"], ["create"], ["delete", "abcdef"], ["rotate"]])
def test_tokens_are_made_on_servers_by_root(
    paths: Paths, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert invoke(["token", *arguments]) == ExitCode.FAILURE
    monkeypatch.setattr(installation, "read", lambda root="/": None)
    assert invoke(["token", *arguments]) == ExitCode.CONFIGURATION
    said = capsys.readouterr().err
    assert "managing tokens requires root" in said and "not a server of a cluster" in said


def test_a_server_that_was_never_started_is_told(paths: Paths, capsys: Any) -> None:
    assert invoke(["token", "list"]) == ExitCode.FAILURE
    assert "this server has never been started" in capsys.readouterr().err


class Rotated:
    """Takes the place of the rotation itself, and keeps what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: object) -> None:
        self.wanted: list[str] = []
        self.named: dict[str, Any] = {}
        self.rotation: Rotation | None = Rotation("old", "new")
        module = types.ModuleType("rke2_units.doors.dbus")

        @contextmanager
        def systemd() -> Iterator[str]:
            yield "systemd"

        module.Systemd = systemd  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "rke2_units.doors.dbus", module)
        monkeypatch.setattr(token_rotation, "begin", self.begin)
        monkeypatch.setattr(token_rotation, "complete", self.complete)
        chosen = types.SimpleNamespace(config=make_config(Role.SERVER, config))
        monkeypatch.setattr(tokens, "choose", lambda role, release: chosen)

    def begin(self, paths: Paths, wanted: str) -> Rotation | None:
        self.wanted.append(wanted)
        return self.rotation

    def complete(self, paths: Paths, rotation: Rotation, now: datetime, **named: Any) -> None:
        self.named = named


def test_the_new_token_comes_from_standard_input_and_is_not_printed(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    done = Rotated(monkeypatch)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"new\n")))
    assert invoke(["token", "rotate", "--new-token-file", "-"]) == 0
    assert done.wanted == ["new"]
    assert (done.named["etcd"], done.named["copies"]) == (None, [])
    printed = capsys.readouterr()
    assert f"{paths.token} has the new token" in printed.out and "each other server" in printed.out
    assert printed.err == ""


def test_a_configuration_with_the_old_token_is_warned_of(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    Rotated(monkeypatch, token="old")
    assert invoke(["token", "rotate"]) == 0
    assert "has the old token" in capsys.readouterr().err
    Rotated(monkeypatch, token="K10::server:new")
    assert invoke(["token", "rotate"]) == 0
    assert capsys.readouterr().err == ""


def test_the_token_file_of_install_follows(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Rotated(monkeypatch, **{"token-file": "/etc/rancher/rke2/token"})
    assert invoke(["token", "rotate"]) == 0
    assert done.named["copies"] == ["/etc/rancher/rke2/token"]


def test_the_same_token_again_is_told(paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    done = Rotated(monkeypatch)
    done.rotation = None
    assert invoke(["token", "rotate"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert done.named == {}


def test_etcd_is_the_one_of_the_controllers(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Rotated(monkeypatch)
    assert invoke(["token", "rotate"]) == 0
    assert done.named["etcd"] is None
    os.makedirs(paths.server_etc)
    Path(paths.controllers_settings).write_text(controllers_settings.text(make_node()))
    assert invoke(["token", "rotate"]) == 0
    assert isinstance(done.named["etcd"], Etcd)
