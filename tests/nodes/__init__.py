"""Throwaway real nodes: for the tests, for ./try and for the benchmark.

from tests.nodes import NspawnNode, content

with NspawnNode.boot("alpha", suite="bookworm", content=content("bookworm")) as node:
    node.systemctl("is-system-running")
"""

from tests.nodes.containers import Container
from tests.nodes.content import Content, content
from tests.nodes.errors import NodeError
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.nodes.qemu import QemuNode

__all__ = ["Container", "Content", "Node", "NodeError", "NspawnNode", "QemuNode", "content"]
