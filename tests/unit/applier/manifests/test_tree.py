"""Which files of server/manifests count."""

import os
from pathlib import Path

import pytest

from rke2_units.applier.manifests import tree
from rke2_units.applier.manifests.tree import Tree, scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    return path


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("# x\n")


def names(found: Tree) -> list[str]:
    return [f"{file.addon}={os.path.basename(file.path)}" for file in found.files]


def test_a_folder_that_is_missing_is_empty(tmp_path: Path) -> None:
    assert scan(f"{tmp_path}/none") == Tree()


def test_yaml_and_json_count_in_all_folders_in_the_order_of_their_paths(folder: Path) -> None:
    make(folder, "z.yaml", "a.yml", "B/c.JSON", "d.txt", "e", ".f.yaml", "B/.g.yaml")
    assert names(scan(str(folder))) == ["c=c.JSON", "a=a.yml", "z=z.yaml"]


def test_the_addon_is_named_after_the_file_up_to_the_first_dot(folder: Path) -> None:
    make(folder, "rke2-x.v1.yaml")
    assert names(scan(str(folder))) == ["rke2-x=rke2-x.v1.yaml"]


@pytest.mark.parametrize("name", ["My.yaml", "a_b.yaml", "-a.yaml", "a-.yaml", f"{'a' * 240}.yaml.x.yaml"])
def test_a_name_that_no_addon_can_have_is_told(folder: Path, name: str) -> None:
    make(folder, name)
    found = scan(str(folder))
    if len(name) < 50:
        assert not found.files
        assert "rename it" in found.problems[f"{folder}/{name}"]
    else:
        assert found.files


def test_two_files_of_one_addon_are_told_and_the_first_counts(folder: Path) -> None:
    make(folder, "a/x.yaml", "b/x.json")
    found = scan(str(folder))
    assert names(found) == ["x=x.yaml"]
    assert f"{folder}/a/x.yaml" in found.problems[f"{folder}/b/x.json"]


def test_a_skip_file_makes_files_of_its_name_be_ignored_wherever_they_are(folder: Path) -> None:
    make(folder, "a.yaml", "a.yaml.skip", "sub/a.yaml", "b.yaml")
    assert names(scan(str(folder))) == ["b=b.yaml"]


@pytest.mark.parametrize(
    ("disable", "left"),
    [
        ({"a"}, ["b.yaml", "c.yaml", "d.yaml", "e.f.yaml"]),
        ({"sub"}, ["a.yaml", "b.yaml", "e.f.yaml"]),
        ({"sub/deep"}, ["a.yaml", "b.yaml", "c.yaml", "e.f.yaml"]),
        ({"deep"}, ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.f.yaml"]),
        ({"e"}, ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.f.yaml"]),
        ({"e.f", "b"}, ["a.yaml", "c.yaml", "d.yaml"]),
    ],
)
def test_disable_names_files_without_suffix_and_folders(
    folder: Path, disable: set[str], left: list[str]
) -> None:
    make(folder, "a.yaml", "b.yaml", "sub/c.yaml", "sub/deep/d.yaml", "e.f.yaml")
    found = scan(str(folder), disable)
    assert sorted(os.path.basename(file.path) for file in found.files) == left
    assert len(found.files) + len(found.disabled) == 5


def test_disable_comes_before_skip(folder: Path) -> None:
    make(folder, "a.yaml", "a.yaml.skip")
    assert [file.addon for file in scan(str(folder), {"a"}).disabled] == ["a"]


def test_links_to_folders_are_followed_once_and_their_files_are_not_ours_to_remove(folder: Path) -> None:
    make(folder, "a.yaml", "../outside/b.yaml", "../further/c.yaml")
    (folder / "link").symlink_to(folder.parent / "outside")
    (folder.parent / "outside" / "again").symlink_to(folder.parent / "further")
    (folder / "round").symlink_to(folder)
    found = scan(str(folder))
    assert [(file.path, file.removable) for file in found.files if "round" not in file.path] == [
        (f"{folder}/a.yaml", True),
        (f"{folder}/link/b.yaml", False),
    ]


def test_a_link_that_leads_nowhere_and_a_pipe_are_no_files(folder: Path) -> None:
    (folder / "a.yaml").symlink_to("nowhere")
    os.mkfifo(folder / "b.yaml")
    assert scan(str(folder)) == Tree()


def test_a_file_that_is_open_for_writing_is_not_read_yet(folder: Path) -> None:
    make(folder, "a.yaml")
    (file,) = scan(str(folder)).files
    with open(file.path, "a"):
        assert tree.read(file, 100) is None
    assert tree.read(file, 3) == b"# x"


def test_a_changed_file_has_another_stamp(folder: Path) -> None:
    make(folder, "a.yaml")
    before = scan(str(folder)).files[0].stamp
    (folder / "new").write_text("# y\n")
    os.replace(folder / "new", folder / "a.yaml")
    assert scan(str(folder)).files[0].stamp != before


def test_what_cannot_be_looked_at_is_a_problem_and_hides_no_other_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(folder, "a.yaml", "private/b.yaml")
    (folder / "round.yaml").symlink_to("round.yaml")
    scandir = os.scandir

    def not_for_us(path: str) -> object:
        if path.endswith("private"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", not_for_us)
    found = scan(str(folder))
    assert names(found) == ["a=a.yaml"]
    assert found.problems == {
        f"{folder}/private": f"{folder}/private cannot be read: Permission denied",
        f"{folder}/round.yaml": f"{folder}/round.yaml cannot be read: Too many levels of symbolic links",
    }
