"""What was installed is remembered, and a damaged record is an error in one line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.doors import files
from rke2_units.errors import ConfigurationError, ExitCode
from rke2_units.layout import INSTALLATION_FILE, WRITTEN_FILES
from rke2_units.node import installation
from rke2_units.node.installation import Installation, read, record_written, written_files
from rke2_units.unit_names import Role


def test_a_machine_without_an_installation_has_none(tmp_path: Path) -> None:
    assert read(str(tmp_path)) is None
    assert written_files(str(tmp_path)) == ()


@pytest.mark.parametrize("role", Role)
def test_an_installation_is_read_as_it_was_written(tmp_path: Path, role: Role) -> None:
    made = Installation(role, "v1.36.4+rke2r1", "/srv/rke2", first_family=6)
    files.write_all([made.file()], str(tmp_path))
    assert read(str(tmp_path)) == made


@pytest.mark.parametrize("role", Role)
def test_the_other_role_is_not_told_to_install_what_would_be_refused(tmp_path: Path, role: Role) -> None:
    root = str(tmp_path)
    with pytest.raises(ConfigurationError, match=f"not installed as {role} .run: rke2-units install --role"):
        installation.of_role(role, root)
    made = Installation(role, "v1.36.4+rke2r1", "/srv/rke2")
    files.write_all([made.file()], root)
    assert installation.of_role(role, root) == made
    with pytest.raises(ConfigurationError, match=f"installed as {role.other} but as {role}") as error:
        installation.of_role(role.other, root)
    hint = str(error.value.hint)
    assert hint.startswith(f"systemctl start {role.unit}")
    assert "run rke2-units uninstall before" in hint and "install --role" not in hint


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    text = '{"role": "agent", "release": "v1.36.4+rke2r1", "data_directory": "/srv/rke2"}'
    files.write_atomic(files.below(str(tmp_path), INSTALLATION_FILE), text, 0o644)
    found = read(str(tmp_path))
    assert found is not None
    assert found.kubelet_directories == ("/var/lib/kubelet",)
    assert found.first_family == 0


@pytest.mark.parametrize(
    ("before", "now", "recorded"),
    [
        (None, "/opt/kubelet", ("/opt/kubelet",)),
        (("/opt/kubelet",), "/opt/kubelet", ("/opt/kubelet",)),
        (("/opt/kubelet",), "/var/lib/kubelet", ("/var/lib/kubelet", "/opt/kubelet")),
        (("/b", "/a"), "/a", ("/a", "/b")),
    ],
)
def test_folders_that_the_kubelet_once_had_are_not_forgotten(
    before: tuple[str, ...] | None, now: str, recorded: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Installation(Role.AGENT, "v1.35.0+rke2r1", "/srv/rke2", before) if before else None
    monkeypatch.setattr(installation, "read", lambda root="/": found)
    planned = installation.planned(Role.AGENT, "v1.36.4+rke2r1", "/srv/rke2", now, 6)
    assert planned == Installation(Role.AGENT, "v1.36.4+rke2r1", "/srv/rke2", recorded, 6)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"role": "king", "release": "v1", "data_directory": "/"}', "1"]
)
def test_a_damaged_installation_says_which_file_and_what_to_do(tmp_path: Path, text: str) -> None:
    files.write_atomic(files.below(str(tmp_path), INSTALLATION_FILE), text, 0o644)
    with pytest.raises(ConfigurationError, match=r"installation\.json is damaged") as error:
        read(str(tmp_path))
    assert error.value.exit_code == ExitCode.CONFIGURATION
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "{}", "null", '"x"'])
def test_a_damaged_record_says_which_file_and_what_to_do(tmp_path: Path, text: str) -> None:
    files.write_atomic(files.below(str(tmp_path), WRITTEN_FILES), text, 0o644)
    with pytest.raises(ConfigurationError, match=r"written-files\.json is damaged"):
        written_files(str(tmp_path))


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1)))
def test_written_files_are_recorded_once_each(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str]
) -> None:
    root = str(tmp_path_factory.mktemp("record"))
    record_written(paths, root)
    assert set(written_files(root)) == set(paths)
    assert len(written_files(root)) == len(set(paths))
    assert not record_written(reversed(paths), root)


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), installation.lock(str(tmp_path)):
        raise ZeroDivisionError
    with installation.lock(str(tmp_path)):
        pass
