"""Real registries on a node's loopback: Debian's docker-registry, each a systemd unit of its own."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.nodes import placement
from tests.nodes.content import Content
from tests.nodes.debian import command
from tests.nodes.machine import Node
from tests.nodes.nspawn import NspawnNode
from tests.nodes.registry_storage import registry_storage

# A name of the node's loopback, for what is allowed to 127.0.0.1 alone.
HOST = "registry.example"
# Others: that of the documentation's registry, and where docker.io's images are.
DOCUMENTED, HUB = "registry.example.com", "registry-1.docker.io"
USER, PASSWORD = "mirror", "correct-horse-battery"
# docker-registry takes bcrypt alone. The second is the documentation's: node, secret.
_HTPASSWD = f"""\
{USER}:$2b$05$abcdefghijklmnopqrstuuSnF5tLPqPFqc0z9CY0HcSLFbSRlL67u
node:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a
"""
_ETC = "/etc/registries"
AUTHORITY = f"{_ETC}/ca.crt"
CERTIFICATE, KEY = f"{_ETC}/tls.crt", f"{_ETC}/tls.key"
CLIENT_CERTIFICATE, CLIENT_KEY = f"{_ETC}/client.crt", f"{_ETC}/client.key"
_STORAGE = "/srv/registry"
_UNIT = """\
[Service]
ExecStart={command}
[Install]
WantedBy=multi-user.target
"""
_CERTIFICATES = f"""\
cd {_ETC}
new="-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
openssl req $new -subj /CN=private-ca -keyout ca.key -out ca.crt
signed="-CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:false"
names=subjectAltName=DNS:{HOST},DNS:{DOCUMENTED},DNS:{HUB}
openssl req $new $signed -subj /CN={HOST} -keyout tls.key -out tls.crt -addext $names
openssl req $new $signed -subj /CN=node -keyout client.key -out client.crt
"""


@dataclass(frozen=True)
class Registry:
    """A registry, or something in the place of one, that runs on a node."""

    node: Node
    unit: str
    address: str

    def stop(self) -> None:
        self.node.systemctl("stop", self.unit)

    def start(self) -> None:
        """Start it, and wait until it answers, be it with a refusal."""
        self.node.systemctl("start", self.unit)
        port = self.address.rpartition(":")[2]
        self.node.wait_for(self.unit, ["sh", "-c", f"ss -Htln | grep -q ':{port} '"], timeout=20)

    def asked_for(self, path: str, since: str) -> list[str]:
        """The paths that begin so and that somebody has asked for, as its own log tells."""
        return re.findall(rf'"GET ({re.escape(path)}\S*)', self.node.journal(self.unit, since=since))


@dataclass(frozen=True)
class FaultyRegistry(Registry):
    """A registry that fails when it is told to; its faults are those of faulty_registry.py."""

    def be(self, fault: str) -> None:
        self.node.write(_fault_file(self.address), fault + "\n")

    def fault(self) -> str:
        return self.node.read(_fault_file(self.address)).strip()


def prepare(node: NspawnNode, content: Content) -> None:
    """Give a node its network and what its registries serve; no archive of an image."""
    node.copy_in(content.cni_plugins, "/opt/cni/bin")
    node.write(placement.CONFLIST_PATH, placement.BRIDGE_CONFLIST)
    target = node.root / _STORAGE.lstrip("/")
    # Registries that write have storage of their own, so links do for what all nodes share.
    command("cp", "--archive", "--link", registry_storage(content), target)
    prepare_private(node)


def prepare_private(node: Node) -> None:
    """Give a node what its private registries need: their name, a CA with certificates, a password."""
    node.write(f"{_ETC}/htpasswd", _HTPASSWD)
    node.sh(f"echo 127.0.0.1 {HOST} >>/etc/hosts\n{_CERTIFICATES}")


def run(
    node: Node,
    port: int,
    *,
    tls: bool = False,
    authenticated: bool = False,
    clients: bool = True,
    mirrored: Registry | None = None,
    empty: bool = False,
) -> Registry:
    """Start a registry with the content's images, or one that is a pull-through mirror of another.

    With `tls` its certificate is from a private CA (AUTHORITY) and for HOST, and (with `clients`) clients
    need one of that CA (CLIENT_CERTIFICATE, CLIENT_KEY); `authenticated`: it asks for USER and PASSWORD.
    `empty`: it has no images, but takes some.
    """
    lines = ["version: 0.1", "http:", f"  addr: 127.0.0.1:{port}"]
    if tls:
        files = f"certificate: {CERTIFICATE}, key: {KEY}"
        files += f", clientcas: [{AUTHORITY}]" if clients else ""
        lines.append(f"  tls: {{{files}}}")
    if authenticated:
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {_ETC}/htpasswd}}}}")
    if mirrored is not None:
        lines.append(f"proxy: {{remoteurl: 'http://{mirrored.address}'}}")
        lines.append(f"storage: {{filesystem: {{rootdirectory: /srv/mirror-{port}}}}}")
    elif empty:
        lines.append(f"storage: {{filesystem: {{rootdirectory: /srv/registry-{port}}}}}")
    else:
        lines.append(f"storage: {{filesystem: {{rootdirectory: {_STORAGE}}}, {_READ_ONLY}}}")
    file = f"{_ETC}/{port}.yml"
    node.write(file, "\n".join(lines) + "\n")
    host = HOST if tls else "127.0.0.1"
    registry = Registry(node, f"registry-{port}.service", f"{host}:{port}")
    have_unit(registry, f"/usr/bin/docker-registry serve {file}")
    return registry


_READ_ONLY = "maintenance: {readonly: {enabled: true}}"


def run_faulty(port: int, registry: Registry) -> FaultyRegistry:
    """Start what passes requests on to a plain registry of the same node, without a fault so far."""
    node = registry.node
    program = f"{_ETC}/faulty_registry.py"
    node.copy_in(Path(__file__).with_name("faulty_registry.py"), program)
    faulty = FaultyRegistry(node, f"registry-{port}.service", f"127.0.0.1:{port}")
    faulty.be("")
    behind = registry.address.rpartition(":")[2]
    have_unit(faulty, f"/usr/bin/python3 {program} {port} {behind} {_fault_file(faulty.address)}")
    return faulty


def _fault_file(address: str) -> str:
    return f"{_ETC}/{address}.fault"


def have_unit(registry: Registry, command_line: str) -> None:
    """Make the unit of a registry, or of something else that serves, and start it."""
    node = registry.node
    node.write(f"/etc/systemd/system/{registry.unit}", _UNIT.format(command=command_line))
    node.systemctl("daemon-reload")
    node.systemctl("enable", "--quiet", registry.unit)
    registry.start()
