import shlex

import pytest

from tests import tryout
from tests.nodes import registry
from tests.nodes.content import BUSYBOX_IMAGE


def test_the_node_of_try_says_what_can_be_done_in_it() -> None:
    text = tryout.invitation(["docker.io/rancher/a:1", BUSYBOX_IMAGE])
    assert f"docker.io/rancher/a:1, {BUSYBOX_IMAGE}" in text
    commands = [shlex.split(line.split("  ")[-1]) for line in text.splitlines() if "kubectl create" in line]
    assert commands == [
        ["sudo", "./try", "shell", "kubectl", "create", "deployment", "web", f"--image={BUSYBOX_IMAGE}"]
        + ["--", "sleep", "infinity"]
    ]
    assert "no DNS" in text and "no chart" in text


@pytest.mark.parametrize("words", [["shell"], ["down"]])
def test_without_a_node_it_is_said_how_one_is_made(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "find", lambda name: None)
    monkeypatch.setattr("sys.argv", ["./try", *words])
    assert tryout.main() == (1 if words == ["shell"] else 0)
    assert "there is no node: sudo ./try creates one" in "".join(capsys.readouterr())
