"""helm's files are private and gone afterwards."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from rke2_units.applier.charts import chart
from rke2_units.applier.charts.workspace import sweep, workspace
from rke2_units.errors import UserError

API = "127.0.0.1:6443"
RELEASE = chart.release(
    {
        "metadata": {"name": "a", "namespace": "n"},
        "spec": {
            "chart": "demo",
            "repo": "https://r/",
            "valuesContent": "a: 1\n",
            "set": {"b.c": "sesame", "l[0]": "also,sesame"},
            "repoCA": "PEM",
            "authSecret": {"name": "auth"},
            "dockerRegistrySecret": {"name": "docker"},
        },
    },
    None,
    {
        "auth": {"username": b"u", "password": b"p"},
        "docker": {".dockerconfigjson": b'{"auths": {"r": {"auth": "dTpw"}}}'},
    },
    {},
    api_address=API,
)


def test_every_file_is_private_and_has_its_content(tmp_path: Path) -> None:
    with workspace(str(tmp_path), RELEASE) as paths:
        directory = Path(paths.directory)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for file in directory.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert [os.path.basename(path) for path in paths.values] == [
            "values-0-000-HelmChart-ValuesContent.yaml",
            "values-2-000-HelmChart-Set.yaml",
        ]
        assert json.loads(Path(paths.values[1]).read_text()) == {"b": {"c": "sesame"}}
        ((key, path),) = paths.set_files
        assert (key, Path(path).read_text()) == ("l[0]", "also,sesame")
        assert paths.authority is not None
        assert Path(paths.authority).read_text() == "PEM"
        repositories = json.loads((directory / "repositories.yaml").read_text())["repositories"]
        assert (repositories[0]["url"], repositories[0]["password"]) == ("https://r/", "p")
        assert "dTpw" in (directory / "registry.json").read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_archive_is_a_file(tmp_path: Path) -> None:
    with workspace(str(tmp_path), replace(RELEASE, content=b"tgz", chart="", repository="")) as paths:
        assert paths.chart is not None
        assert Path(paths.chart).read_bytes() == b"tgz"


def test_the_files_go_when_helm_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), workspace(str(tmp_path), RELEASE):
        raise ValueError("x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write helm's files in .*/missing: No such file"):
        with workspace(str(tmp_path / "missing"), RELEASE):
            pass


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "helm-x").mkdir()
    (tmp_path / "helm-x" / "values").write_text("sesame")
    (tmp_path / "charts.json").write_text("[]")
    sweep(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["charts.json"]
    sweep(str(tmp_path / "new"))
    assert (tmp_path / "new").is_dir()
