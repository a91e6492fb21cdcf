"""A configuration that is mended while a start goes by the old one, or rests between two attempts."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rke2_units.daemon import inputs, kept_state
from rke2_units.daemon.attempts import Attempt
from rke2_units.daemon.events import StopRequested
from rke2_units.daemon.inputs import Mended
from rke2_units.errors import ConfigurationError, UserError


@pytest.fixture
def config(run_folder: Path) -> Path:
    path = run_folder / "config.yaml"
    path.write_text("kube-apiserver-arg: [audit-log-maxage=xyz]\n")
    return path


def now() -> inputs.Marks:
    return inputs.marks(os.environ)


def make_a_pipe(config: Path) -> None:
    config.unlink()
    os.mkfifo(config)


@pytest.mark.parametrize(
    ("change", "raised"),
    [
        (lambda config: None, UserError),
        (
            lambda config: (
                (config.parent / "config.yaml.d").mkdir(),
                (config.parent / "config.yaml.d/.a.yaml.swp").write_text("debug: true\n"),
            ),
            UserError,
        ),
        # Configuration management writes the same again: in place, or as another file.
        (lambda config: os.utime(config, (0, 0)), UserError),
        (lambda config: os.replace(shutil.copy(config, f"{config}.new"), config), UserError),
        (make_a_pipe, Mended),
        (lambda config: config.write_text("kube-apiserver-arg: []\n"), Mended),
        (lambda config: config.unlink(), Mended),
        (lambda config: (config.parent / "registries.yaml").write_text("mirrors: {}\n"), Mended),
        (lambda config: (config.parent / "token").write_text("another"), Mended),
        (
            lambda config: (
                (config.parent / "config.yaml.d").mkdir(),
                (config.parent / "config.yaml.d/a.yaml").write_text("debug: true\n"),
            ),
            Mended,
        ),
        (
            lambda config: (
                (config.parent / "config.yaml.d").mkdir(),
                (config.parent / "config.yaml.d/A.YAML").write_text("debug: true\n"),
            ),
            Mended,
        ),
    ],
    ids=[
        "nothing",
        "an editor's file",
        "written again",
        "replaced by the same",
        "a pipe",
        "config.yaml",
        "removed",
        "registries.yaml",
        "token",
        "drop-in",
        "drop-in in capitals",
    ],
)
def test_a_start_that_fails_begins_anew_when_its_configuration_was_mended_meanwhile(
    config: Path, change: Callable[[Path], None], raised: type[Exception]
) -> None:
    with pytest.raises(raised), Attempt().remembered():
        change(config)
        raise UserError("kube-apiserver does not start: xyz")
    count, reason = kept_state.failed_attempts(now())
    assert (count, reason) == ((0, "") if raised is Mended else (1, "kube-apiserver does not start: xyz"))


@pytest.mark.parametrize("error", [ConfigurationError("a: unknown"), StopRequested(), Mended()])
def test_what_is_no_failure_or_is_not_tried_again_is_not_remembered(config: Path, error: Exception) -> None:
    with pytest.raises(type(error)), Attempt().remembered():
        config.write_text("a: b\n")
        raise error
    assert kept_state.failed_attempts(now()) == (0, "")


def test_what_is_waited_for_may_be_the_mistake(config: Path) -> None:
    attempt = Attempt()
    attempt.begin_anew_if_mended()
    config.write_text("server: https://another.example:9345\n")
    with pytest.raises(Mended):
        attempt.begin_anew_if_mended()


def test_the_pause_between_attempts_ends_when_the_configuration_is_mended(config: Path) -> None:
    for _ in range(5):
        kept_state.remember_failed_attempt("xyz", now())
    rests, said = list[float](), list[str]()

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 2:
            config.write_text("kube-apiserver-arg: []\n")

    attempt = Attempt()
    assert attempt.pause(rest, said.append) == 6
    assert len(rests) == 2 and max(rests) <= 1.0
    assert said[0].startswith("attempt 6 at ") and said[0].endswith("the last one failed: xyz")
    # What the attempt goes by is what there is after the pause.
    attempt.begin_anew_if_mended()


def test_there_is_no_pause_for_a_configuration_that_has_not_failed(config: Path) -> None:
    kept_state.remember_failed_attempt("xyz", now())
    # systemd may be about to restart the daemon in the moment in which somebody else does.
    config.write_text("kube-apiserver-arg: []\n")
    rests = list[float]()
    assert Attempt().pause(rests.append, lambda text: None) == 1
    assert rests == []


def test_what_a_file_says_is_news_until_it_was_handed_on(config: Path) -> None:
    assert kept_state.is_news(str(config))
    kept_state.remember_handed_on(str(config))
    assert not kept_state.is_news(str(config))
    config.write_text("another")
    assert kept_state.is_news(str(config))
