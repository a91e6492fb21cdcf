"""What the daemon says when it ends with an error."""

import sys
from types import SimpleNamespace

import pytest

from rke2_units.daemon import __main__ as main
from rke2_units.doors import journal
from rke2_units.errors import ConfigurationError, ConfigurationErrors, ExitCode


def test_each_error_of_the_configuration_is_a_line_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [ConfigurationError("a is wrong", hint="mend it"), ConfigurationError("b too")]

    def systemd() -> None:
        raise ConfigurationErrors(errors)

    said: list[str] = []
    status: list[str] = []
    # There is no D-Bus here, nor its library.
    monkeypatch.setitem(sys.modules, "rke2_units.doors.dbus", SimpleNamespace(Systemd=systemd))
    monkeypatch.setitem(sys.modules, "rke2_units.daemon.node_daemon", SimpleNamespace(NodeDaemon=None))
    monkeypatch.setattr(journal, "log", lambda level, message, **_: said.append(message))
    monkeypatch.setattr(journal, "notify", lambda **fields: status.append(fields["STATUS"]))
    monkeypatch.setattr(sys, "argv", ["daemon", "server"])
    assert main.main() == ExitCode.CONFIGURATION
    assert said == ["a is wrong (mend it)", "b too"]
    assert status[-1] == "a is wrong (and 1 more) (mend it)"
