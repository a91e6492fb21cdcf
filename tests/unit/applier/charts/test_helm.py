"""A child is run within its limits; its lines are logged and its last words kept."""

import stat
import threading
import time
from pathlib import Path

import pytest

from rke2_units.applier.charts import helm as module
from rke2_units.applier.charts.helm import Ended, Helm
from rke2_units.errors import UserError

FIELDS = {"HELM_CHART": "n/a", "HELM_RELEASE": "n/a"}


def program(folder: Path, script: str) -> Helm:
    path = folder / "helm"
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(0o755)
    return Helm(str(path), "/kubeconfig")


def run(helm: Helm, folder: Path, *, limit: float = 20, stop: threading.Event | None = None) -> Ended:
    arguments = ["upgrade", "a"]
    return helm.run(arguments, str(folder), "secret", FIELDS, limit=limit, stop=stop or threading.Event())


def test_success_has_no_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = 'echo "$1 $2 $KUBECONFIG $HELM_DRIVER"; echo "W: old" >&2; echo NOTES:; echo "password: sesame"'
    assert run(program(tmp_path, script), tmp_path) == Ended()
    said = capsys.readouterr().err
    assert "upgrade a /kubeconfig secret\n" in said
    assert "W: old\n" in said
    # A chart's notes may show values.
    assert "sesame" not in said


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'Error: UPGRADE FAILED: no' >&2; exit 1", "UPGRADE FAILED: no"),
        ("echo warning >&2; printf 'Error: a\\n  b' >&2; exit 1", "a | b"),
        ("exit 3", "helm failed with exit status 3"),
        ("kill -KILL $$", "helm was killed by signal 9"),
    ],
)
def test_a_failure_is_told_in_helms_own_words(tmp_path: Path, script: str, words: str) -> None:
    assert run(program(tmp_path, script), tmp_path) == Ended(words)


def test_the_last_lines_of_the_output_of_a_failure_are_kept(tmp_path: Path) -> None:
    script = "echo one; echo two; echo '  three'; echo 'Error: no' >&2; exit 1"
    assert run(program(tmp_path, script), tmp_path) == Ended("no", output="two | three")


def test_words_are_cut_where_they_are_too_long_for_a_status(tmp_path: Path) -> None:
    ended = run(program(tmp_path, "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1"), tmp_path)
    assert len(ended.words) == 1000


def test_one_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = run(program(tmp_path, "sleep 30 & echo $! >child; wait"), tmp_path, limit=0.5)
    assert time.monotonic() - began < 10
    assert ended == Ended("helm timed out after 0.5 seconds")
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 5
    while time.monotonic() < until and is_alive(child):
        time.sleep(0.02)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie, whose parent is slow, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_that_is_no_longer_wanted_is_killed_and_says_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    ended = run(program(tmp_path, "trap '' TERM; sleep 30"), tmp_path, stop=stop)
    assert ended == Ended(interrupted=True)


def test_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_LIMIT", 64 << 20)
    helm = program(tmp_path, "sleep 0.2; exec awk '/Max data size/ {print $4}' /proc/self/limits >limit")
    assert run(helm, tmp_path) == Ended()
    assert int((tmp_path / "limit").read_text()) == 64 << 20


def test_a_helm_that_is_not_there_is_named(tmp_path: Path) -> None:
    helm = Helm(f"{tmp_path}/none", "/kubeconfig")
    assert run(helm, tmp_path).words == f"cannot run {tmp_path}/none: No such file or directory"
    with pytest.raises(UserError, match=f"helm is not installed: {tmp_path}/none"):
        helm.version()


def test_the_version_is_asked_once_for_each_program(tmp_path: Path) -> None:
    helm = program(tmp_path, f"echo asked >>{tmp_path}/asked; echo v3.17.3")
    assert helm.version() == ((3, 17), "3.17.3")
    assert helm.version() == ((3, 17), "3.17.3")
    assert (tmp_path / "asked").read_text() == "asked\n"
    new = tmp_path / "new"
    new.write_text("#!/bin/sh\necho v4.2.3\n")
    new.chmod(stat.S_IRWXU)
    new.rename(tmp_path / "helm")
    assert helm.version() == ((4, 2), "4.2.3")


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo v3.9.1", "helm 3.9 is too old"), ("echo hello", "unexpected output of .* version")],
)
def test_what_is_no_usable_helm_is_refused(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        program(tmp_path, script).version()
