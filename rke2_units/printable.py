"""What others wrote, on its way to systemd, a journal or a terminal: each of them takes one printable line.

A line break would begin another message or state, an escape sequence or a change of the direction of writing
would show something else than what was said.
"""

from collections.abc import Mapping

# systemd drops a notification of more than a page as a whole, with its READY=1 and WATCHDOG=1.
_LONGEST_STATE = 3000


def visible(text: object) -> str:
    """The text with a space for each character that is not printable: columns stay where they are."""
    text = str(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def line(text: object) -> str:
    """The text in one line of printable characters, with single spaces."""
    return " ".join(visible(text).split())


def notification(states: Mapping[str, object]) -> bytes:
    """What sd_notify(3) takes: `NAME=value` in a line each, in the length that systemd takes."""
    lines = (f"{name}={line(value)}".encode()[:_LONGEST_STATE] for name, value in states.items())
    return b"\n".join(text.decode(errors="ignore").encode() for text in lines)
