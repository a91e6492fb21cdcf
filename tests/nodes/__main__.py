"""The test nodes from the command line."""

import argparse
import os
import shutil
import subprocess
import sys

from tests.nodes import cache, registry
from tests.nodes.content import SUITES, content
from tests.nodes.errors import NodeError
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.nodes.qemu import QemuNode


def main() -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.nodes", description="throwaway real nodes")
    commands = parser.add_subparsers(dest="command", required=True)
    boot = commands.add_parser("boot", help="boot a node with the content of its suite")
    boot.add_argument("name")
    boot.add_argument("--suite", choices=SUITES, default="bookworm")
    boot.add_argument("--qemu", action="store_true", help="an emulated machine with a kernel of its own")
    shell = commands.add_parser("shell", help="run a command in a node, or a shell")
    shell.add_argument("name")
    shell.add_argument("words", nargs=argparse.REMAINDER, metavar="command")
    copy = commands.add_parser("copy", help="copy a file, or what is in a directory, into a node")
    copy.add_argument("name")
    copy.add_argument("source", help="here")
    copy.add_argument("target", help="in the node")
    commands.add_parser("list", help="the nodes there are")
    remove = commands.add_parser("remove", help="end nodes and everything made for them")
    remove.add_argument("name", nargs="*")
    remove.add_argument("--all", action="store_true")
    supervise = commands.add_parser("supervise", help="be the process that runs a node (not for people)")
    supervise.add_argument("name")
    arguments = parser.parse_args()
    try:
        return _run(arguments)
    except (NodeError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "boot":
            kind = QemuNode if arguments.qemu else NspawnNode
            booted = kind.boot(arguments.name, arguments.suite, content(arguments.suite))
            print(f"{booted.name} is up at {booted.address}: python3 -m tests.nodes shell {booted.name}")
        case "shell":
            words = arguments.words or ["bash", "-l"]
            return subprocess.call(_attach(arguments.name).shell_command(*words, terminal=os.isatty(0)))
        case "copy":
            _attach(arguments.name).copy_in(arguments.source, arguments.target)
        case "list":
            for record in registry.everything():
                state = "up" if record.is_running() else "down"
                print(f"{record.name}\t{record.kind}\t{record.suite}\t{state}")
        case "remove":
            names = [record.name for record in registry.everything()] if arguments.all else arguments.name
            for name in names:
                _attach(name).remove()
            if arguments.all:
                _remove_orphans()
        case "supervise":
            node = _attach(arguments.name)
            registry.set_process(node.record, os.getpid())
            node.supervise()
    return 0


def _remove_orphans() -> None:
    """Remove the directories of nodes that ended with their host: the register does not outlive it."""
    for directory in (cache.DIRECTORY / "nodes").glob("*"):
        if registry.find(directory.name) is None:
            shutil.rmtree(directory)


def _attach(name: str) -> Node:
    record = registry.find(name)
    kind = QemuNode if record is not None and record.kind == "qemu" else NspawnNode
    return kind.attach(name)


if __name__ == "__main__":
    sys.exit(main())
