"""Which files are read, and what is said about those that cannot be."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rke2_units.config.config import Config
from rke2_units.config.keys import BY_NAME
from rke2_units.config.load import load
from rke2_units.config.registries import Mirror, Registries
from rke2_units.errors import ConfigurationError, ConfigurationErrors, ExitCode
from rke2_units.unit_names import Role
from tests.unit.configs import make_config


def write(path: Path, content: str | bytes, mode: int = 0o600) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


def message(path: str | None = None, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(Role.SERVER, config_file=path, environment=environment or {})
    return str(error.value)


def test_drop_ins_are_read_in_byte_order_of_their_names(tmp_path: Path) -> None:
    base = write(tmp_path / "config.yaml", "tls-san: [base]")
    for name in (
        "b.yaml",
        "a.yml",
        "Z.YAML",
        "10.yaml",
        "9.yaml",
        "ä.yaml",
        "a.yaml~",
        "README",
        "c.yaml.bak",
    ):
        write(tmp_path / "config.yaml.d" / name, f"tls-san+: [x{name.encode().hex()}]")
    (tmp_path / "config.yaml.d" / "folder.yaml").mkdir()
    names = [name.encode().hex() for name in ("10.yaml", "9.yaml", "Z.YAML", "a.yml", "b.yaml", "ä.yaml")]
    assert load(Role.SERVER, config_file=base, environment={}).items("tls-san") == (
        "base",
        *(f"x{name}" for name in names),
    )


def test_the_default_file_may_be_missing_while_its_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rke2_units.layout.CONFIG_FILE", str(tmp_path / "config.yaml"))
    assert load(Role.SERVER, environment={}).text("node-name") == ""
    write(tmp_path / "config.yaml.d" / "a.yaml", "node-name: a")
    assert load(Role.SERVER, environment={}).text("node-name") == "a"


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("config_file", "command line"),
        ("config", "command line"),
        ("c", "command line"),
        ("RKE2_CONFIG_FILE", "environment RKE2_CONFIG_FILE"),
    ],
)
def test_a_file_that_was_named_is_read_and_must_be_there(tmp_path: Path, where: str, source: str) -> None:
    path = str(tmp_path / "other.yaml")

    def named() -> Config:
        return load(
            Role.SERVER,
            config_file=path if where == "config_file" else None,
            environment={where: path},
            arguments=((where, path),) if where.startswith("c") and "_" not in where else (),
        )

    with pytest.raises(ConfigurationError) as error:
        named()
    assert str(error.value) == f"{source}: config {path} cannot be read: No such file or directory"
    write(tmp_path / "other.yaml", "node-name: a")
    assert named().text("node-name") == "a"


def test_a_url_as_configuration_file_is_refused() -> None:
    assert message(environment={"RKE2_CONFIG_FILE": "https://x.example/c.yaml"}) == (
        "environment RKE2_CONFIG_FILE: config cannot be a URL: rke2-units reads its configuration "
        "from files only (download it and name the file)"
    )


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    assert message(str(tmp_path)) == f"command line: config {tmp_path} cannot be read: Is a directory"
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    assert message(pipe) == f"command line: config {pipe} is not a regular file"
    assert "cannot be read" in message("/a\0b")


def test_a_file_of_another_kind_is_named_as_a_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "config.yaml", b"x" * (2 << 20))
    assert message(path) == f"{path}: larger than 1048576 bytes (is it the right file?)"


@pytest.mark.parametrize("content", ["  s3cret\n", "\ufeffs3cret\r\n"])
@pytest.mark.parametrize("name", ["token", "agent-token"])
def test_a_token_file_is_read_when_the_configuration_is_loaded(
    tmp_path: Path, name: str, content: str
) -> None:
    token = write(tmp_path / "token", content)
    path = write(tmp_path / "config.yaml", f"{name}-file: {token}\n")
    config = load(Role.SERVER, config_file=path, environment={})
    assert config.text(name) == "s3cret"
    assert config.source(name) == token
    assert config.warnings == ()
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, " cannot be read: No such file or directory"),
        ("", " is empty (write the token into it)"),
        (" \n", " is empty (write the token into it)"),
        (b"\xff\xfe", " must hold one line of ASCII text"),
    ],
)
def test_a_bad_token_file_is_named_with_the_line_that_names_it(
    tmp_path: Path, content: str | bytes | None, problem: str
) -> None:
    token = tmp_path / "token"
    if content is not None:
        write(token, content)
    path = write(tmp_path / "config.yaml", f"\ntoken-file: {token}\n")
    assert message(path) == f"{path}:2: token-file {token}{problem}"


def test_the_content_of_a_token_file_follows_the_grammar_and_is_never_shown(tmp_path: Path) -> None:
    token = write(tmp_path / "token", "K10abcdef::server:hunter2")
    path = write(tmp_path / "config.yaml", f"token-file: {token}")
    assert (
        message(path)
        == f"{token}: token must be a token: after K10 come 64 hexadecimal digits (or none) and ::"
    )
    write(tmp_path / "token", "line1\nline2")
    assert message(path) == f"{token}: token must be one line of printable text"


def test_token_and_token_file_exclude_each_other(tmp_path: Path) -> None:
    path = write(tmp_path / "config.yaml", "token: a\ntoken-file: /nowhere\n")
    assert message(path) == f"{path}:2: token-file is set, and token as well ({path}:1) (keep one of them)"


def test_secrets_in_files_that_everyone_can_read_are_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path / "config.yaml", "agent-token: a", 0o644)
    assert load(Role.SERVER, config_file=path, environment={}).warnings == (
        f"{path} holds agent-token and can be read by everyone (chmod 600 {path})",
    )
    token = write(tmp_path / "token", "a", 0o644)
    path = write(tmp_path / "config.yaml", f"token-file: {token}", 0o644)
    assert load(Role.SERVER, config_file=path, environment={}).warnings == (
        f"token-file {token} can be read by everyone (chmod 600 {token})",
    )


def test_loading_imports_nothing_slow() -> None:
    program = (
        "import sys; from rke2_units.config.load import load; from rke2_units.unit_names import Role;"
        "load(Role.SERVER, environment={}, arguments=(('tls-san', 'a'),));"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    slow = {
        "click",
        "jinja2",
        "cryptography",
        "difflib",
        "urllib",
        "logging",
        "subprocess",
        "asyncio",
        "pystemd",
    }
    assert not slow & set(done.stdout.split())


@pytest.mark.parametrize("endpoint", ["", "container-runtime-endpoint: /run/containerd/containerd.sock\n"])
def test_registries_that_a_foreign_containerd_does_not_hear_of_are_warned_of(
    tmp_path: Path, endpoint: str
) -> None:
    registries = write(tmp_path / "registries.yaml", "mirrors: {docker.io: {endpoint: [https://a.example]}}")
    path = write(tmp_path / "config.yaml", f"private-registry: {registries}\n{endpoint}")
    warnings = load(Role.SERVER, config_file=path, environment={}).warnings
    assert [warning for warning in warnings if "/run/containerd/containerd.sock" in warning] == (
        [
            f"{registries} acts where rke2-units itself pulls; the containerd behind /run/containerd/"
            "containerd.sock (container-runtime-endpoint) pulls as its own configuration says"
        ]
        if endpoint
        else []
    )


@pytest.fixture
def registries_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual place of registries.yaml, in a folder of the test's own."""
    path = tmp_path / "registries.yaml"
    key = replace(BY_NAME["private-registry"], default=str(path))
    monkeypatch.setitem(BY_NAME, "private-registry", key)
    return path


def test_the_usual_file_of_registries_may_be_missing(tmp_path: Path, registries_file: Path) -> None:
    base = write(tmp_path / "config.yaml", "")
    assert load(Role.SERVER, config_file=base, environment={}).registries == Registries()
    write(registries_file, "mirrors: {a: {endpoint: [b]}}")
    found = load(Role.SERVER, config_file=base, environment={}).registries
    assert found.mirrors == {"a": Mirror(("https://b/v2",))}


def test_a_file_of_registries_that_was_named_must_be_there(tmp_path: Path, registries_file: Path) -> None:
    for named in (tmp_path / "other.yaml", registries_file):
        base = write(tmp_path / "config.yaml", f"private-registry: {named}")
        assert message(base) == (
            f"{base}:1: private-registry {named} cannot be read: No such file or directory"
        )
    write(registries_file, "mirrors: {a: {endpoint: b}}")
    assert message(base) == f"{registries_file}:1: mirrors.a.endpoint must be a list of texts, got text"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ("a certificate", "is not a PEM file"),
    ],
)
def test_tls_files_of_registries_are_looked_at(
    tmp_path: Path, registries_file: Path, content: str | None, problem: str
) -> None:
    authority = tmp_path / "ca.pem"
    if content is not None:
        write(authority, content)
    base = write(tmp_path / "config.yaml", "")
    write(registries_file, f"configs:\n  a:\n    tls: {{ca_file: {authority}}}")
    assert message(base) == f"{registries_file}:3: configs.a.tls.ca_file {authority} {problem}"
    write(authority, "-----BEGIN CERTIFICATE-----\n")
    assert load(Role.SERVER, config_file=base, environment={}).registries.configs["a"].tls


@pytest.mark.parametrize(
    ("content", "mode", "warned"),
    [
        ("configs: {a: {auth: {username: u, password: p}}}", 0o644, True),
        ("configs: {a: {auth: {username: u, password: p}}}", 0o640, False),
        ("mirrors: {a: {endpoint: [b]}}", 0o644, False),
    ],
)
def test_credentials_that_everyone_can_read_are_warned_of(
    tmp_path: Path, registries_file: Path, content: str, mode: int, warned: bool
) -> None:
    base = write(tmp_path / "config.yaml", "")
    write(registries_file, content, mode)
    warning = (
        f"{registries_file} holds credentials and can be read by everyone (chmod 600 {registries_file})"
    )
    assert load(Role.SERVER, config_file=base, environment={}).warnings == ((warning,) if warned else ())


def test_everything_that_is_wrong_is_told_in_one_run(tmp_path: Path) -> None:
    base = write(
        tmp_path / "config.yaml",
        "etcd-snapshot-schedule-cron: 0 */6 * *\netcd-snapshot-retention: three\nnode-lable: [a=b]\n"
        "cluster-init: true\nlb-server-port: six\n",
    )
    drop_in = write(tmp_path / "config.yaml.d" / "a.yaml", "selinux: true\nnode-ip: [x, 10.0.0.5]\n")
    broken = write(tmp_path / "config.yaml.d" / "b.yaml", "server: [a")
    with pytest.raises(ConfigurationErrors) as error:
        load(Role.SERVER, config_file=base, environment={})
    told = [each.message for each in error.value.each()]
    assert [line.partition(": ")[0] for line in told] == [
        f"{broken}:1",
        f"{base}:3",
        f"{base}:4",
        f"{base}:1",
        f"{base}:2",
        f"{base}:5",
        f"{drop_in}:1",
        f"{drop_in}:2",
    ]
    assert error.value.exit_code == ExitCode.CONFIGURATION
    # Where there is room for one line only.
    assert str(error.value) == f"{told[0]} (and 7 more)"


def test_settings_that_contradict_each_other_are_told_in_one_run() -> None:
    with pytest.raises(ConfigurationErrors) as error:
        make_config(Role.SERVER, {"cni": "multus", "ingress-controller": "none,traefik"})
    assert [each.message.split()[1] for each in error.value.each()] == ["cni", "ingress-controller"]


def test_files_that_settings_name_are_all_looked_at(tmp_path: Path) -> None:
    registries = write(tmp_path / "registries.yaml", "mirror: {}\n")
    base = write(
        tmp_path / "config.yaml",
        f"token-file: {tmp_path}/none\nagent-token-file: {write(tmp_path / 'empty', '')}\n"
        f"private-registry: {registries}\n",
    )
    with pytest.raises(ConfigurationErrors) as error:
        load(Role.SERVER, config_file=base, environment={})
    assert [str(each).partition(": ")[0] for each in error.value.each()] == [
        f"{base}:1",
        f"{base}:2",
        f"{registries}:1",
    ]
