"""From a request to its answer: authentication, authorization, and the limits of requests."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import hdrs, web

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.join_api import identity
from rke2_units.join_api.cluster import Cluster
from rke2_units.join_api.connection import LARGEST_HEADER, Connection
from rke2_units.join_api.connections import Connections
from rke2_units.join_api.endpoints import ENDPOINTS, Access, Endpoint
from rke2_units.join_api.handlers import Handlers, Question
from rke2_units.join_api.identity import Caller
from rke2_units.join_api.metrics import Metrics
from rke2_units.join_api.refusal import Refusal, status_object
from rke2_units.join_api.settings import Settings
from rke2_units.join_api.slots import Slot
from rke2_units.join_api.strangers import Strangers
from rke2_units.join_api.throttle import FailedLogins

# Requests at once that only read. Requests for certificates wait for the processor instead.
READS = 20
# Requests at once that another program answers.
RELAYED = 2
_BODY_SECONDS = 10.0
KEEPALIVE_SECONDS = 30.0
# The key of a request under which its connection is stored.
_CONNECTION = "connection"
# Characters of a path that are logged.
_LONGEST_NAME = 100
_BAD_CREDENTIALS = "Unauthorized"
_NO_KEY = "POST a certificate request in DER form: nodes create their own keys, which are never sent"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The web application. `connections` is set before the first request."""

    connections: Connections

    def __init__(self, settings: Settings) -> None:
        self._cluster = Cluster(settings)
        self._metrics = Metrics()
        self._handlers = Handlers(settings, self._cluster, lambda: self._metrics.text(len(self.connections)))
        self._passwords = identity.password_rows(settings.credentials.text("passwd"))
        self._failures = FailedLogins()
        self._strangers = Strangers(self._failures, self._held_back)
        self._reads = asyncio.Semaphore(READS)
        self._relayed = asyncio.Semaphore(RELAYED)
        self.application = web.Application(middlewares=[self._speak])
        for endpoint in ENDPOINTS:
            if endpoint.access is Access.REVIEWED and not settings.has_metrics:
                continue
            if endpoint.relayed and not settings.requests:
                continue
            path = endpoint.path.replace("{path}", "{path:.+}")
            self.application.router.add_route(endpoint.method, path, self._handler(endpoint))

    def close(self) -> None:
        """Tells all threads to end, and does not wait for them."""
        self._handlers.close()
        self._strangers.close()

    def _handler(self, endpoint: Endpoint) -> _Handler:
        answer = getattr(self._handlers, endpoint.handler)

        async def handle(request: web.Request) -> web.StreamResponse:
            connection: Connection = request[_CONNECTION]
            caller = await self._caller(request, connection, endpoint.access)
            # Its body is larger than others: it has its place before it is read.
            async with Slot(self._relayed) if endpoint.relayed else contextlib.nullcontext():
                body = await _body(request, connection, endpoint.largest_body)
                question = Question(request, caller, connection.address, body, connection.answer_within)
                async with contextlib.nullcontext() if endpoint.writes else Slot(self._reads):
                    response: web.StreamResponse = await answer(question)
            return response

        return handle

    async def _caller(self, request: web.Request, connection: Connection, access: Access) -> Caller:
        """The authorized caller, without a name if anyone may ask; Refusal for all others."""
        if access is Access.ANYONE:
            return Caller("")
        if access is Access.REVIEWED:
            reviewed = await self._reviewed(request, connection.address)
            connection.known = True
            return reviewed
        caller = identity.of_certificate(request.get_extra_info("peercert"))
        caller = caller or await self._credentials(request, connection.address)
        if not caller.groups & access.groups:
            raise Refusal(
                403,
                f"{caller.name} is in none of the groups {', '.join(sorted(access.groups))}",
                failed_login=True,
            )
        connection.known = True
        return caller

    async def _reviewed(self, request: web.Request, address: str) -> Caller:
        """The caller with a certificate or token of the cluster, if the apiserver allows the request."""
        caller = identity.subject(request.get_extra_info("peercert"))
        if caller is None:
            token = identity.bearer(self._authorization(request, address))
            if not token:
                raise _unauthorized("missing token")
            caller = await self._strangers.ask(address, self._cluster.holder, token)
        if caller is None:
            raise _unauthorized("kube-apiserver does not know the token")
        if not await self._handlers.ask(self._cluster.may_get, caller, request.path):
            raise Refusal(403, f"{caller.name} may not get {request.path}", failed_login=True)
        return caller

    def _authorization(self, request: web.Request, address: str) -> str:
        """The header's value; Refusal if it is missing, or if logins of the address are suspended."""
        # Also with correct credentials: otherwise the answers would tell them from wrong ones.
        if not self._failures.allow(address):
            raise self._held_back(address)
        if hdrs.AUTHORIZATION not in request.headers:
            # This is not a guess of a password: a health check must not lock others out.
            raise Refusal(401, _BAD_CREDENTIALS, headers={"WWW-Authenticate": 'Basic realm="rke2"'})
        return request.headers[hdrs.AUTHORIZATION]

    async def _credentials(self, request: web.Request, address: str) -> Caller:
        given = identity.authorization(self._authorization(request, address))
        if given is None:
            raise _unauthorized("missing or malformed credentials")
        if not given.token_id:
            found = identity.of_password(self._passwords, given.user, given.password)
            if found is None:
                # Do not log the name of an unknown user: it may be a password in the wrong place.
                known = any(given.user == row.user for row in self._passwords)
                raise _unauthorized(f"wrong password of {given.user}" if known else "unknown user")
            return found
        secret = await self._strangers.ask(address, self._cluster.bootstrap_token, given.token_id)
        whose: Caller | str = f"there is no bootstrap token {given.token_id}"
        if secret is not None:
            now = datetime.now(UTC)
            whose = identity.of_bootstrap_token(secret, given.token_id, given.token_secret, now)
        if isinstance(whose, str):
            raise _unauthorized(whose)
        return whose

    def _held_back(self, address: str) -> Refusal:
        self.connections.say(address, "failed to log in too often; its logins are suspended")
        pause = str(self._failures.pause(address))
        return Refusal(429, "too many failed logins from this address", headers={"Retry-After": pause})

    @web.middleware
    async def _speak(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answers a request: errors are Status objects, and are logged."""
        connection = request[_CONNECTION] = self.connections.of(request)
        connection.request_began()
        try:
            response = await self._respond(request, handler, connection)
            response.headers[hdrs.SERVER] = "rke2-units"
            resource = request.match_info.route.resource
            self._metrics.count_request(
                request.method, resource.canonical if resource else None, response.status
            )
            # Here, and not in aiohttp, so that the end of the answer is noticed.
            await response.prepare(request)
            await response.write_eof()
        finally:
            connection.request_ended()
        return response

    async def _respond(
        self, request: web.Request, handler: _Handler, connection: Connection
    ) -> web.StreamResponse:
        try:
            if sum(len(name) + len(value) for name, value in request.raw_headers) > LARGEST_HEADER:
                raise Refusal(431, f"the headers are larger than {LARGEST_HEADER} bytes")
            return await handler(request)
        except Refusal as refusal:
            return self._refused(request, connection, refusal)
        except web.HTTPException as error:
            return self._refused(request, connection, _of_router(request, error))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            # Only its type: its text may contain what the caller sent, such as a password.
            journal.log(Level.ERROR, f"{connection.address}: {_what(request)}: {type(error).__name__}")
            return _answer(Refusal(500, "internal error"))

    def _refused(self, request: web.Request, connection: Connection, refusal: Refusal) -> web.Response:
        address = connection.address
        if refusal.failed_login:
            self._metrics.count_failed_login()
        if refusal.failed_login and not self._failures.count(address):
            refusal = self._held_back(address)
        elif refusal.failed_login:
            journal.log(
                Level.WARNING,
                f"{address}: {_what(request)} refused ({refusal.status}): {refusal.why}",
                RKE2_UNITS_ADDRESS=address,
            )
        elif refusal.status >= 500 or refusal.status in (400, 401, 409, 413, 422, 431):
            self.connections.say(address, f"got {refusal.status} for {_what(request)}: {refusal.why}")
        return _answer(refusal)


async def _body(request: web.Request, connection: Connection, most: int) -> bytes:
    """The whole body, b"" without one; Refusal if it has more than `most` bytes."""
    too_large = Refusal(413, f"the body is larger than {most} bytes")
    if (request.content_length or 0) > most:
        raise too_large
    if not request.can_read_body:
        return b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            body = await connection.body(request, most)
    except TimeoutError:
        raise Refusal(408, "the body did not arrive in time") from None
    if len(body) > most:
        raise too_large
    return body


def _what(request: web.Request) -> str:
    return f"{request.method[:_LONGEST_NAME]} {request.path[:_LONGEST_NAME]!r}"


def _answer(refusal: Refusal) -> web.Response:
    response = web.json_response(
        status_object(refusal.status, refusal.message), status=refusal.status, headers=refusal.headers
    )
    if refusal.status in (408, 413, 431):
        # Do not read the rest of the request.
        response.force_close()
    return response


def _unauthorized(why: str) -> Refusal:
    return Refusal(
        401, _BAD_CREDENTIALS, why=why, headers={"WWW-Authenticate": 'Basic realm="rke2"'}, failed_login=True
    )


def _of_router(request: web.Request, error: web.HTTPException) -> Refusal:
    """The Refusal for an error of aiohttp itself, such as an unknown path or method."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        certificates = {endpoint.path for endpoint in ENDPOINTS if endpoint.signs}
        message = (
            _NO_KEY if request.path in certificates else f"{request.method} is not allowed for this path"
        )
        return Refusal(405, message, headers={"Allow": ",".join(sorted(error.allowed_methods))})
    if error.status == 404:
        return Refusal(404, "no such path")
    return Refusal(error.status, error.reason)
