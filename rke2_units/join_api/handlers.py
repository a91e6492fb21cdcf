"""What each endpoint answers: one method of Handlers for each name in the table of endpoints."""

import asyncio
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web

from rke2_units import layout
from rke2_units.certificates import bootstrap, node_passwords
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.doors.kubernetes import Object
from rke2_units.errors import UserError
from rke2_units.join_api import cluster, metrics, snapshots
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

# Requests to the apiserver and etcd at the same time.
_QUESTIONS = 8
# How old (s) the list of all nodes may be: hundreds of nodes that join at once share it.
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
    """A request of an authorized caller, with its complete body.

    `answer_within` is called with the seconds that the answer takes, where that is more than usual, and
    without when it is there.
    """

    request: web.Request
    caller: Caller
    address: str
    body: bytes = field(repr=False)
    answer_within: Callable[..., None]


class Handlers:
    """Answers from the settings, the credentials, the apiserver and etcd."""

    def __init__(self, settings: Settings, known: Cluster, metrics: Callable[[], str]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._credentials = settings.credentials
        self._cluster = known
        self._questions = ThreadPoolExecutor(_QUESTIONS, "questions")
        # One at a time, since both use the processor. Hashes have their own thread: one takes 32 MB, and too
        # long for anything else to wait for it.
        self._cryptography = ThreadPoolExecutor(1, "cryptography")
        self._hashes = ThreadPoolExecutor(1, "hashes")
        self._known_passwords = KnownPasswords()
        self._password_checks = PasswordChecks()
        # Each call is a process.
        self._etcdctl = asyncio.Lock()
        self._asked_taken: asyncio.Future[Taken] | None = None
        self._taken_until = 0.0

    async def ask(self, question: Callable[..., _Result], *arguments: object) -> _Result:
        """The result of a blocking request to the apiserver or etcd."""
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
            raise Refusal(404, "no such file")
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
        journal.log(Level.NOTICE, f"{question.address}: sent the cluster's keys to {question.caller.name}")
        return web.Response(
            body=bootstrap.pack(contents, datetime.now(UTC)), content_type="application/json"
        )

    async def db_info(self, question: Question) -> web.StreamResponse:
        async with self._etcdctl:
            return web.json_response({"members": await self.ask(self._cluster.members)})

    async def db_snapshot(self, question: Question) -> web.StreamResponse:
        wanted = snapshots.parse(question.body)
        question.answer_within(wanted.seconds + snapshots.GRACE_SECONDS)
        answer = await snapshots.relay(self._settings.requests, question.body, wanted.seconds)
        status, content = await self.ask(snapshots.unpack, answer)
        question.answer_within()
        journal.log(
            Level.INFO, f"{question.address}: {question.caller.name} asked to {wanted.operation}: {status}"
        )
        return web.Response(body=content, status=status, content_type="application/json")

    async def metrics(self, question: Question) -> web.StreamResponse:
        text = self._metrics() + snapshots.metrics(self._settings.requests)
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

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
        """Names and addresses of servers and nodes, at most 5 s old. Many nodes may join at once."""
        asked = self._asked_taken
        if asked is None or asked.done() and (asked.exception() or time.monotonic() > self._taken_until):
            asked = self._asked_taken = asyncio.ensure_future(self.ask(self._cluster.taken))
            self._taken_until = time.monotonic() + _TAKEN_SECONDS
        return await asyncio.shield(asked)

    async def _check_known(self, caller: Caller) -> None:
        """Raises Refusal 403 if the caller's certificate is that of a deleted node."""
        if caller.node and await self.ask(self._cluster.node_password, caller.node) is None:
            raise _forgotten(caller.node)

    async def _check_password(self, node: NodeRequest, caller: Caller) -> None:
        """Raises Refusal 403 for another password than that of the node's first request."""
        while True:
            found = await self.ask(self._cluster.node_password, node.name)
            if found is None and caller.node:
                raise _forgotten(node.name)
            if self._known_passwords.has(found, node.password):
                return
            check = functools.partial(self._learn_password, node.name, node.password, found)
            await self._password_checks.end_of(node.name, node.password, check)

    async def _learn_password(self, name: str, password: str, found: Object | None) -> None:
        """Remembers a correct password, or the node's first one. Raises Refusal 403 for another."""
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
        journal.log(Level.INFO, f"{question.address}: issued certificate {name} for {whom}")
        return web.Response(text=text)

    def _sign(self, body: bytes, name: str, issuer: str, node: NodeRequest | None) -> str:
        # cryptography takes some MB: do not import it before the first certificate.
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
            raise Refusal(503, "this server cannot sign certificates", why=str(error)) from None

    def _own_names(self) -> frozenset[str]:
        """This server's own names and addresses, and those of its certificate, tls-san among them."""
        from rke2_units.certificates import signing

        settings = self._settings
        advertised = map(cluster.host, settings.apiservers_fallback)
        certified = signing.names_of(self._credentials.text("serving.crt"))
        return certified.union([settings.node_name], settings.node_ips, advertised)

    def close(self) -> None:
        """Tells all threads to end, and does not wait for them."""
        self._cluster.close()
        for executor in (self._questions, self._cryptography, self._hashes):
            executor.shutdown(wait=False, cancel_futures=True)


def _forgotten(node: str) -> Refusal:
    """The Node was deleted: its old certificate must not be accepted."""
    return Refusal(403, f"node {node} was deleted: join again with a token", failed_login=True)


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
