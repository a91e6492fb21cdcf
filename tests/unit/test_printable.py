"""What others wrote reaches systemd, a journal or a terminal as one line of printable characters."""

import socket
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.lean import console
from rke2_units.printable import line, visible

# Of Unicode's categories: control, format (with what changes the direction of writing), surrogate, and the
# separators of lines and paragraphs.
ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\n\r\0\x1b\x9b\u2028\u202e\u2066\x85=ä😀 ")))


def acts(text: str) -> bool:
    return any(unicodedata.category(letter) in ACTING for letter in text)


@given(TEXTS)
@example("\x1b[2J\u202egnp.exe")
def test_a_line_has_nothing_that_a_terminal_acts_on(text: str) -> None:
    assert not acts(line(text)) and not acts(visible(text))
    assert len(visible(text)) == len(text)
    assert line(line(text)) == line(text)


@given(st.text(st.characters(categories=("L", "N", "P", "S"))))
def test_what_can_be_printed_stays(text: str) -> None:
    assert line(text) == visible(text) == text


class Systemd:
    """Who receives notifications."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(path)

    def received(self) -> bytes:
        # systemd's own bound; what is longer is dropped.
        datagram, _, flags, _ = self._socket.recvmsg(4096)
        assert not flags & socket.MSG_TRUNC
        return datagram

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def systemd() -> Iterator[Systemd]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        receiver = Systemd(f"{folder}/notify")
        yield receiver
        receiver.close()


def by_daemon(text: str) -> None:
    journal.notify(STATUS=text)


@pytest.mark.parametrize("say", [by_daemon, console.status])
@given(text=TEXTS)
@example(text="degraded: spec.set: a\nMAINPID=1234\n.b")
@example(text="\U0001f600" * 5000)
def test_a_status_is_one_line_whatever_it_tells(
    say: Callable[[str], None], text: str, systemd: Systemd
) -> None:
    say(text)
    (state,) = systemd.received().decode().splitlines()
    assert state.startswith("STATUS=") and not acts(state)
    assert line(text).startswith(state.removeprefix("STATUS="))


def test_states_are_told_together(systemd: Systemd) -> None:
    journal.notify(READY=1, STATUS="a\nSTOPPING=1")
    assert systemd.received() == b"READY=1\nSTATUS=a STOPPING=1"


@given(TEXTS)
def test_a_message_is_one_line_in_the_journal_and_without_one(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(journal, "_JOURNAL_SOCKET", f"{folder}/journal")
        patch.setenv("JOURNAL_STREAM", "1:1")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as receiver:
            receiver.bind(f"{folder}/journal")
            journal.log(Level.INFO, f"a{text}", WHO=text)
            fields = receiver.recv(1 << 16).decode().removesuffix("\n").split("\n")
    assert [field.partition("=")[0] for field in fields] == [
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "WHO",
    ]
    assert not any(map(acts, fields))


@given(TEXTS)
def test_programs_say_lines_of_one_priority(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        with open(f"{folder}/stderr", "w+") as stderr:
            patch.setattr("sys.stderr", stderr)
            console.say(text, console.WARNING)
        said = Path(f"{folder}/stderr").read_text()
    lines = said.split("\n")[:-1]
    assert all(each.startswith("<4>") for each in lines)
    assert not any(map(acts, lines))
