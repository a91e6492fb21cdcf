"""Pulls an image into a directory: skopeo fetches and checks it; this module tries the endpoints in order.

skopeo's `dir:` keeps an image's manifest and blobs unchanged, by digest, so that they can be checked again
later. Only registries.yaml is used, not the machine's own configuration of containers (/etc/containers).
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rke2_units.errors import UserError
from rke2_units.images.pull_failures import Failure, explain, last_words
from rke2_units.images.registries import Endpoint, Host, Registries
from rke2_units.lean import architectures, processes

# Only a closed connection or a server error is retried: other failures last longer.
_ATTEMPTS = 3
_PAUSE = 2.0
# Seconds without an answer, or without another byte on disk, after which the next endpoint is tried.
_ANSWER = 120.0
_SILENCE = 300.0
_LONGEST = 24 * 3600.0
_TOLD_EVERY = 15.0

Report = Callable[[str], None]


def fetch(
    registries: Registries,
    reference: str,
    directory: str,
    *,
    architecture: str = "",
    tell: Report,
    progress: Report,
) -> str:
    """Pulls the image for this architecture (Go's name; "": this machine's) and returns the endpoint's URL.

    `directory` is replaced, and then holds manifest.json and the blobs, each named by the hex of its digest;
    temporary files are beside it, in `directory`.work. `tell` gets lines for the journal, `progress` the
    progress every second. UserError names the failure of each endpoint; then the directory is removed.
    """
    causes: list[str] = []
    try:
        for endpoint in registries.endpoints(reference):
            if causes:
                tell(f"{reference} cannot be pulled from {causes[-1]}; trying {endpoint.url}")
            wanted = architecture or architectures.own()
            failure = _Pull(endpoint, reference, directory, wanted, tell, progress).run()
            if failure is None:
                return endpoint.url
            causes.append(f"{endpoint.url}: {failure}")
            if failure.local:
                break
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)
    raise UserError(
        f"{reference} cannot be pulled: {'; '.join(causes) or 'registries.yaml allows no endpoint for it'}"
    )


class _Pull:
    """The pull of an image from one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        reference: str,
        directory: str,
        architecture: str,
        tell: Report,
        progress: Report,
    ) -> None:
        self._endpoint = endpoint
        self._subject = f"{reference} from {endpoint.url}"
        self._directory = directory
        self._architecture = architecture
        self._tell = tell
        self._progress = progress

    def run(self) -> Failure | None:
        """None when the image is there."""
        if problem := self._endpoint.problem or self._endpoint.host.missing_file:
            return Failure("", problem)
        failure = None
        with _private(self._endpoint, f"{self._directory}.work") as private:
            for attempt in range(_ATTEMPTS):
                if attempt and failure is not None:
                    self._tell(f"pulling {self._subject}: {failure}; trying again")
                    time.sleep(_PAUSE)
                failure = self._copy(private)
                if failure is None or not failure.again:
                    break
        return failure

    def _copy(self, private: str) -> Failure | None:
        self._progress(f"asking for {self._subject}")
        manifest = self._manifest(private, self._endpoint.source)
        if isinstance(manifest, Failure):
            return manifest
        watch = _Watch(
            self._subject, self._directory, self._size(private, manifest), self._tell, self._progress
        )
        shutil.rmtree(self._directory, ignore_errors=True)
        os.makedirs(self._directory, mode=0o700)
        options = ["--quiet", "--remove-signatures", "--preserve-digests"]
        try:
            finished = self._skopeo(
                private, "copy", "--src-", *options, self._endpoint.source, f"dir:{self._directory}",
                timeout=_LONGEST, tick=watch.look,
            )  # fmt: skip
        except _SilentError:
            return Failure("it stopped sending data", f"for {_SILENCE:.0f} s")
        return None if finished.code == 0 else _failure(finished)

    def _manifest(self, private: str, source: str) -> dict[str, object] | Failure:
        """The manifest (or list of manifests) there; not checked, as only the size is taken from it."""
        try:
            finished = self._skopeo(private, "inspect", "--", "--raw", source, timeout=_ANSWER)
        except processes.TookTooLongError:
            return Failure("it does not answer in time", f"waited {_ANSWER:.0f} s")
        if finished.code != 0:
            return _failure(finished)
        try:
            found = json.loads(finished.output)
        except ValueError:
            found = None
        return found if isinstance(found, dict) else Failure("", "its answer is not a manifest")

    def _size(self, private: str, manifest: dict[str, object]) -> int:
        """The bytes to fetch; 0 when they are unknown."""
        try:
            if "manifests" in manifest:
                wanted = {"os": "linux", "architecture": self._architecture}
                digest = next(
                    item["digest"]
                    for item in manifest["manifests"]  # type: ignore[attr-defined]
                    if wanted.items() <= item["platform"].items()
                )
                source = self._endpoint.source
                name = source.rpartition("@" if "@" in source else ":")[0]
                found = self._manifest(private, f"{name}@{digest}")
                manifest = {} if isinstance(found, Failure) else found
            blobs = [manifest["config"], *manifest["layers"]]  # type: ignore[misc]
            return sum({str(blob["digest"]): int(blob["size"]) for blob in blobs}.values())
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
            return 0

    def _skopeo(
        self,
        private: str,
        command: str,
        prefix: str,
        *arguments: str,
        timeout: float,
        tick: Callable[[], None] | None = None,
    ) -> processes.Finished:
        """Runs skopeo on the endpoint; `prefix` begins its options of the source."""
        return processes.run(
            [
                "skopeo", "--insecure-policy", "--registries.d", f"{private}/none",
                "--override-os", "linux", "--override-arch", self._architecture,
                command,
                f"{prefix}authfile", f"{private}/auth.json", f"{prefix}cert-dir", f"{private}/certificates",
                f"{prefix}tls-verify={'true' if self._endpoint.verify else 'false'}",
                *arguments,
            ],
            timeout=timeout,
            tick=tick,
            hint="apt install skopeo",
            # An empty registries.conf in a home of its own takes the place of all of /etc/containers.
            environment=os.environ | {"HOME": private, "TMPDIR": private},
        )  # fmt: skip


def _failure(finished: processes.Finished) -> Failure:
    return explain(last_words(finished.last_words))


class _SilentError(Exception):
    """Nothing has arrived for too long."""


class _Watch:
    """Measures what has arrived on disk, and reports it."""

    def __init__(self, subject: str, directory: str, total: int, tell: Report, progress: Report) -> None:
        self._subject = subject
        self._directory = directory
        self._total = total
        self._tell = tell
        self._progress = progress
        self._done = 0
        self._changed = self._told = time.monotonic()

    def look(self) -> None:
        now = time.monotonic()
        done = _bytes(self._directory)
        if done != self._done:
            self._done = done
            self._changed = now
        if now - self._changed > _SILENCE:
            raise _SilentError
        total = f" of {self._total / (1 << 20):.1f}" if self._total else ""
        text = f"pulling {self._subject}: {done / (1 << 20):.1f}{total} MiB"
        self._progress(text)
        if now - self._told > _TOLD_EVERY:
            self._told = now
            self._tell(text)


def _bytes(directory: str) -> int:
    with os.scandir(directory) as entries:
        found = 0
        for entry in entries:
            try:
                found += entry.stat().st_size
            except FileNotFoundError:
                # Renamed at this moment: a blob is complete.
                continue
    return found


@contextmanager
def _private(endpoint: Endpoint, path: str) -> Iterator[str]:
    """A private directory with skopeo's configuration for this endpoint."""
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path, mode=0o700)
    try:
        for directory in ("none", "certificates", ".config/containers/registries.conf.d"):
            os.makedirs(f"{path}/{directory}")
        _write(f"{path}/.config/containers/registries.conf", "")
        host = endpoint.host
        for name, file in host.files.items():
            os.symlink(file, f"{path}/certificates/{name}")
        docker = os.path.expanduser("~/.docker/config.json")
        if not host.has_credentials and os.path.exists(docker):
            os.symlink(docker, f"{path}/auth.json")
        else:
            _write(f"{path}/auth.json", json.dumps({"auths": _auths(endpoint.registry, host)}))
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _auths(registry: str, host: Host) -> dict[str, dict[str, str]]:
    """The entry of Docker's config.json for this registry."""
    if not host.has_credentials:
        return {}
    from base64 import b64encode

    entry = {"auth": b64encode(f"{host.username}:{host.password}".encode()).decode()}
    if host.identity_token:
        entry["identitytoken"] = host.identity_token
    return {registry: entry}


def _write(path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
