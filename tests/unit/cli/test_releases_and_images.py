"""Commands about releases and images: what they print, and that nothing is changed by what fails."""

import os
from pathlib import Path

import pytest

from rke2_units.cli import image_bundle, join_options
from rke2_units.cli.commands import command
from rke2_units.cli.invoke import invoke
from rke2_units.cli.planning import take_proxies
from rke2_units.errors import ExitCode
from rke2_units.node import facts, installation, releases
from rke2_units.node.installation import Installation
from rke2_units.unit_names import Role

NAME = "v1.34.2+rke2r1"
LIST = """docker.io/rancher/rke2-runtime:v1.34.2-rke2r1
docker.io/rancher/hardened-kubernetes:v1.34.2-rke2r1-build20251112
docker.io/rancher/hardened-etcd:v3.6.5-k3s1-build20251017
docker.io/rancher/mirrored-pause:3.6
docker.io/rancher/hardened-coredns:v1.13.1-build20251015
"""


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing is installed, with an empty configuration."""
    monkeypatch.setattr(releases, "RELEASES_DIRECTORY", os.fspath(tmp_path / "releases"))
    monkeypatch.setattr(installation, "read", lambda root="/": None)
    monkeypatch.setattr(facts, "node_ips", lambda: ("192.0.2.1",))
    configure(tmp_path, monkeypatch, "")


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "config.yaml").write_text(text)
    variables = {"RKE2_CONFIG_FILE": os.fspath(folder / "config.yaml")}
    monkeypatch.setattr(join_options, "read_environment_files", lambda role: variables)
    monkeypatch.setenv(*next(iter(variables.items())))


def pin(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    pinned = Installation(Role.SERVER, release, "/var/lib/rancher/rke2")
    monkeypatch.setattr(installation, "read", lambda root="/": pinned)


def fetch(folder: Path) -> None:
    (folder / "rke2-images-core.linux-amd64.txt").write_text(LIST)
    assert invoke(["release", "fetch", NAME, "--from", f"{folder}/rke2-images-core.linux-amd64.txt"]) == 0


def refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The hint of a command that fails with this message, and prints nothing else."""
    assert invoke(arguments) not in (0, None)
    printed = capsys.readouterr()
    assert printed.out == ""
    line, *hint = printed.err.splitlines()
    assert message in line
    return "".join(hint)


def test_a_release_of_a_file_is_listed_shown_and_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(tmp_path)
    assert f"rke2-units install --role server --release {NAME}" in capsys.readouterr().out
    pin(monkeypatch, NAME)
    assert invoke(["release", "list"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["v1.36.4+rke2r1", "built in  (default)"] in lines
    assert [NAME, f"{tmp_path}/rke2-images-core.linux-amd64.txt  (pinned)"] in lines
    assert invoke(["release", "show", NAME]) == 0
    shown = capsys.readouterr().out
    assert "rancher/hardened-etcd:v3.6.5-k3s1-build20251017" in shown
    assert "3.6.5" in shown
    assert invoke(["render", "--root", f"{tmp_path}/out"]) == 0
    assert f"{NAME} (server)" in capsys.readouterr().out
    staged = (tmp_path / "out/var/lib/rancher/rke2/agent/static-pods/etcd.yaml").read_text()
    assert "rancher/hardened-etcd:v3.6.5-k3s1-build20251017" in staged


def test_without_a_name_the_release_of_the_node_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(monkeypatch, "v1.20.2+rke2r1")
    assert invoke(["release", "show"]) == 0
    assert capsys.readouterr().out.startswith("v1.20.2+rke2r1\n")
    configure(tmp_path, monkeypatch, "release: v1.20.2+rke2r2\n")
    assert invoke(["release", "show"]) == 0
    assert capsys.readouterr().out.startswith("v1.20.2+rke2r2\n")
    configure(tmp_path, monkeypatch, "")
    monkeypatch.setenv("RKE2_RELEASE", "v1.36.4+rke2r1")
    assert invoke(["release", "show"]) == 0
    assert capsys.readouterr().out.startswith("v1.36.4+rke2r1\n")


def test_a_damaged_release_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / f"{NAME}.json").write_text("{")
    assert invoke(["release", "list"]) == 0
    printed = capsys.readouterr().out
    assert "v1.36.4+rke2r1" in printed
    assert "is damaged" in printed


@pytest.mark.parametrize("command", [["render", "--root", "out"], ["images", "list"], ["diff"]])
def test_a_release_that_is_not_known_is_answered_with_how_to_get_it(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    hint = refused([*command, "--release", NAME], f"unknown release '{NAME}'", capsys)
    assert f"run: rke2-units release fetch {NAME}" in hint


def test_fetching_asks_where_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, monkeypatch, "release-artifact-url: http://127.0.0.1:9/mirror/\n")
    hint = refused(
        ["release", "fetch", NAME],
        "cannot fetch http://127.0.0.1:9/mirror/v1.34.2%2Brke2r1/sha256sum-",
        capsys,
    )
    assert "--from FILE" in hint
    assert not (tmp_path / "releases").exists()


@pytest.mark.parametrize(
    "text",
    [
        "release: 1.34.2\n",
        "release: v1.34.2\n",
        "release-artifact-url: ftp://example.com\n",
        "release-artifact-url: https://user:secret@example.com\n",
        "release-artifact-url: https://example.com/x?y\n",
        "release-artifact-url: example.com\n",
    ],
)
def test_wrong_keys_are_refused_with_their_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, monkeypatch, text)
    assert invoke(["images", "list"]) == ExitCode.CONFIGURATION
    assert f"{tmp_path}/config.yaml:1: release" in capsys.readouterr().err


def test_an_install_that_the_configuration_would_undo_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, monkeypatch, "release: v1.20.2+rke2r1\n")
    hint = refused(
        ["install", "--role", "server", "--release", "v1.20.2+rke2r2", "--dry-run"],
        f"--release v1.20.2+rke2r2, but {tmp_path}/config.yaml:1 says release: v1.20.2+rke2r1",
        capsys,
    )
    assert "change or remove it there" in hint


def test_an_install_dry_run_with_a_list_keeps_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text(LIST)
    install = ["install", "--role", "server", "--dry-run", "--release", NAME]
    # Whether this machine could be a node is not the question here.
    invoke([*install, "--image-list", f"{tmp_path}/list.txt"])
    assert "rancher/hardened-etcd:v3.6.5-k3s1-build20251017" in capsys.readouterr().out
    assert not (tmp_path / "releases").exists()
    refused(
        ["install", "--role", "server", "--dry-run", "--image-list", f"{tmp_path}/list.txt"],
        "release v1.36.4+rke2r1 is built in",
        capsys,
    )


def test_images_are_listed_one_a_line_for_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(
        tmp_path, monkeypatch, "cni: none\netcd-image: example.org/e:1\nsystem-default-registry: r.io\n"
    )
    fetch(tmp_path)
    capsys.readouterr()
    assert invoke(["images", "list", "--release", NAME]) == 0
    printed = capsys.readouterr()
    expected = sorted([line for line in LIST.split() if "etcd" not in line] + ["example.org/e:1"])
    assert printed.out.splitlines() == expected
    # This list of core has no traefik, and there is no other list.
    assert printed.err == (
        f"warning: {NAME} has no image list for ingress-nginx; its images are not included\n"
    )


def test_what_the_list_prints_the_bundle_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: dict[str, dict[str, str]] = {}

    def write(output: str, images: dict[str, str], *_: object, **__: object) -> int:
        taken[output] = images
        return 1 << 20

    monkeypatch.setattr(image_bundle, "write", write)
    configure(tmp_path, monkeypatch, "release: v1.20.2+rke2r1\nsystem-default-registry: r.example.com\n")
    assert invoke(["images", "list"]) == 0
    (tmp_path / "list.txt").write_text(capsys.readouterr().out)
    assert invoke(["images", "bundle", "--output", "one.tar"]) == 0
    assert capsys.readouterr().out == "one.tar: 5 images, 1.0 MiB\n"
    assert invoke(["images", "bundle", "--output", "two.tar", "--image-list", f"{tmp_path}/list.txt"]) == 0
    assert taken["one.tar"] == taken["two.tar"]
    assert taken["one.tar"]["docker.io/rancher/mirrored-pause:3.2"] == (
        "r.example.com/rancher/mirrored-pause:3.2"
    )
    assert invoke(["images", "bundle", "--output", "three.tar", "--image", "busybox"]) == 0
    assert taken["three.tar"] == {"docker.io/library/busybox:latest": "docker.io/library/busybox:latest"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["release", "lst"], "No such command 'lst'; did you mean 'list'"),
        (["release", "fetch"], "Missing argument 'VERSION'"),
        (["images", "bundle"], "Missing option '--output'"),
        (
            ["images", "bundle", "--output", "x.zip", "--image", "a"],
            "x.zip does not have the suffix of an archive",
        ),
        (["images", "bundle", "--output", "x.tar", "--image", "a b"], "'a b' is no image reference"),
        (["images", "bundle", "--output", "x.tar", "--image-list", "/nowhere"], "cannot read /nowhere"),
        (["release", "fetch", "v1.36.4+rke2r1"], "release v1.36.4+rke2r1 is built in"),
        (["release", "fetch", "nonsense"], "unknown release 'nonsense'"),
        (["release", "show", "nonsense"], "unknown release 'nonsense'"),
        (["release", "fetch", NAME, "--from", "/nowhere"], "cannot read /nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(arguments) in (ExitCode.FAILURE, ExitCode.USAGE, ExitCode.CONFIGURATION)
    printed = capsys.readouterr()
    assert message in printed.err.splitlines()[0]
    assert "Traceback" not in printed.err
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_the_nodes_proxies_are_used_where_the_command_has_none_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {"https_proxy": "http://own:1", "PATH": "/bin"}
    monkeypatch.setattr(os, "environ", own)
    take_proxies({"HTTPS_PROXY": "http://node:2", "HTTP_PROXY": "http://node:3", "PATH": "/nowhere"})
    assert own == {"https_proxy": "http://own:1", "PATH": "/bin", "HTTP_PROXY": "http://node:3"}


def test_releases_are_completed_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(tmp_path)
    capsys.readouterr()
    monkeypatch.setenv("_RKE2_UNITS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "rke2-units install --release v1.3")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        command.main([], prog_name="rke2-units")
    assert capsys.readouterr().out.split() == ["plain,v1.36.4+rke2r1", f"plain,{NAME}"]


def test_an_install_keeps_the_release_moves_the_pin_and_says_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Installation] = []

    def apply(plan: object, *, installation: Installation) -> list[object]:
        written.append(installation)
        return []

    for name, replacement in (
        ("apply", apply),
        ("set_kernel_parameters", lambda plan: []),
        ("_check", lambda *_: 0),
        ("_enable", lambda unit: None),
    ):
        monkeypatch.setattr(f"rke2_units.cli.install.{name}", replacement)
    monkeypatch.setattr("rke2_units.cli.install.read_installation", lambda: installation.read())
    (tmp_path / "list.txt").write_text(LIST)
    arguments = ["install", "--role", "server", "--release", NAME]

    assert invoke([*arguments, "--image-list", f"{tmp_path}/list.txt"]) == 0
    assert "start it: systemctl start rke2-server" in capsys.readouterr().out
    # Now it is known here, and nothing has to be fetched.
    pin(monkeypatch, "v1.36.4+rke2r1")
    assert invoke(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{NAME} is installed in place of v1.36.4+rke2r1; to run it: systemctl restart rke2-server"
    )
    # Without --release the pin stays, unless the configuration moves it.
    assert invoke(["install", "--role", "server"]) == 0
    configure(tmp_path, monkeypatch, f"release: {NAME}\n")
    assert invoke(["install", "--role", "server"]) == 0
    assert [each.release for each in written] == [NAME, NAME, "v1.36.4+rke2r1", NAME]
