"""Where the content of a release goes in a node."""

import shutil
from pathlib import Path

from tests.nodes import helm
from tests.nodes.content import Content

# The node's network until there are charts: the standard bridge plugin, with the default cluster CIDR.
BRIDGE_CONFLIST = """\
{
  "cniVersion": "0.4.0",
  "name": "bridge",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "ipMasq": true,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.42.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"""
CONFLIST_PATH = "/etc/cni/net.d/10-bridge.conflist"


def places(content: Content, data_directory: str) -> list[tuple[Path, str]]:
    """Which directory of the content goes where in a node."""
    return [
        (content.images, f"{data_directory}/agent/images"),
        (helm.images(), f"{data_directory}/agent/images"),
        (content.cni_plugins, "/opt/cni/bin"),
    ]


def place_below(root: Path, content: Content, data_directory: str) -> None:
    """Put the content below a root directory on the host."""
    for source, target in places(content, data_directory):
        shutil.copytree(source, root / target.lstrip("/"), dirs_exist_ok=True)
    conflist = root / CONFLIST_PATH.lstrip("/")
    conflist.parent.mkdir(parents=True, exist_ok=True)
    conflist.write_text(BRIDGE_CONFLIST)
