"""The settings file that plan.program_settings writes for the programs (JSON, Paths.program_settings)."""

import os
import re

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.layout import CONTAINERD_SOCKET
from rke2_units.lean import http, json_table
from rke2_units.lean.json_table import Table

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class HealthCheck:
    """A question over HTTP(S): the answer of a healthy component has status 200, and `contains` in its body.

    With `insecure` the server's certificate is not checked, which only a loopback address may ask for:
    the scheduler and the controller-manager sign their own.
    """

    def __init__(self, name: str, table: Table) -> None:
        self.name = name
        url = table.text("url")
        self.contains = table.text("contains", "")
        authority, insecure = table.text("authority", ""), table.boolean("insecure")
        try:
            is_https, self.host, self.port, self.path = http.split(url)
        except ValueError:
            raise table.wrong("url", "a URL like http://127.0.0.1:2381/health") from None
        if insecure and self.host not in _LOOPBACK:
            raise table.wrong("insecure", "false, as the address is not a loopback address")
        certificate, key = table.text("certificate", ""), table.text("key", "")
        identity = http.Identity(None if insecure else authority, certificate, key)
        self.identity = identity if is_https else None


class StaticPod:
    """One static pod: its manifest as staged, where the kubelet reads it, and what it needs first."""

    def __init__(self, component: str, table: Table) -> None:
        self.component = component
        self.image = table.text("image")
        self.staged = table.text("staged")
        self.manifest = table.text("manifest")
        self.uid = table.text("uid")
        # The names of health checks.
        self.needs = table.texts("needs")


class ImageProgram:
    """A program that comes out of an image, which is "" where it is not wanted or there already."""

    def __init__(self, name: str, table: Table) -> None:
        self.name = name
        self.image = table.text("image", "")
        self.pull = table.text("pull", self.image)
        # Below DATA/data.
        self.directory = table.text("directory", "")
        if self.image and not re.fullmatch(f"{name}-[0-9a-f]+", self.directory):
            raise table.wrong("directory", f"{name}-HEX")


class Settings:
    """What the programs know of this node."""

    def __init__(self, table: Table) -> None:
        self.file = table.where
        self.data_directory = table.text("data_directory")
        self.node_name = table.text("node_name")
        self.containerd_socket = table.text("containerd_socket", CONTAINERD_SOCKET)
        self.ctr = table.text("ctr", f"{self.data_directory}/bin/ctr")
        self.namespace = table.text("namespace", "k8s.io")
        # Where containerd keeps a directory for each running container.
        state = os.path.dirname(self.containerd_socket)
        self.bundles = f"{state}/io.containerd.runtime.v2.task/{self.namespace}"
        self.snapshotter = table.text("snapshotter", "overlayfs")
        # How images are pulled (registries.py); "" leaves every image to its own registry.
        self.registries = table.text("registries", "")
        content = table.table("content")
        self.content_image = content.text("image")
        self.content_pull = content.text("pull", self.content_image)
        self.content_directory = content.text("directory")
        self.content_archives = content.text("archives")
        self.image_programs = {name: ImageProgram(name, table.table(name)) for name in ("helm", "etcdctl")}
        # Read by etcd_join alone.
        self.etcd_join = table.table("etcd_join")
        images = table.table("images")
        self.image_archives = images.text("archives")
        # Images of archives get names of these registries as well (airgap-extra-registry).
        self.extra_registries = images.texts("extra_registries")
        pods = table.table("static_pods")
        self.static_pods = {name: StaticPod(name, pods.table(name)) for name in pods.values}
        self.images_first = (*images.texts("first"), *(pod.image for pod in self.static_pods.values()))
        # Version 0.1 wrote "facts": its file stays from an upgrade of the package to the next start.
        checks = table.table("health_checks" if "health_checks" in table.values else "facts")
        # A static pod's has its component's name.
        self.health_checks = {name: HealthCheck(name, checks.table(name)) for name in checks.values}
        if "/" in self.content_directory or self.content_directory in ("", ".", ".."):
            raise content.wrong("directory", "the name of a directory")

    def static_pod(self, component: str) -> StaticPod:
        try:
            return self.static_pods[component]
        except KeyError:
            known = ", ".join(self.static_pods) or "none"
            raise UserError(
                f"no static pod named {component!r} is planned for this node",
                hint=f"planned: {known}; they change with config.yaml at `systemctl restart rke2-server`",
            ) from None

    def health_check(self, name: str) -> HealthCheck:
        try:
            return self.health_checks[name]
        except KeyError:
            raise ConfigurationError(
                f"{self.file}: no health check named {name!r}", hint=json_table.REWRITE
            ) from None


def read(path: str) -> Settings:
    """The settings in this file; ConfigurationError when it is missing or not what the plan writes."""
    return Settings(json_table.read(path))
