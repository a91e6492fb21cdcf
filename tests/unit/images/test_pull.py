"""Pulls with a skopeo that answers from a table, by endpoint."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rke2_units.errors import UserError
from rke2_units.images import pull
from rke2_units.images.registries import Registries
from rke2_units.lean.json_table import Table

# `answers`: for each registry what `copy` does, one after another; the last stays.
SKOPEO = """#!/usr/bin/python3 -I
import json, os, sys, time
state = json.load(open({state!r}))
arguments = sys.argv[1:]
source = next(item for item in arguments if item.startswith("docker://"))
options = dict(zip(arguments, arguments[1:]))
prefix = "--src-" if "copy" in arguments else "--"
files = {{}}
for root, _, names in os.walk(os.environ["HOME"]):
    for name in names:
        path = os.path.join(root, name)
        files[os.path.relpath(path, os.environ["HOME"])] = [open(path).read(), os.stat(path).st_mode & 0o777]
state["calls"].append({{"arguments": arguments, "files": files}})
if "inspect" in arguments:
    answer = state["manifests"].get(source, state["manifest"])
else:
    answers = state["answers"][source.split("/")[2]]
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
json.dump(state, open({state!r}, "w"))
if isinstance(answer, str):
    sys.exit('time="2026" level=fatal msg="' + answer + '"')
if "inspect" in arguments:
    print(json.dumps(answer))
    sys.exit()
directory = arguments[-1].removeprefix("dir:")
for size in answer:
    open(directory + "/blob", "ab").write(bytes(size))
    time.sleep(1.1 if len(answer) > 1 else 0)
open(directory + "/manifest.json", "w").write("{{}}")
"""
GOOD = [3 << 20]
CUT = "writing blob: happened during read: unexpected EOF"
MANIFEST = {
    "config": {"digest": "sha256:1", "size": 1 << 20},
    "layers": [{"digest": "sha256:2", "size": 2 << 20}, {"digest": "sha256:2", "size": 2 << 20}],
}


class Lab:
    """skopeo's answers and what it was asked, and what the pull told."""

    def __init__(self, root: Path) -> None:
        self.file = root / "state.json"
        self.directory = root / "pulled"
        self.told: list[str] = []
        self.progress: list[str] = []

    def answer(self, manifest: object = MANIFEST, manifests: object = None, **answers: list[object]) -> None:
        state = {
            "manifest": manifest,
            "manifests": manifests or {},
            "answers": {f"{name}.local": list(values) for name, values in answers.items()},
            "calls": [],
        }
        self.file.write_text(json.dumps(state))

    def calls(self, command: str) -> list[dict[str, list[str]]]:
        return [call for call in json.loads(self.file.read_text())["calls"] if command in call["arguments"]]

    def fetch(self, *names: str, hosts: object = None, reference: str = "rancher/x:1") -> str:
        mirrors = {"docker.io": [{"url": f"https://{name}.local/v2"} for name in names]}
        registries = Registries(Table("test", {"mirrors": mirrors, "hosts": hosts or {}}))
        return pull.fetch(
            registries, reference, str(self.directory), architecture="arm64",
            tell=self.told.append, progress=self.progress.append,
        )  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(tmp_path)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/skopeo"
    program.write_text(SKOPEO.format(state=str(made.file)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(pull, "_PAUSE", 0.0)
    return made


def options(call: dict[str, list[str]]) -> dict[str, str]:
    words = call["arguments"]
    return dict(zip(words, words[1:], strict=False))


def test_an_image_is_pulled_into_a_directory_that_nothing_else_is_in(lab: Lab) -> None:
    lab.directory.mkdir()
    (lab.directory / "left-over").touch()
    lab.answer(a=[GOOD])
    assert lab.fetch("a") == "https://a.local/v2"
    assert sorted(os.listdir(lab.directory)) == ["blob", "manifest.json"]
    assert lab.directory.stat().st_mode & 0o777 == 0o700
    assert not os.path.exists(f"{lab.directory}.work")
    (copy,) = lab.calls("copy")
    assert options(copy)["--override-arch"] == "arm64"
    assert "--src-tls-verify=true" in copy["arguments"]
    assert "docker://a.local/rancher/x:1" in copy["arguments"]


def test_endpoints_are_tried_in_order_until_one_has_the_image(lab: Lab) -> None:
    lab.answer(a=["dial tcp: connect: connection refused"], b=["manifest unknown"], c=[GOOD])
    assert lab.fetch("a", "b", "c") == "https://c.local/v2"
    assert lab.told == [
        "rancher/x:1 cannot be pulled from https://a.local/v2: it refuses connections"
        " (dial tcp: connect: connection refused); trying https://b.local/v2",
        "rancher/x:1 cannot be pulled from https://b.local/v2: it lacks the image (404)"
        " (manifest unknown); trying https://c.local/v2",
    ]


def test_the_error_says_what_became_of_each_endpoint(lab: Lab) -> None:
    lab.answer(a=["connect: connection refused"], b=["unauthorized"])
    with pytest.raises(UserError) as caught:
        lab.fetch("a", "b")
    assert str(caught.value) == (
        "rancher/x:1 cannot be pulled: https://a.local/v2: it refuses connections"
        " (connect: connection refused); https://b.local/v2: it rejects the credentials (401) (unauthorized)"
    )
    assert not lab.directory.exists() and not os.path.exists(f"{lab.directory}.work")


def test_a_cut_connection_is_tried_again_from_the_beginning(lab: Lab) -> None:
    lab.answer(a=[CUT, CUT, GOOD])
    assert lab.fetch("a") == "https://a.local/v2"
    assert len(lab.calls("copy")) == 3
    assert all("it closed the connection" in line and "trying again" in line for line in lab.told)
    lab.answer(a=[CUT], b=[GOOD])
    assert lab.fetch("a", "b") == "https://b.local/v2"


def test_a_full_disk_is_no_reason_to_ask_the_next_endpoint(lab: Lab) -> None:
    lab.answer(a=["write x: no space left on device"], b=[GOOD])
    with pytest.raises(UserError, match="https://a.local/v2: the disk is full"):
        lab.fetch("a", "b")


def test_an_image_without_an_endpoint_is_named(lab: Lab) -> None:
    with pytest.raises(
        UserError, match="rancher/x:1 cannot be pulled: registries.yaml allows no endpoint for it"
    ):
        lab.fetch()


def test_credentials_are_in_a_file_for_skopeo_alone(lab: Lab) -> None:
    lab.answer(a=[GOOD])
    host = {"username": "alice", "password": "wonder:land", "identity_token": "token"}
    lab.fetch("a", hosts={"a.local": host})
    (copy,) = lab.calls("copy")
    assert options(copy)["--src-authfile"] == f"{lab.directory}.work/auth.json"
    text, mode = copy["files"]["auth.json"]  # type: ignore[call-overload]
    assert mode == 0o600
    # base64 of alice:wonder:land
    entry = {"auth": "YWxpY2U6d29uZGVyOmxhbmQ=", "identitytoken": "token"}
    assert json.loads(text) == {"auths": {"a.local": entry}}
    assert not any("wonder" in word or entry["auth"] in word for word in copy["arguments"])


def test_dockers_own_credentials_serve_where_registries_yaml_has_none(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "home/.docker").mkdir(parents=True)
    (tmp_path / "home/.docker/config.json").write_text('{"auths": {"b.local": {}}}')
    lab.answer(a=["unauthorized"], b=[GOOD])
    lab.fetch("a", "b", hosts={"a.local": {"username": "u"}})
    first, second = (call["files"]["auth.json"][0] for call in lab.calls("copy"))  # type: ignore[call-overload]
    assert "a.local" in first and "b.local" in second


def test_files_for_tls_get_the_names_that_skopeo_wants(lab: Lab, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")}
    for name, path in files.items():
        path.write_text(name)
    lab.answer(a=[GOOD])
    lab.fetch("a", hosts={"a.local": {name: str(path) for name, path in files.items()}})
    (copy,) = lab.calls("copy")
    assert options(copy)["--src-cert-dir"] == f"{lab.directory}.work/certificates"
    found = {name: value[0] for name, value in copy["files"].items() if name.startswith("certificates/")}  # type: ignore[attr-defined]
    assert found == {
        "certificates/ca.crt": "ca",
        "certificates/client.cert": "certificate",
        "certificates/client.key": "key",
    }


def test_a_missing_file_for_tls_keeps_an_endpoint_from_being_asked(lab: Lab) -> None:
    lab.answer(a=[GOOD], b=[GOOD])
    assert lab.fetch("a", "b", hosts={"a.local": {"ca": "/nonexistent.pem"}}) == "https://b.local/v2"
    assert "/nonexistent.pem, named in registries.yaml, is missing" in lab.told[0]


def test_the_machines_own_configuration_is_out_of_sight(lab: Lab, tmp_path: Path) -> None:
    lab.answer(a=[GOOD])
    lab.fetch("a")
    (copy,) = lab.calls("copy")
    # registries.conf in the home directory takes the place of the one in /etc/containers.
    assert copy["files"][".config/containers/registries.conf"][0] == ""  # type: ignore[call-overload]
    assert json.loads(copy["files"]["auth.json"][0]) == {"auths": {}}  # type: ignore[call-overload]
    assert os.listdir(tmp_path).count("home") == 0


def test_progress_says_how_much_of_how_much_is_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_TOLD_EVERY", 0.5)
    lab.answer(a=[[1 << 20, 2 << 20]])
    lab.fetch("a")
    subject = "rancher/x:1 from https://a.local/v2"
    assert lab.progress[0] == f"asking for {subject}"
    assert lab.progress[1] == f"pulling {subject}: 1.0 of 3.0 MiB"
    assert lab.progress[-1] == f"pulling {subject}: 3.0 of 3.0 MiB"
    assert lab.told and set(lab.told) <= set(lab.progress)


def test_the_size_of_an_image_for_several_machines_is_that_of_the_wanted_one(lab: Lab) -> None:
    index = {
        "manifests": [
            {"digest": "sha256:a", "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": "sha256:b", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        ]
    }
    lab.answer(
        a=[GOOD],
        manifests={"docker://a.local/rancher/x:1": index, "docker://a.local/rancher/x@sha256:b": MANIFEST},
        manifest="manifest unknown",
    )
    lab.fetch("a")
    assert lab.progress[-1].endswith("of 3.0 MiB")


@pytest.mark.parametrize("manifest", [{}, {"manifests": 7}, {"config": {}, "layers": []}, {"manifests": []}])
def test_without_a_size_a_pull_goes_on(lab: Lab, manifest: object) -> None:
    lab.answer(a=[GOOD], manifest=manifest)
    lab.fetch("a")
    assert lab.progress[-1].endswith(": 3.0 MiB")


@pytest.mark.parametrize("manifest", [[], 7, None])
def test_an_endpoint_that_answers_nonsense_is_passed_over(lab: Lab, manifest: object) -> None:
    lab.answer(a=[GOOD], manifest=manifest)
    with pytest.raises(UserError, match="https://a.local/v2: its answer is not a manifest"):
        lab.fetch("a")


def test_a_pull_that_stands_still_is_ended(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "_SILENCE", 1.0)
    lab.answer(a=[[1] + [0] * 20], b=[GOOD])
    began = time.monotonic()
    assert lab.fetch("a", "b") == "https://b.local/v2"
    assert time.monotonic() - began < 10
    assert "https://a.local/v2: it stopped sending data" in lab.told[0]


def test_a_registry_that_does_not_answer_is_passed_over(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin/skopeo").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    monkeypatch.setattr(pull, "_ANSWER", 0.3)
    with pytest.raises(UserError, match="https://a.local/v2: it does not answer in time"):
        lab.fetch("a")


def test_without_skopeo_its_package_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "bin/skopeo").unlink()
    with pytest.raises(UserError, match=r"skopeo is not there \(apt install skopeo\)"):
        lab.fetch("a")


def test_an_interrupted_pull_leaves_nothing(lab: Lab) -> None:
    lab.answer(a=[[1, 1, 1]])

    def interrupt(_: str) -> None:
        if lab.directory.exists():
            raise KeyboardInterrupt

    lab.progress = Interrupting(interrupt)
    with pytest.raises(KeyboardInterrupt):
        lab.fetch("a")
    assert not lab.directory.exists() and not os.path.exists(f"{lab.directory}.work")


class Interrupting(list[str]):
    """A list that calls a function with what it gets."""

    def __init__(self, function: Callable[[str], None]) -> None:
        self._function = function

    def append(self, text: str) -> None:
        self._function(text)
