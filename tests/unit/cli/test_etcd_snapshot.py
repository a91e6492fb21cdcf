"""rke2-units etcd-snapshot: both ends together, up to a stand-in for the program that does the work."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rke2_units import layout
from rke2_units.certificates import token as tokens
from rke2_units.cli import etcd_snapshot, snapshot_server
from rke2_units.cli.etcd_snapshot import Given
from rke2_units.cli.invoke import invoke
from rke2_units.cli.snapshot_server import SnapshotServer
from rke2_units.errors import ExitCode
from tests.unit.join_api import conftest as supervisors
from tests.unit.join_api.conftest import Supervisor
from tests.unit.kubernetes_api import served
from tests.unit.snapshot_program import SAVED, Program

NAME = "etcd-snapshot-one-1754906881"
# A quantity as Go writes it, and the time of another zone.
LISTED = {
    "kind": "ETCDSnapshotFileList",
    "apiVersion": "k3s.cattle.io/v1",
    "metadata": {},
    "items": [
        {
            "metadata": {"name": f"s3-{NAME}"},
            "spec": {"snapshotName": NAME, "nodeName": "one", "location": f"s3://backups/{NAME}"},
            "status": {"size": "4100Ki", "creationTime": "2025-08-11T10:08:01Z", "readyToUse": True},
        },
        {
            "metadata": {"name": "local-on-demand-one-1754900000.zip"},
            "spec": {
                "snapshotName": "on-demand-one-1754900000.zip",
                "nodeName": "one",
                "location": "file:///var/lib/rancher/rke2/server/db/snapshots/on-demand-one-1754900000.zip",
            },
            "status": {"size": "1234567", "creationTime": "2025-08-11T10:13:20+02:00", "readyToUse": True},
        },
    ],
}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("supervisor")
    supervisors.make_credentials(directory)
    return directory


@pytest.fixture(scope="module")
def supervisor(material: Path) -> Iterator[Supervisor]:
    with served() as apiserver, supervisors.running(material, supervisors.Api(apiserver)) as started:
        yield started


@pytest.fixture
def program(material: Path) -> Iterator[Program]:
    started = Program(material / "requests" / layout.SNAPSHOT_SOCKET_NAME)
    yield started
    started.close()


@dataclass
class Node:
    """A server whose administrator runs commands."""

    folder: Path
    url: str

    def __post_init__(self) -> None:
        self.config("")

    def config(self, text: str) -> None:
        (self.folder / "config.yaml").write_text(f"data-dir: {self.folder}/data\n{text}")

    def token(self, text: str) -> None:
        path = self.folder / "data" / "server" / "token"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def run(self, *arguments: str) -> int:
        """etcd-snapshot, with the options that lead to this node."""
        options = ("--config", f"{self.folder}/config.yaml", "--etcd-server", self.url)
        return invoke(["etcd-snapshot", *options, *arguments])


@pytest.fixture
def node(tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> Node:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    node = Node(tmp_path, f"https://127.0.0.1:{supervisor.port}")
    authority = (supervisor.credentials / "server-ca.crt").read_bytes()
    node.token(f"K10{tokens.authority_hash(authority)}::server:{supervisors.SERVER_PASSWORD}")
    return node


def asked(program: Program) -> Any:
    (body,) = program.asked
    return json.loads(body)


def test_save_sends_what_rke2_sends_and_prints_what_rke2_prints(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run("save") == 0
    assert capsys.readouterr().out == "Snapshot on-demand-one-1754906881 saved.\n"
    assert asked(program) == {"operation": "save", "name": ["on-demand"], "retention": 0}


def test_what_is_set_on_the_command_line_or_in_the_configuration_is_sent(
    node: Node, program: Program
) -> None:
    node.config("etcd-snapshot-retention: 9\netcd-snapshot-dir: /backup\netcd-snapshot-compress: true\n")
    assert node.run("prune", "--snapshot-compress=false", "--name", "before-upgrade") == 0
    assert asked(program) == {
        "operation": "prune",
        "name": ["before-upgrade"],
        "dir": "/backup",
        "compress": False,
        "retention": 9,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", "x", "save"],
        ["save", "--name", "x"],
        ["--name", "y", "save", "--name", "x"],
        ["--debug", "--log", "/tmp/log", "--node-name", "n", "save", "--alsologtostderr", "--name=x"],
    ],
)
def test_options_may_stand_before_the_command_too(
    node: Node, program: Program, arguments: list[str]
) -> None:
    assert node.run(*arguments) == 0
    assert asked(program)["name"] == ["x"]


def test_s3_is_complete_when_it_is_on(node: Node, program: Program) -> None:
    node.config(
        "etcd-s3-endpoint: s3.example:9000\netcd-s3-secret-key: from-file\netcd-snapshot-retention: 7\n"
    )
    options = ("--s3", "--s3-bucket", "backups", "--etcd-s3-access-key", "k", "--s3-timeout", "90s")
    assert node.run("prune", *options) == 0
    assert asked(program)["s3"] == {
        "accessKey": "k",
        "bucket": "backups",
        "bucketLookup": "auto",
        "configSecret": "",
        "endpoint": "s3.example:9000",
        "endpointCA": "",
        "folder": "",
        "proxy": "",
        "region": "us-east-1",
        "secretKey": "from-file",
        "sessionToken": "",
        "insecure": False,
        "skipSSLVerify": False,
        "retention": 7,
        "timeout": "1m30s",
    }


@pytest.mark.parametrize(
    ("arguments", "is_on"),
    [
        (["save"], True),
        (["save", "--s3"], True),
        (["save", "--etcd-s3=true"], True),
        (["save", "--s3=false"], False),
        (["save", "--etcd-s3=0"], False),
        (["--s3=false", "save"], False),
        (["--s3=false", "save", "--s3"], True),
    ],
)
def test_a_switch_may_have_a_value(node: Node, program: Program, arguments: list[str], is_on: bool) -> None:
    node.config("etcd-s3: true\netcd-s3-bucket: backups\n")
    assert node.run(*arguments) == 0
    found = asked(program)
    assert ("s3" in found) is is_on
    # What is saved by hand removes nothing, in S3 neither.
    assert found["retention"] == 0 and found.get("s3", {"retention": 0})["retention"] == 0


def test_a_switch_does_not_take_the_name_behind_it(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.answers({"status": 200, "body": {"deleted": ["a"]}})
    assert node.run("delete", "--s3-bucket", "backups", "--s3", "a", "--", "--s3") == 0
    assert asked(program)["name"] == ["a", "--s3"]
    printed = capsys.readouterr()
    assert printed.out == "Snapshot a deleted.\n"
    assert printed.err == "warning: Snapshot --s3 not found.\n"


def test_credentials_may_be_in_aws_own_variables(
    node: Node, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    node.config("etcd-s3-access-key: of-the-file\n")
    assert node.run("save", "--s3", "--s3-bucket", "backups") == 0
    s3 = asked(program)["s3"]
    assert (s3["accessKey"], s3["secretKey"]) == ("of-the-file", "hush")


@pytest.mark.parametrize("command", ["list", "ls", "l"])
def test_the_table_is_rke2s(
    node: Node, program: Program, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program.answers({"status": 200, "body": LISTED})
    assert node.run(command) == 0
    folder, zipped = "file:///var/lib/rancher/rke2/server/db/snapshots", "on-demand-one-1754900000.zip"
    width = len(f"{folder}/{zipped}")
    assert capsys.readouterr().out.splitlines() == [
        f"Name                         {'Location'.ljust(width)} Size    Created",
        f"{zipped} {folder}/{zipped} 1234567 2025-08-11T10:13:20+02:00",
        f"{NAME} {f's3://backups/{NAME}'.ljust(width)} 4198400 2025-08-11T10:08:01Z",
    ]
    assert asked(program) == {"operation": "list"}


def test_json_and_yaml_are_the_servers_object(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    program.answers({"status": 200, "body": LISTED})
    assert node.run("ls", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == LISTED
    assert node.run("ls", "--output=YAML") == 0
    assert yaml.safe_load(capsys.readouterr().out) == LISTED


def test_an_unknown_format_asks_nobody(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run("ls", "--output", "wide") == ExitCode.FAILURE
    assert "rke2-units: invalid output format: wide" in capsys.readouterr().err
    assert program.asked == []


def test_an_empty_list_is_a_header(node: Node, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.answers({"status": 200, "body": {**LISTED, "items": None}})
    assert node.run("ls") == 0
    assert capsys.readouterr().out == "Name Location Size Created\n"


def test_names_take_no_terminal(node: Node, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    item = {"spec": {"snapshotName": "a\x1b[2J\0", "location": "b\nc"}, "status": {"size": "many"}}
    program.answers({"status": 200, "body": {"created": ["a\x1b[2J"], "items": [item]}})
    for arguments in (["ls"], ["ls", "-o", "json"], ["ls", "-o", "yaml"], ["save"]):
        assert node.run(*arguments) == 0
        assert "\x1b" not in capsys.readouterr().out


def test_nothing_saved_is_no_success(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    program.answers({"status": 200, "body": {}})
    assert node.run("save") == 1
    assert "no snapshot was saved" in capsys.readouterr().err


def test_delete_needs_names_and_save_takes_none(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run("delete") == ExitCode.FAILURE
    assert "no snapshots given for removal" in capsys.readouterr().err
    assert node.run("save", "a") == ExitCode.USAGE
    assert program.asked == []


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, "the log of that server has the details"),
        (403, "it needs the token of servers"),
        (404, "--etcd-server names a server with etcd"),
        (429, "try again later"),
        (500, "the log of that server has the details"),
        (503, "try again later"),
        (504, "the server may still complete it"),
    ],
)
def test_a_servers_error_is_told_with_what_to_do(
    node: Node, program: Program, status: int, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"kind": "Status", "status": "Failure", "message": "its own words\x1b[2J", "code": status}
    program.answers({"status": status, "body": words})
    assert node.run("save") == ExitCode.FAILURE
    line, told = capsys.readouterr().err.splitlines()
    assert f"/db/snapshot: {status} " in line and "its own words" in line and "\x1b" not in line
    assert hint in told


def test_without_the_socket_the_server_says_what_to_do(
    node: Node, material: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (material / "requests" / layout.SNAPSHOT_SOCKET_NAME).unlink(missing_ok=True)
    assert node.run("save") == ExitCode.FAILURE
    told = capsys.readouterr().err
    assert "503" in told and "systemctl start rke2-etcd-snapshot-request.socket" in told
    assert "try again in 2 s" in told


def test_a_server_that_does_not_answer_in_time_may_still_complete_it(
    node: Node, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = threading.Event()

    def wait(connection: socket.socket, body: bytes) -> None:
        ends.wait(20)

    program.speak = wait
    monkeypatch.setattr(snapshot_server, "_PATIENCE", 0.5)
    monkeypatch.setattr(snapshot_server, "_GRACE", 0.0)
    assert node.run("save") == ExitCode.FAILURE
    ends.set()
    told = capsys.readouterr().err
    assert "no answer in time" in told and "may still complete it" in told


def test_another_cluster_gets_no_token(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    node.token(f"K10{'0' * 64}::server:the-secret")
    assert node.run("save") == ExitCode.FAILURE
    told = capsys.readouterr().err
    assert "token CA hash does not match" in told and "the-secret" not in told
    assert program.asked == []


def test_the_token_of_agents_is_not_enough(
    node: Node, program: Program, supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    hash = tokens.authority_hash((supervisor.credentials / "server-ca.crt").read_bytes())
    node.token(f"K10{hash}::node:{supervisors.AGENT_PASSWORD}")
    assert node.run("save") == ExitCode.FAILURE
    told = capsys.readouterr().err
    assert "403 Forbidden" in told and "it needs the token of servers" in told
    assert program.asked == []


@pytest.mark.parametrize("option", ["--etcd-token", "-t", "--etcd-token-file"])
def test_the_token_may_be_given(
    node: Node, program: Program, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = node.folder / "data" / "server" / "token"
    text = path.read_text().strip()
    path.unlink()
    given = node.folder / "given"
    given.write_text(text)
    assert node.run("save", option, os.fspath(given) if option.endswith("file") else text) == 0
    assert program.asked
    assert capsys.readouterr().err == ""


def test_without_a_token_it_says_where_one_is(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    (node.folder / "data" / "server" / "token").unlink()
    assert node.run("save") == ExitCode.FAILURE
    line, hint = capsys.readouterr().err.splitlines()
    assert f"{node.folder}/data/server/token cannot be read" in line
    assert "run it as root on a server, or give --etcd-token-file and --etcd-server" in hint


def test_a_short_token_is_warned_of_and_a_pin_may_be_required(
    node: Node, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    node.token(supervisors.SERVER_PASSWORD)
    assert node.run("save") == 0
    told = capsys.readouterr().err
    assert "has no hash of the cluster's authority" in told and supervisors.SERVER_PASSWORD not in told
    node.config("token-require-ca-pin: true\n")
    assert node.run("save") == ExitCode.CONFIGURATION
    assert len(program.asked) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["save", "--etcd-server", "http://a:9345"], "--etcd-server must be a URL such as"),
        (["save", "--etcd-server", "127.0.0.1"], "--etcd-server must be a URL such as"),
        (["save", "--s3=perhaps"], "command line: etcd-s3 must be true or false"),
        (["prune", "--snapshot-retention", "some"], "command line: etcd-snapshot-retention must be"),
        (["save", "--etcd-token", "a", "--etcd-token-file", "b"], "exclude each other"),
        (["verify"], "verify takes either a snapshot or --latest"),
        (["verify", "a", "--latest"], "verify takes either a snapshot or --latest"),
        (["--s3-bucket", "backups", "restore", "a"], "restore takes --s3 and --etcd-token-file alone"),
    ],
)
def test_what_cannot_be_meant_asks_nobody(
    node: Node, program: Program, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run(*arguments) != 0
    assert told in capsys.readouterr().err
    assert program.asked == []


def test_the_local_server_is_where_it_listens() -> None:
    assert snapshot_server.local("0.0.0.0") == "https://127.0.0.1:9345"
    assert snapshot_server.local("::") == "https://127.0.0.1:9345"
    assert snapshot_server.local("192.0.2.5") == "https://192.0.2.5:9345"
    assert snapshot_server.local("2001:db8::5") == "https://[2001:db8::5]:9345"


def test_secrets_are_in_no_repr() -> None:
    given = Given({"etcd-s3-secret-key": "hush"}, token="hush")
    server = SnapshotServer("https://a:9345", tokens.Token("", "server", "hush"), 0.0)
    assert "hush" not in repr(given) + repr(server)


def test_the_many_options_are_made_for_no_other_command() -> None:
    code = (
        "import sys; from rke2_units.cli.invoke import invoke; invoke(['status']); invoke(['--help']);"
        "print(*[m for m in sys.modules if 'etcd_snapshot' in m or m.endswith('config.keys')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "etcd-snapshot  Save, list, delete" in done.stdout
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [("etcd-snapshot ", "prune"), ("etcd-snapshot ls --s3-bu", "--s3-bucket")],
)
def test_the_shell_completes_its_commands_and_options(
    words: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {
        **os.environ,
        "_RKE2_UNITS_COMPLETE": "bash_complete",
        "COMP_WORDS": f"rke2-units {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    code = "from rke2_units.cli.commands import command; command.main(prog_name='rke2-units')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert f"plain,{expected}" in done.stdout.splitlines()


def test_names_of_local_snapshots_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout.Paths, "__init__", lambda self: setattr(self, "snapshots", str(tmp_path)))
    for name in ("on-demand-1", "on-demand-2.part", "etcd-snapshot-1"):
        (tmp_path / name).touch()
    assert etcd_snapshot.local_names("on") == ["on-demand-1"]
    assert etcd_snapshot.local_names("") == ["etcd-snapshot-1", "on-demand-1"]
    monkeypatch.setattr(layout.Paths, "__init__", lambda self: setattr(self, "snapshots", "/nowhere"))
    assert etcd_snapshot.local_names("") == []


VERIFIED = {
    "ok": True,
    "message": "it can be restored",
    "name": NAME,
    "time": "2025-08-11T12:00:00+00:00",
    "revision": 1234,
    "keys": 56,
    "kinds": {"pods": 12, "configmaps": 7},
    "differences": [],
    "not_compared": "",
}


@pytest.fixture
def root(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """This node's own socket, which root reaches."""
    path = tmp_path / "socket" / layout.SNAPSHOT_SOCKET_NAME
    monkeypatch.setattr(layout, "SNAPSHOT_SOCKET", os.fspath(path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    program = Program(path)
    program.answers({"progress": "restoring"}, {"status": 200, "body": {"verified": VERIFIED}})
    yield program
    program.close()


def test_the_newest_is_verified_and_the_result_shown(
    node: Node, root: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node.run("verify", "--latest") == 0
    assert asked(root) == {"operation": "verify"}
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        f"Snapshot {NAME}",
        "Result good: it can be restored",
        "Time 2025-08-11T12:00:00+00:00",
        "Revision 1234",
        "Keys 56",
        "",
        "RESOURCE OBJECTS",
        "configmaps 7",
        "pods 12",
    ]


def test_a_snapshot_that_is_no_good_is_the_exit_status(
    node: Node, root: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {
        **VERIFIED,
        "ok": False,
        "message": "2 differences",
        "differences": ["pods: 11, not 12", "a\x1b"],
    }
    root.answers({"status": 200, "body": {"verified": found}})
    assert node.run("verify", NAME) == 1
    printed = capsys.readouterr().out
    assert "NOT GOOD: 2 differences" in printed and "Difference  pods: 11, not 12" in printed
    assert "\x1b" not in printed
    assert asked(root)["name"] == [NAME]


def test_a_path_is_a_name_in_the_folder_of_snapshots(
    node: Node, root: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = node.folder / "data" / "server" / "db" / "snapshots"
    folder.mkdir(parents=True)
    (node.folder / "link").symlink_to(folder)
    assert node.run("verify", f"{folder}/{NAME}") == 0
    assert node.run("verify", f"{node.folder}/link/{NAME}") == 0
    assert [json.loads(body)["name"] for body in root.asked] == [[NAME]] * 2
    assert node.run("verify", f"{node.folder}/{NAME}") == ExitCode.FAILURE
    assert "is not in this node's folder of snapshots" in capsys.readouterr().err
    assert node.run("verify", f"/var/backups/rke2/{NAME}", "--dir", "/var/backups/rke2/") == 0
    assert len(root.asked) == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the snapshot was not verified"),
        (b'{"progress": "restoring"}\n', "the snapshot was not verified"),
        (b'{"status": 200, "body": {"verified": []}}\n', "the snapshot was not verified"),
        (b"[" * 100_000, "the snapshot was not verified"),
        (b"\xff\n\n", "the snapshot was not verified"),
        (b'{"status": 400, "body": {"message": "no such\\u001b snapshot"}}\n', "no such snapshot"),
        (b"x" * (9 << 20), "too long"),
    ],
)
def test_without_a_result_it_is_a_failure(
    node: Node, root: Program, content: bytes, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root.says(content)
    assert node.run("verify", "--latest") == ExitCode.FAILURE
    assert told in capsys.readouterr().err


def test_a_node_without_the_socket_says_what_to_do(
    node: Node, root: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layout, "SNAPSHOT_SOCKET", "/nowhere/socket")
    assert node.run("verify", "--latest") == ExitCode.FAILURE
    assert "systemctl start rke2-etcd-snapshot-request.socket" in capsys.readouterr().err


def test_verifying_is_for_root(
    node: Node, root: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert node.run("verify", "--latest") == ExitCode.FAILURE
    assert "requires root" in capsys.readouterr().err
    assert root.asked == []


def test_restore_is_cluster_reset(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    called: list[tuple[object, ...]] = []

    def run(snapshot: str, s3: bool | None, token_from: str | None, *, yes: bool) -> int:
        called.append((snapshot, s3, token_from, yes))
        return 7

    module = types.ModuleType("cluster_reset")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rke2_units.cli.cluster_reset", module)
    assert invoke(["etcd-snapshot", "restore", "/backup/a"]) == 7
    assert invoke(["etcd-snapshot", "restore", "a", "--s3", "--yes", "--etcd-token-file", "t"]) == 7
    assert invoke(["etcd-snapshot", "--s3=false", "restore", "a"]) == 7
    assert invoke(["etcd-snapshot", "restore", "a", "--s3=perhaps"]) == ExitCode.FAILURE
    assert called == [("/backup/a", None, None, False), ("a", True, "t", True), ("a", False, None, False)]


def test_saved_names_are_those_of_the_answer() -> None:
    assert snapshot_server.names(SAVED["body"], "created") == ["on-demand-one-1754906881"]  # type: ignore[arg-type]
    for broken in (None, "a", 7, {"a": 1}):
        assert snapshot_server.names({"created": broken}, "created") == []
    assert snapshot_server.names({"created": [1, None, "a"]}, "created") == ["a"]
