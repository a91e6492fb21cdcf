import io
import os
from pathlib import Path

import pytest

from rke2_units import layout
from rke2_units.cli import join_options
from rke2_units.cli.invoke import invoke
from rke2_units.cli.join_options import JoinOptions
from rke2_units.config.load import load
from rke2_units.errors import ConfigurationError, ExitCode, UserError
from rke2_units.model import File
from rke2_units.node import checks
from rke2_units.unit_names import Role

URL = "https://one.example:9345"
TOKEN = f"K10{'ab' * 32}::node:a secret"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine's: its configuration is below a folder of this test's."""
    monkeypatch.setattr(layout, "TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setattr(join_options, "read_environment_files", lambda role: {})
    (tmp_path / "config.yaml").write_text("")
    return {"RKE2_CONFIG_FILE": str(tmp_path / "config.yaml")}


def configure(environment: dict[str, str], text: str) -> None:
    Path(environment["RKE2_CONFIG_FILE"]).write_text(text)


def keep(environment: dict[str, str], given: JoinOptions, role: Role = Role.AGENT) -> None:
    join_options.keep(join_options.to_keep(role, given, environment))


def test_what_install_was_given_acts_at_every_start(environment: dict[str, str]) -> None:
    keep(environment, JoinOptions(URL, TOKEN))
    config = load(Role.AGENT, environment=environment)
    assert (config.text("server"), config.text("token")) == (URL, TOKEN)
    assert config.warnings == ()


def test_the_token_is_in_one_file_that_nobody_else_reads(
    environment: dict[str, str], tmp_path: Path
) -> None:
    keep(environment, JoinOptions(URL, TOKEN))
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN in path.read_text()]
    assert holding == [tmp_path / "token"]
    written = [tmp_path / "token", *(tmp_path / "config.yaml.d").iterdir()]
    assert [path.stat().st_mode & 0o777 for path in written] == [0o600, 0o600]


def test_nothing_is_written_when_nothing_is_given(environment: dict[str, str]) -> None:
    assert join_options.to_keep(Role.SERVER, JoinOptions(), environment) == []


def test_a_later_install_changes_what_it_is_given_and_keeps_the_rest(environment: dict[str, str]) -> None:
    keep(environment, JoinOptions(URL, TOKEN))
    keep(environment, JoinOptions("https://two.example:9345"))
    config = load(Role.AGENT, environment=environment)
    assert (config.text("server"), config.text("token")) == ("https://two.example:9345", TOKEN)
    keep(environment, JoinOptions("", "another secret"))
    config = load(Role.AGENT, environment=environment)
    assert (config.text("server"), config.text("token")) == ("https://two.example:9345", "another secret")


def test_a_lost_token_file_can_be_given_again(environment: dict[str, str]) -> None:
    keep(environment, JoinOptions(URL, TOKEN))
    os.unlink(layout.TOKEN_FILE)
    keep(environment, JoinOptions("", TOKEN))
    assert load(Role.AGENT, environment=environment).text("token") == TOKEN


def test_a_token_of_the_configuration_is_not_contradicted(environment: dict[str, str]) -> None:
    configure(environment, "token: mine\n")
    with pytest.raises(
        ConfigurationError, match=r"config.yaml:1 sets token, but install was given another"
    ) as caught:
        join_options.to_keep(Role.SERVER, JoinOptions(URL, TOKEN), environment)
    assert TOKEN not in str(caught.value) and "mine" not in str(caught.value)
    keep(environment, JoinOptions(URL, "mine"))
    assert not os.path.exists(layout.TOKEN_FILE)
    config = load(Role.AGENT, environment=environment)
    assert (config.text("server"), config.text("token")) == (URL, "mine")


def test_a_token_file_of_the_configuration_gives_way_to_what_install_was_given(
    environment: dict[str, str],
) -> None:
    configure(environment, f"token-file: /nowhere/token\nserver: {URL}\n")
    keep(environment, JoinOptions("", TOKEN))
    config = load(Role.AGENT, environment=environment)
    assert (config.text("server"), config.text("token")) == (URL, TOKEN)


def test_the_given_token_takes_the_place_of_a_files_in_the_install_itself(
    environment: dict[str, str],
) -> None:
    keep(environment, JoinOptions(URL, TOKEN))
    config = load(Role.AGENT, environment=environment, arguments=JoinOptions("", "another").arguments)
    assert config.text("token") == "another"


def test_a_token_comes_from_a_file_standard_input_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text(f"  {TOKEN}\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{TOKEN}\n".encode())))
    path = str(tmp_path / "mine")
    assert join_options.read(URL, path, {}) == JoinOptions(URL, TOKEN)
    assert join_options.read(None, "-", {"RKE2_URL": URL}) == JoinOptions(URL, TOKEN)
    assert join_options.read(None, None, {"RKE2_TOKEN": TOKEN}) == JoinOptions("", TOKEN)
    assert join_options.read(None, None, {"RKE2_TOKEN_FILE": path}) == JoinOptions("", TOKEN)
    assert join_options.read(None, path, {"RKE2_TOKEN": "other"}) == JoinOptions("", TOKEN)
    assert TOKEN not in repr(join_options.read(URL, path, {}))


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", b"\xc3\xa4", b"\x00", b"x" * 5000])
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(UserError, match="does not hold a token: one line of ASCII text"):
        join_options.read(URL, str(tmp_path / "mine"), {})
    with pytest.raises(UserError, match="cannot be read: No such file"):
        join_options.read(URL, str(tmp_path / "missing"), {})


def test_the_token_is_written_before_what_refers_to_it(environment: dict[str, str]) -> None:
    made = join_options.to_keep(Role.AGENT, JoinOptions(URL, TOKEN), environment)
    assert made[0].path == layout.TOKEN_FILE and len(made) == 2


def test_the_folder_of_the_token_file_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    folder.mkdir(0o700)
    join_options.keep([File(str(folder / "token"), "x\n", 0o600), File(str(tmp_path / "new/file"), "")])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


def test_the_file_that_the_nodes_unit_reads_gets_the_drop_in(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join_options, "read_environment_files", lambda role: environment)
    made = join_options.to_keep(Role.AGENT, JoinOptions(URL, TOKEN), {})
    assert made[1].path == f"{environment['RKE2_CONFIG_FILE']}.d/50-rke2-units-join.yaml"


@pytest.fixture
def installs(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`install` may be run here: it looks at no machine, and everything is below a folder."""
    monkeypatch.setattr(checks, "failures", lambda node: [])
    monkeypatch.setenv("RKE2_CONFIG_FILE", environment["RKE2_CONFIG_FILE"])
    monkeypatch.setattr(join_options, "read_environment_files", lambda role: environment)
    configure(environment, f"data-dir: {tmp_path}/data\n")


@pytest.mark.usefixtures("installs")
@pytest.mark.parametrize(
    ("options", "missing"), [([], "server is not set"), (["--server", URL], "token is not set")]
)
def test_an_agent_without_server_or_token_is_not_installed(
    options: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["install", "--role", "agent", "--dry-run", *options]) == ExitCode.CONFIGURATION
    assert missing in capsys.readouterr().err


@pytest.mark.usefixtures("installs")
def test_a_dry_run_shows_what_would_be_kept_and_neither_keeps_nor_shows_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RKE2_TOKEN", TOKEN)
    assert invoke(["install", "--role", "agent", "--dry-run", "--server", URL]) == 0
    shown = capsys.readouterr().out
    assert f"{tmp_path}/token" in shown and f'+server: "{URL}"' in shown
    assert TOKEN not in shown and "one.example:9345" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("name", ["RKE2_CONFIG_FILE", "RKE2_DATA_DIR"])
def test_a_setting_that_only_this_shell_has_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(join_options, "read_environment_files", lambda role: {})
    monkeypatch.setenv(name, "/srv/elsewhere")
    assert invoke(["install", "--role", "server"]) == ExitCode.CONFIGURATION
    said = capsys.readouterr().err
    assert f"{name} is set in this environment, and rke2-server.service would start without it" in said
    assert "/etc/default/rke2-server" in said


@pytest.mark.usefixtures("installs")
def test_another_token_is_something_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rke2_units.cli.install.apply", lambda plan, installation: [])
    monkeypatch.setattr("rke2_units.cli.install.set_kernel_parameters", lambda plan: [])
    monkeypatch.setattr("rke2_units.cli.install._enable", lambda unit: None)
    (tmp_path / "given").write_text("first secret")
    install = ["install", "--role", "agent", "--server", URL, "--token-file", f"{tmp_path}/given"]

    def said() -> str:
        assert invoke(install) == 0
        return capsys.readouterr().out.splitlines()[0]

    assert said() == "2 files and folders written, 0 removed"
    assert said() == "nothing had to be changed"
    (tmp_path / "given").write_text("another secret")
    assert said() == "1 files and folders written, 0 removed"
    assert (tmp_path / "token").read_text() == "another secret\n"


def test_a_variable_of_another_program_is_no_setting_that_would_be_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(join_options, "read_environment_files", lambda role: {})
    join_options.refuse_lost(Role.SERVER, {"AWS_ACCESS_KEY_ID": "of another program"})
