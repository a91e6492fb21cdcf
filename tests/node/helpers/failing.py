"""A start that fails, and what tells of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.node.helpers import product
from tests.node.helpers.product import BASIC_CONFIG, CONFIG, SERVER, state
from tests.nodes.machine import Node

# The contract's limit for a start that cannot succeed, in seconds.
LIMIT = 120


@dataclass(frozen=True)
class Start:
    """A `systemctl start rke2-server` (or restart) that failed, and what tells of it."""

    node: Node
    since: str

    def reports(self) -> dict[str, str]:
        """What each of the places says where an administrator looks."""
        return {
            "systemctl status": self.node.systemctl(
                "status", "--full", "--lines=30", SERVER, check=False
            ).stdout,
            "the journal": self.node.journal(SERVER, since=self.since),
            "rke2-units status": self.node.run("rke2-units", "status", check=False).stdout,
        }

    def tells(self, *words: str) -> None:
        """Each of the places names the component and the cause."""

        def missing() -> list[str]:
            return [
                f"{place}: {word}"
                for place, text in self.reports().items()
                for word in words
                if word not in text
            ]

        # Between two attempts systemd clears the status of the old process for a moment.
        deadline = time.monotonic() + 10
        while (still := missing()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not still, (still, self.reports())


def failing_start(node: Node, verb: str = "start") -> Start:
    since = node.now()
    began = time.monotonic()
    done = node.systemctl(verb, "rke2-server", check=False, timeout=LIMIT + 30)
    assert done.returncode != 0, f"it started, and says {product.status_text(node)!r}"
    assert time.monotonic() - began < LIMIT
    return Start(node, since)


@contextmanager
def stopped(node: Node, clean: str = "") -> Iterator[None]:
    """The server does not run, and in the end it does, without a trace of what was done to it.

    `clean` is a script for that, run while the server is stopped.
    """
    node.systemctl("stop", "rke2-server")
    try:
        yield
    finally:
        node.write(CONFIG, BASIC_CONFIG)
        if clean:
            node.systemctl("stop", "rke2-server")
            node.sh(clean)
        if state(node, SERVER) not in ("active", "activating"):
            node.systemctl("start", "rke2-server", check=False)
        product.wait_until_running(node)
