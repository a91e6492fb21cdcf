"""The steps of a reset in their order."""

import os
import secrets
from collections.abc import Generator, Iterator

from rke2_units.certificates import bootstrap
from rke2_units.certificates.token import Token
from rke2_units.doors import files
from rke2_units.doors.run import run
from rke2_units.errors import UserError
from rke2_units.lean.settings import Settings
from rke2_units.node import installation, pods
from rke2_units.node.cluster_reset import etcd_programs, new_data, progress, replacing, static_pods
from rke2_units.node.cluster_reset.places import Places
from rke2_units.node.cluster_reset.progress import Progress
from rke2_units.node.cluster_reset.request import Request
from rke2_units.node.cluster_reset.takeover import Found, Wanted
from rke2_units.plan import etcd
from rke2_units.plan.node import Node
from rke2_units.unit_names import KUBELET_UNIT, Role

# While one of them runs, pods come back and files are written.
_AT_REST = (*(role.unit for role in Role), KUBELET_UNIT)


def refuse_running() -> None:
    """UserError unless this node is stopped."""
    listed = run(
        [
            *("systemctl", "list-units", "--plain", "--no-legend", "--no-pager"),
            "--state=active,reloading,activating,deactivating",
            *_AT_REST,
        ]
    ).output
    found = {line.split()[0] for line in listed.splitlines() if line.strip()}
    # Whoever stops the first stops the others.
    running = [unit for unit in _AT_REST if unit in found]
    if running:
        raise UserError(
            f"{running[0]} runs, and cluster-reset is done on a node that is stopped",
            hint=f"systemctl stop {running[0].removesuffix('.service')}",
        )


class Reset:
    """A reset of this node, which is completed if an earlier one was interrupted."""

    def __init__(self, node: Node, request: Request, stamp: int) -> None:
        self._node = node
        self._paths = node.paths
        self._request = request
        self.begun = progress.read(self._paths.reset_progress)
        self.places = Places(self._paths, self.begun.stamp if self.begun else stamp)
        self._stamp = stamp

    def steps(self) -> Iterator[str]:
        """Does it; yields a line for each step, before it is done."""
        with installation.lock():
            refuse_running()
            self._clean()
            settings = self._settings()
            if self.begun:
                # Before anything else is changed with the wrong token.
                bootstrap.unseal(self._request.token.password, self.begun.bootstrap)
            begun = self.begun or (yield from self._new(settings))
            yield from static_pods.end(self._paths, settings)
            yield from replacing.replace(self._paths, self.places, begun, self._request.token.password)

    def _clean(self) -> None:
        """Removes the temporary files of a run that was killed: they hold keys."""
        paths = self._paths
        for folder in (
            *(os.path.dirname(paths.etcd_data), paths.etcd_data, paths.server),
            *(paths.tls, paths.etcd_tls, paths.credentials),
        ):
            files.clean(folder)

    def _settings(self) -> Settings:
        settings = pods.planned_settings(self._paths)
        if settings is None or not settings.image_programs["etcdctl"].image:
            raise UserError(
                f"{self._paths.program_settings} does not say where etcd's programs are",
                hint="rke2-units install --role server writes it",
            )
        return settings

    def _new(self, settings: Settings) -> Generator[str, None, Progress]:
        try:
            return (yield from self._begin(settings))
        except BaseException:
            new_data.discard(self.places)
            raise

    def _begin(self, settings: Settings) -> Generator[str, None, Progress]:
        """Makes and checks the new data, and notes that it is to take the place of the old."""
        request = self._request
        programs = etcd_programs.places(settings)
        if not (os.path.exists(programs.etcd) and os.path.exists(programs.etcdctl)):
            yield f"taking etcd's programs out of {settings.image_programs['etcdctl'].image}"
            programs = etcd_programs.bring(settings)
        wanted = self._wanted(request.token)
        if request.snapshot:
            if request.s3:
                yield f"downloading {request.snapshot} from S3 to {request.snapshots}"
                self._download()
            name = f"{self._node.name}-{secrets.token_hex(4)}"
            found = yield from new_data.restored(request.file, self.places, programs, name, wanted)
            yield _about(found)
        else:
            # Its data is copied at rest.
            yield from static_pods.end(self._paths, settings)
            replacing.refuse_open(f"{self.places.live}/member")
            name = self._own_name()
            found = yield from new_data.copied(self.places, programs, name, wanted)
        begun = Progress(self._stamp, request.file, name, found.bootstrap)
        progress.write(self._paths.reset_progress, begun)
        return begun

    def _wanted(self, token: Token) -> Wanted:
        release = self._node.release.name if self._request.snapshot else ""
        return Wanted(token, self._node.name, etcd.peer_url(self._node), release)

    def _own_name(self) -> str:
        name = (files.read_text(self._paths.etcd_name) or "").strip()
        return name or f"{self._node.name}-{secrets.token_hex(4)}"

    def _download(self) -> None:
        from rke2_units.snapshots.bucket import Bucket

        request = self._request
        assert request.s3 is not None  # noqa: S101 - that is why it is called
        if request.snapshots == self._paths.snapshots:
            files.make_directory(request.snapshots, 0o700)
        with Bucket(request.s3) as bucket:
            bucket.download(request.snapshot, request.file)


def _about(found: Found) -> str:
    if found.version:
        return f"it is whole, the token fits, and it is of Kubernetes {found.version}"
    return (
        "it is whole, and the token fits. Warning: no node in it says of which Kubernetes it is; "
        "it must be of the same minor version as this server or of an older one"
    )
