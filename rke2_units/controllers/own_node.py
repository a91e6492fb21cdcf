"""The work of each server for itself: labels and password of its node, and the bootstrap data in etcd."""

from __future__ import annotations

import sys
import time

from rke2_units.certificates import node_passwords
from rke2_units.controllers import nodes
from rke2_units.controllers.nodes import Nodes
from rke2_units.controllers.settings import Settings
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import ApiError, Client, path_to
from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean import processes

# Pauses (s) between attempts at the bootstrap data, each twice the one before.
_FIRST_PAUSE, _LAST_PAUSE = 5.0, 60.0
_CHILD_TIMEOUT = 60.0
_REJECTED = (
    "Node password rejected, duplicate hostname or contents of '{file}' may not match"
    " server node-passwd entry"
)


class OwnNode:
    """This server's node. Each method does what is left to do, and raises UserError if it cannot."""

    def __init__(self, settings: Settings, client: Client, known: Nodes) -> None:
        self._settings = settings
        self._client = client
        self._nodes = known
        self._wanted = nodes.own_metadata(
            settings.member_name,
            settings.member_address,
            settings.node_annotations,
            control_plane=settings.control_plane,
        )
        # The uid of the node whose password is stored: a node that is deleted and returns has a new one.
        self._password_of = ""
        # When (s, monotonic) a rejected password is compared again: each comparison takes 32 MB.
        self._refused_until = 0.0
        self._refused = ""

    def label(self) -> None:
        name = self._settings.node_name
        metadata = self._nodes.metadata().get(name)
        if metadata is None or "deletionTimestamp" in metadata:
            return
        patch = nodes.missing(metadata, self._wanted)
        if patch:
            self._client.merge_patch(nodes.path(name), {"metadata": patch})

    def keep_password(self) -> None:
        """Creates the Secret with the node's password; ConfigurationError if it has another password."""
        name = self._settings.node_name
        uid = str((self._nodes.metadata().get(name) or {}).get("uid", ""))
        if not uid or uid == self._password_of:
            return
        if time.monotonic() < self._refused_until:
            raise ConfigurationError(self._refused)
        file = self._settings.node_password_file
        try:
            with open(file, encoding="utf-8") as opened:
                password = opened.read().strip()
        except OSError as error:
            raise ConfigurationError(f"{file}: {error.strerror}") from None
        secret = node_passwords.secret_name(name)
        try:
            found = self._client.get(path_to(node_passwords.COLLECTION, secret))
        except ApiError as error:
            if error.status != 404:
                raise
            self._client.create(node_passwords.COLLECTION, node_passwords.secret(name, password))
        else:
            if not node_passwords.is_of(found, password):
                self._refused_until = time.monotonic() + _LAST_PAUSE
                # The first node has a certificate for this name, which stays valid without the Secret.
                mend = (
                    f"if no other machine was ever named {name}, delete the Secret {secret} in kube-system;"
                    f" otherwise another machine joined as {name}: set another node-name on this server"
                )
                self._refused = f"{_REJECTED.format(file=file)} ({mend})"
                raise ConfigurationError(self._refused)
        self._password_of = uid


class Bootstrap:
    """The cluster's bootstrap data, stored or checked once, by a separate process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._done = False
        self._next = 0.0
        self._pause = _FIRST_PAUSE
        self._problem = ""

    def ensure(self) -> None:
        """Tries again when that is due. Raises UserError until it has succeeded."""
        if self._done:
            return
        if time.monotonic() >= self._next:
            self._try()
            self._next = time.monotonic() + self._pause
            self._pause = min(_LAST_PAUSE, 2 * self._pause)
        if not self._done:
            raise UserError(self._problem)

    def _try(self) -> None:
        command = [
            sys.executable, "-Im", "rke2_units.controllers.bootstrap", "--settings", self._settings.file,
        ]  # fmt: skip
        try:
            finished = processes.run(command, timeout=_CHILD_TIMEOUT)
        except UserError as error:
            self._problem = str(error)
            return
        self._problem = finished.last_words
        self._done = finished.code == 0
        if self._done and finished.output:
            journal.log(
                Level.INFO, "stored the cluster's bootstrap data in etcd, encrypted with the server token"
            )
