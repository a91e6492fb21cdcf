"""etcd through etcdctl: members, and a few keys. Each request is a process; no connection is kept open.

Values travel over standard input: arguments can be read by everybody on the machine.
"""

import base64
import json
import os
from collections.abc import Callable

from rke2_units.errors import UserError
from rke2_units.lean import processes

# Seconds for etcdctl as a whole, and the parts of them for the connection to a member and for its answer.
_PATIENCE = 10.0
_DIAL, _COMMAND = 0.2, 0.5
# For a snapshot (s): 8 GiB, which etcd advises not to exceed, at a slow disk's 9 MB/s.
_SNAPSHOT = 1000.0


class EtcdError(UserError):
    """etcd rejects the request (the message is its own: "etcdserver: ..."), or does not answer."""


class Member:
    """A member of the cluster; `name` is "" until it has started for the first time."""

    def __init__(
        self,
        identifier: int,
        name: str,
        peer_urls: tuple[str, ...],
        client_urls: tuple[str, ...],
        is_learner: bool,
    ) -> None:
        self.identifier = identifier
        self.name = name
        self.peer_urls = peer_urls
        self.client_urls = client_urls
        self.is_learner = is_learner

    @property
    def node(self) -> str:
        """The node's name, which RKE2 puts before the last dash of the member's."""
        return self.name.rpartition("-")[0]


class Status:
    """What one member says of itself; `size`: of its database's file (bytes), which a snapshot copies."""

    def __init__(self, answer: dict[str, object]) -> None:
        # What is 0 or false is left out.
        self.applied_index = _integer(answer.get("raftAppliedIndex", 0))
        self.size = _integer(answer.get("dbSize", 0))
        self.is_learner = answer.get("isLearner") is True


class Value:
    """A key's value, and the revision in which it was written."""

    def __init__(self, text: str, revision: int) -> None:
        self.text = text
        self.revision = revision


class Count:
    """How many keys a range has; of the first one the key ("" for none) and the revision that wrote it.

    `revision` is that of etcd when it answered.
    """

    def __init__(self, number: int, first: str, written: int, revision: int) -> None:
        self.number = number
        self.first = first
        self.written = written
        self.revision = revision


def parse_members(answer: object) -> list[Member]:
    """The members in {"members": [...]}, as etcd and /db/info write it; EtcdError for anything else."""
    entries = answer.get("members") if isinstance(answer, dict) else None
    if not isinstance(entries, list):
        raise EtcdError("unexpected answer from etcd: no member list")
    return [_member(entry) for entry in entries]


def _member(entry: object) -> Member:
    if isinstance(entry, dict):
        identifier, name = entry.get("ID"), entry.get("name", "")
        peers, clients = _urls(entry.get("peerURLs")), _urls(entry.get("clientURLs"))
        if isinstance(identifier, int) and isinstance(name, str):
            return Member(identifier, name, peers, clients, entry.get("isLearner") is True)
    raise EtcdError("unexpected answer from etcd: malformed member")


def _urls(value: object) -> tuple[str, ...]:
    urls = value if isinstance(value, list) else [value] if value else []
    if not all(isinstance(url, str) for url in urls):
        raise EtcdError("unexpected answer from etcd: malformed member")
    return tuple(urls)


class Etcd:
    """A cluster, reached at the client URLs of some members. Every method may raise EtcdError."""

    def __init__(
        self,
        etcdctl: str,
        endpoints: list[str],
        *,
        authority: str = "",
        certificate: str = "",
        key: str = "",
        folder: str = "",
    ) -> None:
        """`etcdctl`: the program's path. The next three are paths of PEM files.

        `folder`: what the paths of unix:// endpoints begin in.
        """
        # Seconds that a request may take.
        self.patience = _PATIENCE
        self._command = ["env", f"--chdir={folder}", etcdctl] if folder else [etcdctl]
        self._endpoints = endpoints
        files = {"--cacert": authority, "--cert": certificate, "--key": key}
        self._files = [f"{option}={path}" for option, path in files.items() if path]

    def members(self) -> list[Member]:
        return parse_members(self._ask("member", "list"))

    def add_learner(self, name: str, peer_url: str) -> list[Member]:
        """Adds a learner, which will start at this URL; returns all members including it."""
        return parse_members(self._ask("member", "add", name, "--learner", f"--peer-urls={peer_url}"))

    def promote(self, identifier: int) -> None:
        """Makes a learner a voting member; EtcdError while it has not caught up."""
        # No JSON: etcdctl 3.4 crashes when asked for it here.
        self._run(["member", "promote", f"{identifier:x}"])

    def remove(self, identifier: int) -> None:
        self._run(["member", "remove", f"{identifier:x}"])

    def move(self, identifier: int, peer_url: str) -> None:
        """Tells the cluster where its member is reached from now on."""
        self._run(["member", "update", f"{identifier:x}", f"--peer-urls={peer_url}"])

    def applied_index(self) -> int:
        """The index in the log up to which the only member at these endpoints has applied it."""
        return self.status().applied_index

    def status(self) -> Status:
        """Of the only member at these endpoints; it answers without a leader too."""
        match self._ask("endpoint", "status"):
            case [{"Status": dict() as answer}]:
                return Status(answer)
        raise EtcdError("unexpected answer from etcdctl: no status")

    def save_snapshot(self, path: str, tick: Callable[[], None]) -> None:
        """Writes the database of the first endpoint's member to PATH (0600), by way of PATH.part.

        Either is replaced. `tick` is called each second; what it raises ends etcdctl; PATH.part stays then.
        """
        # Without a limit for the answer, which is the whole database.
        self._run(["snapshot", "save", path], snapshot=tick)

    def get(self, key: str) -> Value | None:
        """The key's value, None when there is no such key."""
        match self._ask("get", key):
            case {"kvs": [{"mod_revision": int() as revision, **entry}]}:
                return Value(_text(entry.get("value", "")), revision)
        return None

    def put(self, key: str, text: str) -> None:
        """Writes the key, whatever it was before."""
        self._ask("put", key, text=text)

    def delete(self, key: str) -> None:
        """Removes the key if there is one."""
        self._ask("del", key)

    def keys(self, prefix: str) -> list[str]:
        match self._ask("get", prefix, "--prefix", "--keys-only"):
            case {"kvs": list() as entries}:
                return [_text(entry["key"]) for entry in entries]
        return []

    def count(self, start: str, end: str = "", *, revision: int = 0) -> Count:
        """The keys from `start` up to `end`, which is not one of them ("" for no end), as they were then.

        etcd counts them in its index: it reads no value but that of the first one.
        """
        last = [end] if end else ["--from-key"]
        # etcdctl 3.4 has no --count-only.
        match self._ask("get", start, *last, "--keys-only", "--limit=1", f"--rev={revision}"):
            case {"header": {"revision": int() as now}, **answer}:
                number = answer.get("count", 0)
                if isinstance(number, int):
                    return Count(number, *_first(answer.get("kvs")), now)
        raise EtcdError("unexpected answer from etcdctl: no count")

    def range(self, start: str, end: str, limit: int) -> list[tuple[str, str]]:
        """The first so many keys from `start` up to `end`, which is not one of them, with their values."""
        match self._ask("get", start, end, f"--limit={limit}"):
            case {"kvs": list() as entries}:
                return [(_text(entry["key"]), _text(entry.get("value", ""))) for entry in entries]
        return []

    def write(self, key: str, text: str, revision: int, *, remove: tuple[str, ...] = ()) -> bool:
        """Writes the key if it still has this revision (0: does not exist), and removes those in `remove`.

        Returns False, and changes nothing, when somebody else has written the key.
        """
        changes = [f"put {_quoted(key)} {_quoted(text)}", *(f"del {_quoted(other)}" for other in remove)]
        request = "\n".join([f'mod({_quoted(key)}) = "{revision}"', "", *changes, "", "", ""])
        match self._ask("txn", text=request):
            case {"succeeded": True}:
                return True
        return False

    def _ask(self, *arguments: str, text: str | None = None) -> object:
        output = self._run(["--write-out=json", *arguments], text)
        try:
            answer: object = json.loads(output)
        except ValueError:
            raise EtcdError(f"etcdctl {' '.join(arguments[:2])} did not answer with JSON") from None
        return answer

    def _run(
        self,
        arguments: list[str],
        text: str | None = None,
        *,
        snapshot: Callable[[], None] | None = None,
    ) -> str:
        endpoints = self._endpoints[:1] if snapshot else self._endpoints
        command = [
            *self._command,
            f"--endpoints={','.join(endpoints)}",
            *self._files,
            f"--dial-timeout={_DIAL * self.patience:g}s",
            *([] if snapshot else [f"--command-timeout={_COMMAND * self.patience:g}s"]),
            *arguments,
        ]
        stdin = None
        try:
            if text is not None:
                stdin = os.memfd_create("request")
                os.write(stdin, text.encode())
                os.lseek(stdin, 0, os.SEEK_SET)
            finished = processes.run(
                command,
                timeout=_SNAPSHOT if snapshot else self.patience,
                stdin=stdin,
                tick=snapshot,
                environment={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            )
        except UserError as error:
            raise EtcdError(error.message, hint=error.hint) from None
        finally:
            if stdin is not None:
                os.close(stdin)
        if finished.code != 0:
            raise EtcdError(finished.last_words.removeprefix("Error: "))
        return finished.output


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise EtcdError("unexpected answer from etcdctl: malformed status")
    return value


def _first(entries: object) -> tuple[str, int]:
    match entries:
        case [{"key": str() as key, "mod_revision": int() as written}, *_]:
            return _text(key), written
    return "", 0


def _text(encoded: object) -> str:
    return base64.b64decode(str(encoded)).decode(errors="replace")


def _quoted(text: str) -> str:
    """The text in quotation marks, for a transaction. ValueError for letters that etcdctl cannot parse."""
    if any(letter in text for letter in "\"'`\\\n"):
        raise ValueError("a transaction of etcdctl cannot hold quotation marks, backslashes or line breaks")
    return f'"{text}"'
