"""What takes no more than a moment on a server at rest; the lifecycle's bounds are in test_lifecycle.py."""

import time

import pytest

from tests.node.helpers.applier import config_map, place, placed, wait_for_object
from tests.nodes.machine import Node

pytestmark = pytest.mark.alone


def test_a_change_acts_within_a_second(server: Node) -> None:
    with placed(server, "quick.yaml", config_map("quick", turn="0")):
        for turn in ("1", "2", "3"):
            began = time.monotonic()
            place(server, "quick.yaml", config_map("quick", turn=turn))
            wait_for_object(
                server,
                "configmap",
                "quick",
                holds=lambda found, turn=turn: found["data"]["turn"] == turn,  # type: ignore[misc]
            )
            # Writing the file and asking for the object start a program in the node each.
            assert time.monotonic() - began < 2


def test_a_start_of_the_content_that_is_in_place_takes_no_time(server: Node) -> None:
    server.systemctl("restart", "rke2-content.service")
    shown = server.unit("rke2-content.service")
    took = int(shown["ActiveEnterTimestampMonotonic"]) - int(shown["InactiveExitTimestampMonotonic"])
    # Microseconds; most of it is the start of an interpreter.
    assert took < 500_000
