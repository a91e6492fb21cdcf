"""`./test`: which tests its arguments choose."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# It stands for Python and says which tests it is to run.
PYTHON = """\
#!/bin/sh
[ "$2" = pytest ] || exit 0
shift 4
echo "{name}: $*"
"""

pytestmark = pytest.mark.skipif(
    subprocess.run(["env", "/usr/bin/python3", "-c", "import ensurepip"], capture_output=True).returncode
    != 0,
    reason="./test installs python3-venv first",
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Virtual environments that are there already, and a user that seems to be root."""
    version = subprocess.run(["/usr/bin/python3", "--version"], capture_output=True, check=True).stdout
    for name in ("requirements", "requirements-trixie"):
        listed = (ROOT / f"tests/{name}.txt").read_bytes()
        made = tmp_path / f"python/venv-{hashlib.sha256(version + listed).hexdigest()[:16]}"
        write_program(made / "bin/python", PYTHON.format(name=name))
        (made / "complete").touch()
    write_program(tmp_path / "bin/id", "#!/bin/sh\necho 0\n")
    write_program(tmp_path / "bin/apt-get", "#!/bin/sh\nexit 1\n")
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "RKE2_UNITS_TEST_CACHE": str(tmp_path)}


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def runs(environment: dict[str, str], *arguments: str) -> list[str]:
    done = subprocess.run(
        [ROOT / "test", *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "tests"),
    [
        ("unit -k digest", "-n 2 tests/unit -k digest"),
        ("unit tests/unit/plan -x", "-n 2 tests/unit/plan -x"),
        ("unit ./tests/unit/test_house.py", "-n 2 ./tests/unit/test_house.py"),
        ("node", "tests/node"),
        ("node -k killall", "tests/node -k killall"),
        ("node -x tests/node/test_bounds.py", "-x tests/node/test_bounds.py"),
        ("node tests/node/a.py::test_b tests/node/c.py", "tests/node/a.py::test_b tests/node/c.py"),
        (f"node {ROOT}/tests/node/test_bounds.py", f"{ROOT}/tests/node/test_bounds.py"),
    ],
)
def test_paths_take_the_place_of_the_whole_folder(
    environment: dict[str, str], arguments: str, tests: str
) -> None:
    assert runs(environment, *arguments.split()) == [f"requirements: {tests}"]


def test_without_arguments_the_libraries_of_both_debians_are_tested(environment: dict[str, str]) -> None:
    trixie, bookworm = runs(environment, "unit")
    assert trixie.startswith("requirements-trixie: ")
    assert bookworm == "requirements: -n 2 tests/unit"
    for name in trixie.split():
        assert not name.startswith("tests/") or (ROOT / name).exists(), name


def test_the_examples_of_its_help_exist() -> None:
    help_text = subprocess.run([ROOT / "test", "--help"], capture_output=True, text=True, check=True).stdout
    paths = [word for word in help_text.split() if word.startswith("tests/")]
    assert paths
    assert all((ROOT / path).exists() for path in paths)
