"""Verifies a snapshot: restores it into a throwaway folder, and looks into it with an etcd of its own.

Live etcd works on the same disk meanwhile: all that is started here has to wait for it.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.snapshots import bootstrap_check, kinds, live_comparison, restore, throwaway_folder
from rke2_units.snapshots.live_comparison import NotComparable
from rke2_units.snapshots.paced import paced
from rke2_units.snapshots.settings import Settings
from rke2_units.snapshots.throwaway_etcd import ThrowawayEtcd
from rke2_units.snapshots.verified import Result

# User and group of the throwaway etcd. No account has them: Debian reserves the number, systemd gives out
# those up to 65519, and 65534 (nobody) belongs to others as well.
USER: tuple[int, int] | None = (65533, 65533)
_MEMBER = "verify"
_PEER_URL = "http://localhost:2380"
# The differences that a message names.
_NAMED = 3


def verify(path: str, settings: Settings, say: Callable[[str], None], *, live: bool) -> Result:
    """Whether a cluster can be restored from this snapshot with this node's token.

    It is compared with this node's files, and, if that is `live`, with its etcd. UserError when none of this
    could be found out: no room, no programs, another run.
    """
    restore.check_is_file(path)
    for program in (settings.etcd_program, settings.etcdctl):
        if not os.path.exists(program):
            raise UserError(
                f"the program {program} is not there", hint="systemctl start rke2-etcdctl brings it"
            )
    name = os.path.basename(path)
    now = datetime.now(UTC)
    with throwaway_folder.held(f"{_db(settings)}/verify") as folder:
        _give_way()
        try:
            throwaway_folder.require_space(folder, path)
            say(f"restoring {name} into a throwaway folder")
            target = f"{folder}/restored"
            # What a restore writes: what it unpacks, and the database.
            with paced(f"{target}.snapshot", f"{target}/member/snap/db"):
                restore.restore(
                    path,
                    target,
                    etcdutl=settings.etcdutl,
                    etcdctl=settings.etcdctl,
                    name=_MEMBER,
                    peer_url=_PEER_URL,
                )
            say(f"opening {name} with an etcd of its own")
            with ThrowawayEtcd(
                target,
                program=settings.etcd_program,
                etcdctl=settings.etcdctl,
                name=_MEMBER,
                user=USER,
                is_kept=False,
            ) as throwaway:
                return _look_into(throwaway, name, now, settings, say, live)
        except (throwaway_folder.NoRoom, ConfigurationError):
            raise
        except UserError as error:
            return Result(False, str(error), name, now)


def _look_into(
    throwaway: ThrowawayEtcd,
    name: str,
    now: datetime,
    settings: Settings,
    say: Callable[[str], None],
    live: bool,
) -> Result:
    etcd = throwaway.etcd
    etcd.patience = live_comparison.PATIENCE
    everything = etcd.count("")
    revision = everything.revision
    found = kinds.counted(etcd, revision)
    wrong = [] if found else ["it has no objects of Kubernetes"]
    wrong += bootstrap_check.faults(etcd, settings.token_file, os.path.dirname(_db(settings)))
    not_compared = "" if live else "live etcd was not asked"
    if live:
        say(f"comparing {name} with live etcd at revision {revision}")
        try:
            wrong += live_comparison.differences(etcd, found, revision, settings)
        except NotComparable as reason:
            not_compared = str(reason)
    resources = {kinds.resource(prefix): number for prefix, number in found.items()}
    whole = f"revision {revision}, {sum(found.values())} objects of {len(found)} kinds"
    return Result(
        not wrong,
        f"{_sentence(wrong, not_compared)} ({whole})",
        name,
        now,
        revision,
        everything.number,
        resources,
        tuple(wrong),
        not_compared,
    )


def _sentence(wrong: list[str], not_compared: str) -> str:
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        return "; ".join(wrong[:_NAMED]) + more
    return "it can be restored" + (
        f", not compared: {not_compared}" if not_compared else " and has what live etcd had"
    )


def _db(settings: Settings) -> str:
    """The folder DATA/server/db: its disk has room for etcd's data."""
    return os.path.dirname(settings.records)


def _give_way() -> None:
    """This thread and all that it starts wait for others, on the processor and (best effort, 7) on the disk.

    Not as idle classes: what these hold while they wait for their turn, a file system's journal above all,
    everybody waits for.
    """
    os.setpriority(os.PRIO_PROCESS, 0, 19)
