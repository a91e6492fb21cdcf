"""A folder in the place of /run and of the node's configuration, for what the daemon keeps and reads."""

from pathlib import Path

import pytest

from rke2_units import layout
from rke2_units.daemon import kept_state
from rke2_units.images import image_store


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the daemon keeps is here, and the configuration: config.yaml, registries.yaml, token."""
    for name, file in (
        ("CONFIG_FILE", "config.yaml"),
        ("REGISTRIES_FILE", "registries.yaml"),
        ("TOKEN_FILE", "token"),
        ("RUNTIME_DIRECTORY", ""),
        ("STOPPING_LOCK", "stopping.lock"),
        ("UNIT_DIRECTORY", "units"),
    ):
        monkeypatch.setattr(layout, name, str(tmp_path / file))
    for name in ("_FAILED_ATTEMPTS", "_STOPPED_BY_HAND", "_HANDED_ON"):
        monkeypatch.setattr(kept_state, name, str(tmp_path / name))
    monkeypatch.setattr(image_store, "PRESENT_FILE", str(tmp_path / "present"))
    return tmp_path
