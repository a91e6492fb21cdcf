"""What the daemon says when it ends with an error."""

import sys

import pytest

from rke2_units.daemon import __main__ as main
from rke2_units.daemon import node_daemon
from rke2_units.doors import dbus, journal
from rke2_units.errors import ConfigurationError, ConfigurationErrors, ExitCode


def test_each_error_of_the_configuration_is_a_line_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = ConfigurationErrors(
        [ConfigurationError("a is wrong", hint="mend it"), ConfigurationError("b too")]
    )

    class Systemd:
        def __enter__(self) -> "Systemd":
            raise errors

        def __exit__(self, *_: object) -> None: ...

    said: list[str] = []
    status: list[str] = []
    monkeypatch.setattr(dbus, "Systemd", Systemd)
    monkeypatch.setattr(node_daemon, "NodeDaemon", None)
    monkeypatch.setattr(journal, "log", lambda level, message, **_: said.append(message))
    monkeypatch.setattr(journal, "notify", lambda **fields: status.append(fields["STATUS"]))
    monkeypatch.setattr(sys, "argv", ["daemon", "server"])
    assert main.main() == ExitCode.CONFIGURATION
    assert said == ["a is wrong (mend it)", "b too"]
    assert status[-1] == "a is wrong (and 1 more) (mend it)"
