"""debian/release, run in a repository of its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "debian/release"
CHANGELOG = """\
rke2-units (1.2.3) UNRELEASED; urgency=medium

  * New.

 -- A <a@example.org>  Sun, 22 Nov 2026 12:00:00 +0000

rke2-units (1.2.2) unstable; urgency=medium

  * Old.

 -- A <a@example.org>  Sat, 21 Nov 2026 12:00:00 +0000
"""
USER_CHANGELOG = "# Changes\n\n## 1.2.3, not released\n\nNew.\n\n## 1.2.2, 2026-11-21\n\nOld.\n"
# What git asks of gpg, without a key.
GPG = """\
#!/bin/sh
cat >/dev/null
printf '\\n[GNUPG:] SIG_CREATED D\\n' >&2
printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nabc\\n-----END PGP SIGNATURE-----\\n'
"""

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit that can be released, and a remote that has this commit."""
    tree = tmp_path / "tree"
    for name, text in {
        "rke2_units/__init__.py": '"""It."""\n\n__version__ = "1.2.3"\n',
        "debian/changelog": CHANGELOG,
        "CHANGELOG.md": USER_CHANGELOG,
    }.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    shutil.copy(SCRIPT, tree / "debian/release")
    write_program(tree / "test", "#!/bin/sh\necho tested\n")
    write_program(tmp_path / "bin/sudo", '#!/bin/sh\nexec "$@"\n')
    write_program(tmp_path / "bin/gpg", GPG)
    for name, value in {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    git(tree, "init", "--quiet", "--initial-branch=main")
    commit(tree)
    git(tree, "init", "--quiet", "--bare", str(tmp_path / "remote"))
    git(tree, "remote", "add", "origin", str(tmp_path / "remote"))
    git(tree, "push", "--quiet", "origin", "main")
    return tree


def git(tree: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=tree, capture_output=True, text=True, check=True)
    return done.stdout


def commit(tree: Path) -> None:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "something")


def release(tree: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([tree / "debian/release", *options], capture_output=True, text=True)


def test_a_release_is_tested_dated_committed_and_tagged_and_not_pushed(tree: Path) -> None:
    before = git(tree, "rev-parse", "HEAD")
    done = release(tree)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tested\n")
    first, second = (tree / "debian/changelog").read_text().split("\nrke2-units (1.2.2)")
    assert first.startswith("rke2-units (1.2.3) unstable; urgency=medium\n")
    date = r"\w{3}, \d\d \w{3} 20\d\d \d\d:\d\d:\d\d [+-]\d{4}"
    assert re.search(rf"^ -- A <a@example.org>  {date}$", first, re.MULTILINE)
    assert "22 Nov 2026" not in first
    assert second == CHANGELOG.split("\nrke2-units (1.2.2)")[1]
    assert re.search(r"^## 1\.2\.3, 20\d\d-\d\d-\d\d$", (tree / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert git(tree, "log", "-1", "--format=%s").strip() == "debian: release 1.2.3"
    assert git(tree, "rev-parse", "HEAD^") == before
    assert git(tree, "rev-parse", "v1.2.3^{commit}") == git(tree, "rev-parse", "HEAD")
    assert git(tree, "cat-file", "-t", "v1.2.3").strip() == "tag"
    assert "is not signed" in done.stderr
    assert git(tree, "status", "--porcelain") == ""
    assert git(tree, "ls-remote", "--heads", "--tags", "origin") == f"{before.strip()}\trefs/heads/main\n"


def test_a_release_is_signed_where_git_knows_a_key(tree: Path) -> None:
    git(tree, "config", "user.signingkey", "A")
    done = release(tree, "--tested")
    assert done.returncode == 0, done.stderr
    assert "tested" not in done.stdout
    assert "BEGIN PGP SIGNATURE" in git(tree, "cat-file", "tag", "v1.2.3")


@pytest.mark.parametrize(
    ("path", "old", "new", "words"),
    [
        ("debian/changelog", "UNRELEASED", "unstable", "debian/changelog does not begin with"),
        ("debian/changelog", "1.2.3", "1.2.4", "debian/changelog does not begin with"),
        ("CHANGELOG.md", "1.2.3", "1.2.4", "the first section of CHANGELOG.md is not"),
        ("CHANGELOG.md", "not released", "2026-11-22", "the first section of CHANGELOG.md is not"),
        ("rke2_units/__init__.py", "1.2.3", "1.2", "'1.2' is not a version X.Y.Z"),
        ("rke2_units/__init__.py", "__version__", "version", "'' is not a version X.Y.Z"),
        ("test", "echo tested", "exit 1", "./test failed"),
        ("test", "echo tested", "touch left", "./test changed files"),
    ],
)
def test_what_cannot_be_released_is_left_as_it_is(
    tree: Path, path: str, old: str, new: str, words: str
) -> None:
    changed = tree / path
    changed.write_text(changed.read_text().replace(old, new, 1))
    commit(tree)
    before = git(tree, "rev-parse", "HEAD")
    done = release(tree)
    assert done.returncode == 1
    assert words in done.stderr
    assert git(tree, "rev-parse", "HEAD") == before
    assert git(tree, "tag") == ""
    assert git(tree, "diff", "HEAD") == ""


def test_a_version_is_released_once(tree: Path) -> None:
    git(tree, "tag", "v1.2.3")
    done = release(tree)
    assert done.returncode == 1
    assert done.stderr == "release: the tag v1.2.3 exists already\n"


@pytest.mark.parametrize("name", ["CHANGELOG.md", "new"])
def test_only_what_is_committed_is_released(tree: Path, name: str) -> None:
    with (tree / name).open("a") as file:
        file.write("more\n")
    done = release(tree)
    assert done.returncode == 1
    assert "uncommitted changes" in done.stderr
    assert git(tree, "tag") == ""
