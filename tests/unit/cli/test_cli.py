"""The command line: bad input changes nothing and ends with one line, a hint and a telling exit status."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rke2_units import __version__, cli
from rke2_units.cli.commands import command
from rke2_units.cli.invoke import invoke
from rke2_units.cli.planning import make_plan_here
from rke2_units.errors import ConfigurationError, ExitCode, UserError
from rke2_units.node import facts, installation
from rke2_units.node.installation import Installation
from rke2_units.unit_names import Role

COMMANDS = (
    *("install", "render", "diff", "release", "images", "status"),
    *("etcd-snapshot", "token", "cluster-reset", "killall", "uninstall", "completion"),
)


@pytest.fixture(autouse=True)
def _no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine the tests run on: nothing is installed, and it has an address."""
    monkeypatch.setattr(installation, "read", lambda root="/": None)
    monkeypatch.setattr(facts, "node_ips", lambda: ("192.0.2.1",))


def config(folder: Path, text: str = "") -> str:
    file = folder / "config.yaml"
    file.write_text(text)
    return os.fspath(file)


def test_the_version_is_told_without_loading_anything_heavy() -> None:
    code = (
        "import sys; sys.argv = ['rke2-units', '--version']; from rke2_units.cli import main; main();"
        "print(*[m for m in ('click', 'yaml', 'jinja2', 'subprocess', 'dataclasses') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"rke2-units {__version__}", ""]


def test_the_status_loads_neither_yaml_nor_jinja() -> None:
    code = (
        "import sys; from rke2_units.cli.invoke import invoke; invoke(['status']);"
        "print(*[m for m in ('yaml', 'jinja2', 'cryptography', 'requests', 'pystemd') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    text = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []
    assert "..." not in text.split("Commands:")[1]  # no description is cut off


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: rke2-units {name}")
    assert command.commands[name].help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["instal"], "No such command 'instal'; did you mean 'install'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["install"], "Missing option '--role'"),
        (["install", "--role", "master"], "'master' is not one of 'server', 'agent'"),
        (["install", "--role", "server", "--dryrun"], "No such option: --dryrun"),
        (["render", "extra"], "Got unexpected extra argument (extra)"),
        (["render", "--root"], "Option '--root' requires an argument"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(arguments) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    line, hint = printed.err.splitlines()
    assert line.startswith("rke2-units: ")
    assert message in line
    assert hint.startswith("  -> see rke2-units")


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["render", "--release", "v9"], "unknown release 'v9'", None),
        (["render", "--root", "/"], "render does not write to /", ExitCode.FAILURE),
        (["render", "--config", "/nowhere/config.yaml"], "/nowhere/config.yaml", ExitCode.CONFIGURATION),
        (["diff", "--config", "/nowhere/config.yaml"], "/nowhere/config.yaml", ExitCode.CONFIGURATION),
        (["status"], "this machine is not a node yet", ExitCode.CONFIGURATION),
    ],
)
def test_what_cannot_be_done_is_one_line_and_no_traceback(
    arguments: list[str],
    message: str,
    status: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = invoke(arguments)
    assert ended != 0
    assert status in (None, ended)
    printed = capsys.readouterr().err
    assert message in printed.splitlines()[0]
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("role", ["server", "agent"])
def test_render_writes_the_whole_node_and_the_second_time_the_same(
    role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "server: https://192.0.2.7:9345\ntoken: secret\n" if role == "agent" else ""
    arguments = ["render", "--role", role, "--config", config(tmp_path, url), "--root", f"{tmp_path}/out"]
    if invoke(arguments) != 0:
        message = capsys.readouterr().err
        assert role == "agent" and "Traceback" not in message  # agents come with joining
        return
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert tmp_path / "out/usr/local/lib/systemd/system/rke2-kubelet.service" in first
    assert invoke(arguments) == 0
    assert first == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_the_folder_that_the_kubelet_gets_is_recorded_with_the_installation(tmp_path: Path) -> None:

    file = config(tmp_path, "kubelet-arg: [root-dir=/opt/rancher/kubelet]\n")
    planned = make_plan_here(Role.SERVER, None, file)
    assert planned.installation.kubelet_directories == ("/opt/rancher/kubelet",)
    assert "--root-dir=/opt/rancher/kubelet" in planned.plan.file(
        "/usr/local/lib/systemd/system/rke2-kubelet.service"
    ).content  # fmt: skip


def test_render_follows_no_link_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out/var/lib/rancher").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "out/var/lib/rancher/rke2").symlink_to(tmp_path / "other")
    assert invoke(["render", "--root", f"{tmp_path}/out", "--config", config(tmp_path)]) == ExitCode.FAILURE
    assert "out/var/lib/rancher/rke2 is a link" in capsys.readouterr().err
    assert os.listdir(tmp_path / "other") == []


def test_render_follows_the_installed_role_and_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = Installation(Role.SERVER, "v1.20.2+rke2r1", "/var/lib/rancher/rke2")
    monkeypatch.setattr(installation, "read", lambda root="/": pinned)
    file = config(tmp_path)
    assert invoke(["render", "--root", f"{tmp_path}/out", "--config", file]) == 0
    assert "v1.20.2+rke2r1 (server)" in capsys.readouterr().out
    assert (
        invoke(["render", "--root", f"{tmp_path}/new", "--config", file, "--release", "v1.36.4+rke2r1"]) == 0
    )
    assert "v1.36.4+rke2r1 (server)" in capsys.readouterr().out


def test_a_diff_on_a_machine_that_is_no_node_says_so_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["diff", "--config", config(tmp_path)]
    assert invoke(arguments) == 1
    assert capsys.readouterr().err.startswith("this machine is not a node yet; rke2-units install would")
    pinned = Installation(Role.SERVER, "v1.20.2+rke2r1", "/var/lib/rancher/rke2")
    monkeypatch.setattr(installation, "read", lambda root="/": pinned)
    assert invoke(arguments) == 1
    assert "not a node" not in capsys.readouterr().err


def test_a_node_of_the_other_role_is_not_installed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Installation(Role.AGENT, "v1.36.4+rke2r1", "/var/lib/rancher/rke2")
    monkeypatch.setattr(installation, "read", lambda root="/": agent)
    assert invoke(["install", "--role", "server"]) == ExitCode.CONFIGURATION
    assert "this node is installed as agent" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["", "n\n", "\n"])
def test_an_uninstall_that_is_not_confirmed_does_nothing(
    answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rke2_units.node import uninstall

    monkeypatch.setattr(
        uninstall, "removals", lambda purge: ["/usr/local/lib/systemd/system/rke2-kubelet.service"]
    )
    monkeypatch.setattr(uninstall, "uninstall", lambda purge: pytest.fail("it was not confirmed"))
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert invoke(["uninstall"]) == ExitCode.FAILURE
    printed = capsys.readouterr()
    assert "rke2-kubelet.service" in printed.out
    said = printed.out + printed.err
    assert "nothing was changed" in said
    assert "interrupted" not in said
    assert ("use --yes" in printed.err) is (answer == "")


def test_a_purge_says_what_is_lost_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rke2_units.node import uninstall

    monkeypatch.setattr(uninstall, "removals", lambda purge: ["/var/lib/rancher/rke2/server"])
    monkeypatch.setattr(uninstall, "losses", lambda: ["This is the only server."])
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert invoke(["uninstall", "--purge-data"]) == ExitCode.FAILURE
    assert "This is the only server." in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    invoke(["uninstall"])
    assert "This is the only server." not in capsys.readouterr().out


def test_without_an_installation_a_purge_says_that_data_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rke2_units.node import uninstall

    monkeypatch.setattr(uninstall, "removals", lambda purge: [])
    assert invoke(["uninstall", "--purge-data", "--yes"]) == 0
    assert "data is kept" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["completion", shell]) == 0
    assert "_RKE2_UNITS_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("it is so", hint="do this"), 1, "rke2-units: it is so"),
        (
            ConfigurationError("file:7: wrong\nvalue", hint="write x"),
            78,
            "rke2-units: file:7: wrong | value",
        ),
        (KeyboardInterrupt(), 130, "rke2-units: interrupted"),
        (RuntimeError("odd"), 1, "rke2-units: RuntimeError: odd"),
        (
            OSError(28, "No space left on device"),
            1,
            "rke2-units: OSError: [Errno 28] No space left on device",
        ),
    ],
)
def test_every_error_is_one_line_with_its_exit_status(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(command.commands["status"], "callback", fail)
    assert invoke(["status"]) == status
    printed = [each for each in capsys.readouterr().err.splitlines() if each]
    assert printed[0] == line
    assert len(printed) <= 2
    if isinstance(error, Exception):
        assert invoke(["--debug", "status"]) == status
        assert "Traceback" in capsys.readouterr().err


def test_the_program_ends_with_the_commands_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rke2-units", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == ExitCode.CONFIGURATION


WORDS = st.one_of(
    st.sampled_from(
        [
            *("render", "diff", "status", "release", "images", "list", "show", "bundle"),
            *("--role", "server", "agent", "--release", "--config", "--root", "--json", "--output", "-h"),
        ]
    ),
    st.text(max_size=20).filter(lambda word: "\0" not in word),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(WORDS, max_size=6))
def test_no_command_line_makes_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rke2_units.node.apply.write", lambda *_: [])
    if {"install", "killall", "uninstall"} & set(words):
        return
    invoke(words)
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "defect" not in printed


TEXTS = st.one_of(
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from(
            ["data-dir", "cni", "node-ip", "cluster-cidr", "kubelet-arg", "profile", "tls-san", "x"]
        ),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.text(max_size=15), st.lists(st.text(max_size=9))
        ),
    ).map(json.dumps),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXTS)
def test_no_configuration_makes_a_traceback_or_half_a_render(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    file = folder / "config.yaml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    ended = invoke(["render", "--config", os.fspath(file), "--root", os.fspath(folder / "out")])
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "defect" not in printed
    assert (folder / "out").exists() == (ended == 0), printed
    assert not list(folder.rglob(".rke2-units-*"))


def test_each_thing_that_is_wrong_is_a_line_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("node-lable: a=b\nselinux: true\nembedded-registry: true\n")
    assert invoke(["render", "--root", f"{tmp_path}/out", "--config", f"{file}"]) == ExitCode.CONFIGURATION
    assert capsys.readouterr().err.splitlines() == [
        f"rke2-units: {file}:1: unknown key 'node-lable'",
        "  -> did you mean node-label?",
        f"rke2-units: {file}:2: selinux cannot be used: rke2-units does not support SELinux",
        f"rke2-units: {file}:3: embedded-registry cannot be used: rke2-units has no embedded registry",
    ]


def test_a_diff_warns_beside_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("node-ip: 203.0.113.77\n")
    invoke(["diff", "--role", "server", "--config", f"{file}"])
    said = capsys.readouterr()
    assert f"warning: {file}:1: node-ip 203.0.113.77 is on no interface of this machine" in said.err
    assert "warning" not in said.out
