"""Requests of the supervisor to the apiserver and etcd of its machine. They block: call them in threads."""

import json
import time
from typing import Any
from urllib.parse import quote

from rke2_units.certificates import node_passwords
from rke2_units.cluster_names import BOOTSTRAP_TOKEN_SECRET
from rke2_units.doors import run
from rke2_units.doors.kubernetes import ApiError, ApiUnavailable, Client, Object, path_to
from rke2_units.doors.kubernetes_endpoints import API_SERVERS, addresses
from rke2_units.errors import UserError
from rke2_units.join_api.identity import AUTHENTICATED, Caller
from rke2_units.join_api.refusal import Refusal
from rke2_units.join_api.settings import Settings
from rke2_units.join_api.taken import Taken, taken
from rke2_units.lean import http

_TIMEOUT = 5.0
_READY_TIMEOUT = 2.0
_READY_SECONDS = 1.0
_NODES = "/api/v1/nodes"
# A Node has some KB: this many are in memory at once.
_NODES_PAGE = 50


class Cluster:
    """Every method raises Refusal 503 if there is no answer, so that the caller retries."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = Client(settings.kubernetes_url, settings.credentials.apiserver, timeout=_TIMEOUT)
        self._ready, self._asked = False, -_READY_SECONDS

    def is_ready(self) -> bool:
        """Whether the apiserver is ready, as of the last second: every agent's proxy asks all the time."""
        if time.monotonic() - self._asked < _READY_SECONDS:
            return self._ready
        self._ready = self._ask_ready()
        self._asked = time.monotonic()
        return self._ready

    def _ask_ready(self) -> bool:
        url = f"{self._settings.kubernetes_url}/readyz"
        try:
            return http.ask(url, self._settings.credentials.apiserver, timeout=_READY_TIMEOUT)[0] == 200
        except OSError:
            return False

    def bootstrap_token(self, token_id: str) -> Object | None:
        """The token's Secret, None if it does not exist."""
        name = f"{BOOTSTRAP_TOKEN_SECRET}{token_id}"
        return self._get(f"{node_passwords.COLLECTION}/{quote(name, safe='')}")

    def node_password(self, node_name: str) -> Object | None:
        """The Secret with the hash of the node's password, None if it does not exist."""
        name = node_passwords.secret_name(node_name)
        return self._get(f"{node_passwords.COLLECTION}/{quote(name, safe='')}")

    def keep_node_password(self, secret: Object) -> bool:
        """Creates this Secret; False if it exists already."""
        try:
            self._client.create(node_passwords.COLLECTION, secret)
        except ApiError as error:
            if error.status == 409:
                return False
            raise _unavailable(error) from None
        except ApiUnavailable as error:
            raise _unavailable(error) from None
        return True

    def holder(self, token: str) -> Caller | None:
        """The user of a token according to the apiserver (TokenReview), None for an unknown token."""
        status = self._review("authentication", "tokenreviews", "TokenReview", {"token": token})
        if status.get("authenticated") is not True:
            return None
        user = status.get("user") or {}
        return Caller(str(user.get("username", "")), frozenset(user.get("groups") or ()))

    def may_get(self, caller: Caller, path: str) -> bool:
        """Whether the apiserver lets this caller GET this path (SubjectAccessReview)."""
        asked = {
            "user": caller.name,
            # A certificate does not contain this group, which every authenticated user has.
            "groups": sorted(caller.groups | {AUTHENTICATED}),
            "nonResourceAttributes": {"path": path, "verb": "get"},
        }
        status = self._review("authorization", "subjectaccessreviews", "SubjectAccessReview", asked)
        return status.get("allowed") is True

    def api_servers(self) -> list[str]:
        """The apiservers as "address:port": those in the API, else those in the settings."""
        try:
            found = self._client.get(API_SERVERS)
        except (ApiError, ApiUnavailable):
            return list(self._settings.apiservers_fallback)
        return addresses(found) or list(self._settings.apiservers_fallback)

    def taken(self) -> Taken:
        """The names and addresses of the cluster's servers and nodes; there are none in a new cluster."""
        found = addresses(self._get(API_SERVERS) or {})
        try:
            return taken(map(host, found), self._client.list(_NODES, limit=_NODES_PAGE))
        except (ApiError, ApiUnavailable) as error:
            raise _unavailable(error) from None

    def members(self) -> list[dict[str, Any]]:
        """etcd's members as etcdctl shows them."""
        settings = self._settings
        if not settings.etcdctl:
            raise Refusal(503, "no etcd runs on this server")
        credentials = settings.credentials
        command = [
            settings.etcdctl,
            f"--endpoints={settings.etcd_url}",
            f"--cacert={credentials.path('etcd-server-ca.crt')}",
            f"--cert={credentials.path('etcd-client.crt')}",
            f"--key={credentials.path('etcd-client.key')}",
            "--command-timeout=4s",
            "--write-out=json",
            "member",
            "list",
        ]
        try:
            output = run.run(command, environment={"ETCDCTL_API": "3"}, timeout=_TIMEOUT).output
            found = json.loads(output)["members"]
        except UserError as error:
            raise Refusal(503, "etcd does not answer yet", why=error.message) from None
        except (ValueError, TypeError, KeyError):
            raise Refusal(
                503, "etcd does not answer yet", why="etcdctl returned no list of members"
            ) from None
        return list(found)

    def close(self) -> None:
        """Aborts requests in progress. May be called from any thread."""
        self._client.close()

    def _review(self, api: str, resource: str, kind: str, asked: Object) -> Object:
        """The status of a review by the apiserver (authentication.k8s.io/v1 or authorization.k8s.io/v1)."""
        version = f"{api}.k8s.io/v1"
        review = {"apiVersion": version, "kind": kind, "spec": asked}
        try:
            return (
                self._client.create(path_to("/apis", f"{api}.k8s.io", "v1", resource), review).get("status")
                or {}
            )
        except (ApiError, ApiUnavailable) as error:
            raise _unavailable(error) from None

    def _get(self, path: str) -> Object | None:
        try:
            return self._client.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise _unavailable(error) from None
        except ApiUnavailable as error:
            raise _unavailable(error) from None


def host(address: str) -> str:
    """The address without its port and brackets."""
    return address.rpartition(":")[0].strip("[]")


def _unavailable(error: UserError) -> Refusal:
    return Refusal(503, "runtime core not ready", why=error.message, headers={"Retry-After": "2"})
