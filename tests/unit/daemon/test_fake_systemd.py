"""What stands in for systemd in these tests is called like the real one."""

import ast
import inspect
from pathlib import Path

from rke2_units.daemon.events import Events
from tests.unit.daemon.fake_systemd import FakeEvents, FakeSystemd

# Not imported: D-Bus and its library are on nodes alone.
DOOR = Path(__file__).resolve().parents[3] / "rke2_units/doors/dbus.py"
OF_A_TEST = {"run", "end", "step", "asked", "started"}


def test_the_daemons_calls_are_those_of_the_door_to_systemd() -> None:
    [systemd] = [
        node
        for node in ast.parse(DOOR.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Systemd"
    ]
    real = {
        method.name: [argument.arg for argument in method.args.args]
        for method in systemd.body
        if isinstance(method, ast.FunctionDef)
    }
    fake = {
        name: list(inspect.signature(method).parameters)
        for name, method in vars(FakeSystemd).items()
        if not name.startswith("_") and name not in OF_A_TEST
    }
    assert fake == {name: real[name] for name in fake}


def test_the_daemon_waits_as_it_does_for_real_events() -> None:
    for name in ("wait", "rest", "wake"):
        assert inspect.signature(getattr(FakeEvents, name)) == inspect.signature(getattr(Events, name))
