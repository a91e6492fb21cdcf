"""What the log of a static pod's container says about why it ended.

The kubelet's layout: POD_LOGS/NAMESPACE_POD_UID/CONTAINER/N.log, N counts the container's starts; the
CRI's line: `TIME STREAM TAG TEXT`.
"""

import json
import os
import re

from rke2_units import layout, printable

# A program that rejects a flag prints its whole usage after the reason.
_TAIL = 1 << 18
_LONGEST = 300
# klog's header, that of etcd before 3.5, and zap's JSON (etcd 3.5 and later).
_HEADER = re.compile(
    r"(?P<klog>[IWEF])\d{4} [\d:.]+ +\d+ [^]]+\] "
    r"|\d{4}-\d\d-\d\d [\d:.]+ (?P<etcd>[A-Z]) \| "
    r'|\{"level":"(?P<json>\w+)"'
)
# A warning of etcd's ("server error: the member has been ..."), before it ends for another reason.
_REMOVED = "permanently removed from the cluster"
# How telling a line is, best first; of equally telling ones the last counts.
_FATAL = ("Error: ", "panic: ", "fatal error: ", "invalid argument ", "unknown flag", "command failed")
# pflag's words, and those of Go's own flags.
_REFUSED_ARGUMENT = re.compile(
    r'unknown (?:shorthand )?flag: |invalid argument "[^"]*" for "|flag provided but not defined: |'
    r'invalid (?:boolean )?value "[^"]*" for (?:flag )?-'
)
_REASONS = (
    "address already in use",
    "no space left",
    "permission denied",
    "no such file",
    "cannot ",
    "unable to ",
    "failed to ",
    "invalid ",
)
# The rank of a line that only its severity shows to be an error; one above it gives no reason.
_ERROR = 3


class PodLog:
    """The log directory of one container of one pod."""

    def __init__(self, component: str, node_name: str, uid: str, root: str = layout.POD_LOGS) -> None:
        self.directory = f"{root}/kube-system_{component}-{node_name}_{uid}/{component}"

    def starts(self) -> list[int]:
        """The numbers of the container's logs, in order: empty before its first start."""
        try:
            found = os.listdir(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(name[:-4]) for name in found if name.endswith(".log") and name[:-4].isdecimal())

    def lines(self) -> list[str]:
        """The lines of the newest log that tells a reason, of the newest that has any when none does.

        A container that has just been started once more has not come to what ended the one before it.
        """
        newest: list[str] = []
        for number in reversed(self.starts()):
            lines = self.of_start(number)
            if lines and _rank(lines[_place(lines)]) <= _ERROR:
                return lines
            newest = newest or lines
        return newest

    def of_start(self, number: int) -> list[str]:
        """The lines of one start; of a long log the last."""
        try:
            with open(f"{self.directory}/{number}.log", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                content = file.read()
        except OSError:
            return []
        texts = (_text(line) for line in content.decode(errors="replace").splitlines())
        return [text for text in texts if text.strip()]


def most_telling(lines: list[str]) -> str:
    """The line that says most about why a program ended, in printable characters; "" when there is none."""
    if not lines:
        return ""
    text = printable.line(_readable(lines[_place(lines)]))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def says_removed(lines: list[str]) -> bool:
    """Whether an etcd was told that its cluster has removed it: with its data it can never start again."""
    return any(_REMOVED in line for line in lines)


def tells_an_error(line: str) -> bool:
    """Whether the line says, by its severity or in words, that something is wrong."""
    return _rank(line) <= _ERROR


def refuses_arguments(lines: list[str]) -> bool:
    """Whether the program has ended because of its command line, with which it will end again."""
    return bool(lines) and _REFUSED_ARGUMENT.search(lines[_place(lines)]) is not None


def up_to_most_telling(lines: list[str], count: int) -> list[str]:
    """That line and those before it. Go's programs print usage or the stacks of all threads after it."""
    end = _place(lines) + 1
    return lines[max(0, end - count) : end]


def _place(lines: list[str]) -> int:
    """The number of the most telling line."""
    return min(reversed(range(len(lines))), key=lambda number: _rank(lines[number]), default=0)


def _text(line: str) -> str:
    """The text of a CRI line; a line of another form (the tail begins in its middle) as it is."""
    parts = line.split(" ", 3)
    return parts[3] if len(parts) == 4 and parts[1] in ("stdout", "stderr") else line


def _rank(line: str) -> int:
    if _REMOVED in line:
        return -1
    header = _HEADER.match(line)
    severity = (header["klog"] or header["etcd"] or header["json"][0].upper()) if header else ""
    # F: klog and zap say fatal; C and P: etcd says critical, zap panic or dpanic.
    if severity in ("F", "C", "P", "D"):
        return 0
    # The runtime repeats the log's last words as a panic, and less of them.
    if line.startswith(_FATAL) and not line.startswith("panic: "):
        return 0
    if any(mark in line for mark in _FATAL):
        return 1
    if any(reason in line for reason in _REASONS):
        return 2
    if severity == "E" or "rror" in line:
        return _ERROR
    return _ERROR + 1 if severity == "W" else _ERROR + 2


def _readable(line: str) -> str:
    """A line without time and severity; a JSON line (etcd, or logging-format=json) as "message: error"."""
    if not line.startswith("{"):
        header = _HEADER.match(line)
        return line[header.end() if header else 0 :].strip()
    try:
        record = json.loads(line)
    except ValueError:
        return line.strip()
    parts = [str(record[key]) for key in ("msg", "error", "err") if record.get(key)]
    return ": ".join(parts) or line.strip()
