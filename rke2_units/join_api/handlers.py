"""What each endpoint answers: one method of Handlers for each name in the table of endpoints."""

import asyncio
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web

from rke2_units import layout
from rke2_units.certificates import bootstrap, node_passwords
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import Object
from rke2_units.errors import UserError
from rke2_units.join_api import cluster, metrics
from rke2_units.join_api.cluster import Cluster
from rke2_units.join_api.file_answer import FileAnswer
from rke2_units.join_api.identity import Caller
from rke2_units.join_api.known_passwords import KnownPasswords
from rke2_units.join_api.node_request import NodeRequest, check_names, node_request
from rke2_units.join_api.password_checks import PasswordChecks
from rke2_units.join_api.refusal import Refusal
from rke2_units.join_api.settings import Settings
from rke2_units.join_api.taken import Taken

_Result = TypeVar("_Result")

# Questions to the apiserver and etcd at once.
_QUESTIONS = 8
# How old (s) the list of all nodes may be, which hundreds that join at once go by.
_TAKEN_SECONDS = 5.0
# RKE2's words, which the operators of its agents search for.
_OTHER_PASSWORD = (
    "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password' may not match"
    " server node-passwd entry, try enabling a unique node name with the --with-node-id flag"
)
# Logical names of bootstrap data, and the credentials that hold them ("etcd-server-ca.crt", "passwd").
BOOTSTRAP_CREDENTIALS = {
    key: path.partition("/")[2].replace("/", "-") for key, path in layout.BOOTSTRAP_FILES.items()
}


@dataclass(frozen=True)
class Question:
    """A request of a caller who may ask; `body` is whole."""

    request: web.Request
    caller: Caller
    address: str
    body: bytes


class Handlers:
    """Answers from the settings, the credentials, the apiserver and etcd."""

    def __init__(self, settings: Settings, known: Cluster, metrics: Callable[[], str]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._credentials = settings.credentials
        self._cluster = known
        self._questions = ThreadPoolExecutor(_QUESTIONS, "questions")
        # One at a time: both take the processor, and a password's hash takes 32 MB and so long that nobody
        # else waits behind it.
        self._cryptography = ThreadPoolExecutor(1, "cryptography")
        self._hashes = ThreadPoolExecutor(1, "hashes")
        self._known_passwords = KnownPasswords()
        self._password_checks = PasswordChecks()
        # Each is a process of its own.
        self._etcdctl = asyncio.Lock()
        self._asked_taken: asyncio.Future[Taken] | None = None
        self._taken_until = 0.0

    async def ask(self, question: Callable[..., _Result], *arguments: object) -> _Result:
        """What a blocking question to the apiserver or etcd gives."""
        return await asyncio.get_running_loop().run_in_executor(self._questions, question, *arguments)

    async def ping(self, question: Question) -> web.StreamResponse:
        return web.Response(text="pong")

    async def server_ca(self, question: Question) -> web.StreamResponse:
        return web.Response(text=self._credentials.text("server-ca.crt"))

    async def client_ca(self, question: Question) -> web.StreamResponse:
        return web.Response(text=self._credentials.text("client-ca.crt"))

    async def static(self, question: Question) -> web.StreamResponse:
        path = static_file(self._settings.static, question.request.match_info["path"])
        if path is None:
            raise Refusal(404, "there is no such file")
        return FileAnswer(path)

    async def config(self, question: Question) -> web.StreamResponse:
        return web.json_response(self._settings.config)

    async def apiservers(self, question: Question) -> web.StreamResponse:
        return web.json_response(await self.ask(self._cluster.api_servers))

    async def readyz(self, question: Question) -> web.StreamResponse:
        if not await self.ask(self._cluster.is_ready):
            raise Refusal(503, "runtime core not ready", headers={"Retry-After": "2"})
        return web.Response(text="ok")

    async def server_bootstrap(self, question: Question) -> web.StreamResponse:
        contents = {
            key: content
            for key, name in BOOTSTRAP_CREDENTIALS.items()
            if (content := self._credentials.read(name))
        }
        journal.log(Level.NOTICE, f"{question.address}: the cluster's keys go to {question.caller.name}")
        return web.Response(
            body=bootstrap.pack(contents, datetime.now(UTC)), content_type="application/json"
        )

    async def db_info(self, question: Question) -> web.StreamResponse:
        async with self._etcdctl:
            return web.json_response({"members": await self.ask(self._cluster.members)})

    async def metrics(self, question: Question) -> web.StreamResponse:
        return web.Response(body=self._metrics().encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def serving_kubelet(self, question: Question) -> web.StreamResponse:
        return await self._node_certificate(question, "serving-kubelet", "server-ca")

    async def client_kubelet(self, question: Question) -> web.StreamResponse:
        return await self._node_certificate(question, "client-kubelet", "client-ca")

    async def client_kube_proxy(self, question: Question) -> web.StreamResponse:
        await self._check_known(question.caller)
        return await self._certificate(question, "client-kube-proxy", "client-ca", None)

    async def client_rke2_controller(self, question: Question) -> web.StreamResponse:
        await self._check_known(question.caller)
        return await self._certificate(question, "client-rke2-controller", "client-ca", None)

    async def _node_certificate(self, question: Question, name: str, issuer: str) -> web.StreamResponse:
        node = node_request(question.request.headers, question.caller)
        taken = await self._taken()
        own = await self._compute(self._own_names)
        check_names(node, own | taken.servers, taken.nodes)
        await self._check_password(node, question.caller)
        return await self._certificate(question, name, issuer, node)

    async def _taken(self) -> Taken:
        """Names and addresses of servers and nodes, a moment old at most. Many nodes may come at once."""
        asked = self._asked_taken
        if asked is None or asked.done() and (asked.exception() or time.monotonic() > self._taken_until):
            asked = self._asked_taken = asyncio.ensure_future(self.ask(self._cluster.taken))
            self._taken_until = time.monotonic() + _TAKEN_SECONDS
        return await asyncio.shield(asked)

    async def _check_known(self, caller: Caller) -> None:
        """Refusal 403 for the certificate of a node that was deleted."""
        if caller.node and await self.ask(self._cluster.node_password, caller.node) is None:
            raise _forgotten(caller.node)

    async def _check_password(self, node: NodeRequest, caller: Caller) -> None:
        """Refusal 403 for another password than the one that the node came with first."""
        while True:
            found = await self.ask(self._cluster.node_password, node.name)
            if found is None and caller.node:
                raise _forgotten(node.name)
            if self._known_passwords.has(found, node.password):
                return
            check = functools.partial(self._learn_password, node.name, node.password, found)
            await self._password_checks.end_of(node.name, node.password, check)

    async def _learn_password(self, name: str, password: str, found: Object | None) -> None:
        """A password that is right, or the node's first one, is known then. Refusal 403 for another."""
        if found is None:
            secret = await self._hash(node_passwords.secret, name, password)
            if await self.ask(self._cluster.keep_node_password, secret):
                self._known_passwords.add(secret, password)
        elif await self._hash(node_passwords.is_of, found, password):
            self._known_passwords.add(found, password)
        else:
            raise Refusal(403, _OTHER_PASSWORD, why=f"{name}: {_OTHER_PASSWORD}", failed_login=True)

    async def _compute(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._cryptography, function, *arguments)

    async def _hash(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._hashes, function, *arguments)

    async def _certificate(
        self, question: Question, name: str, issuer: str, node: NodeRequest | None
    ) -> web.StreamResponse:
        text = await self._compute(self._sign, question.body, name, issuer, node)
        whom = f"node {node.name}" if node else question.caller.name
        journal.log(Level.INFO, f"{question.address}: certificate {name} for {whom}")
        return web.Response(text=text)

    def _sign(self, body: bytes, name: str, issuer: str, node: NodeRequest | None) -> str:
        # cryptography weighs some MB: not before the first certificate.
        from rke2_units.certificates import signing

        try:
            key = signing.requested_key(body)
            authority = signing.authority_of(
                f"{issuer}.crt",
                self._credentials.text(f"{issuer}.crt"),
                self._credentials.read(f"{issuer}.key").decode(errors="replace"),
            )
            name_and_addresses = (node.name, node.addresses) if node else ("", ())
            return signing.for_agent(name, *name_and_addresses, key, authority, datetime.now(UTC))
        except signing.InvalidRequest as error:
            raise Refusal(422, str(error)) from None
        except UserError as error:
            raise Refusal(503, "this server cannot sign", why=str(error)) from None

    def _own_names(self) -> frozenset[str]:
        """This server's own names and addresses, and those of its certificate, tls-san among them."""
        from rke2_units.certificates import signing

        settings = self._settings
        advertised = map(cluster.host, settings.apiservers_fallback)
        certified = signing.names_of(self._credentials.text("serving.crt"))
        return certified.union([settings.node_name], settings.node_ips, advertised)

    def close(self) -> None:
        """Begins to end all threads."""
        self._cluster.close()
        for executor in (self._questions, self._cryptography, self._hashes):
            executor.shutdown(wait=False, cancel_futures=True)


def _forgotten(node: str) -> Refusal:
    """Its Node was deleted: what it has from before must not let it in again."""
    return Refusal(403, f"node {node} is not known any more: join with a token", failed_login=True)


def static_file(folder: str, path: str) -> str | None:
    """The regular file at this path below the folder; None for any other, and for ways out of it."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        return None
    root = os.path.realpath(folder)
    try:
        found = os.path.realpath(os.path.join(root, *parts), strict=True)
    except OSError:
        return None
    return found if found.startswith(f"{root}/") and os.path.isfile(found) else None
