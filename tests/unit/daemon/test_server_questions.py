import threading
import time
from typing import cast

import pytest

from rke2_units.daemon import server_questions
from rke2_units.daemon.events import Events, StopRequested
from rke2_units.doors import journal
from rke2_units.errors import ConfigurationError
from rke2_units.join.http import Refused, Unreachable


class Waiting:
    """The daemon's place to wait, without systemd."""

    def __init__(self) -> None:
        self.stops = False
        self.rests: list[float] = []
        self._woken = threading.Event()

    def wake(self) -> None:
        self._woken.set()

    def wait(self, timeout: float) -> None:
        self._woken.wait(timeout)
        self._woken.clear()
        if self.stops:
            raise StopRequested

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)


def test_a_question_is_asked_again_every_2_seconds_until_there_is_an_answer() -> None:
    events, said = Waiting(), list[str]()
    answers: list[Exception | str] = [Unreachable("https://a: no"), Unreachable("https://b: no"), "yes"]

    def question() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert server_questions.ask(cast(Events, events), question, said.append) == "yes"
    assert said == ["waiting for a server: https://a: no", "waiting for a server: https://b: no"]
    assert events.rests == [2.0, 2.0]


@pytest.mark.parametrize("wanted, rest", [(0.0, 2.0), (1.0, 2.0), (7.0, 7.0), (1e9, 15.0)])
def test_a_server_can_put_it_off_for_a_while_and_no_longer(wanted: float, rest: float) -> None:
    events, answers = Waiting(), [Unreachable("https://a: later", pause=wanted), None]

    def question() -> None:
        if answer := answers.pop(0):
            raise answer

    server_questions.ask(cast(Events, events), question, lambda text: None)
    assert events.rests == [rest]


def test_a_server_that_is_silent_for_long_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    events, logged = Waiting(), list[tuple[float, str]]()
    monkeypatch.setattr(time, "monotonic", lambda: sum(events.rests))
    monkeypatch.setattr(journal, "log", lambda level, text: logged.append((sum(events.rests), text)))

    def question() -> str:
        if sum(events.rests) < 60:
            raise Unreachable("https://a:9345: No route to host")
        return "yes"

    # As a reboot has it, it is no more than a moment.
    assert server_questions.ask(cast(Events, events), question, lambda text: None) == "yes"
    ((moment, text),) = logged
    assert moment == 10
    for said in ("No route to host", "waits until one does", "`server`", "port 9345", "systemctl stop"):
        assert said in text


@pytest.mark.parametrize("error", [Refused("no", 401), ConfigurationError("wrong"), OSError("full")])
def test_what_another_try_would_not_change_is_raised_at_once(error: Exception) -> None:
    events, said = Waiting(), list[str]()

    def question() -> None:
        raise error

    with pytest.raises(type(error)):
        server_questions.ask(cast(Events, events), question, said.append)
    assert said == [] and events.rests == []


def test_a_server_that_does_not_answer_does_not_keep_the_daemon_from_stopping() -> None:
    events, answered = Waiting(), threading.Event()

    def stop() -> None:
        events.stops = True
        events.wake()

    threading.Timer(0.1, stop).start()
    began = time.monotonic()
    with pytest.raises(StopRequested):
        server_questions.ask(cast(Events, events), lambda: answered.wait(30), lambda text: None)
    assert time.monotonic() - began < 4
    answered.set()
