"""The commands of etcd-snapshot and their many options, which RKE2's commands have too.

Each option may stand before or after the command's name. The configuration checks the values.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rke2_units import layout
from rke2_units.cli.commands import SNAPSHOT_HELP, Group
from rke2_units.config.keys import BY_NAME, KEYS, Kind
from rke2_units.ports import SUPERVISOR_PORT

if TYPE_CHECKING:
    from rke2_units.cli.etcd_snapshot import Given

_Function = TypeVar("_Function", bound=Callable[..., object])

_ALIASES = {"list": "ls", "l": "ls"}
# Keys of config.yaml that are options under their own name, and without etcd- in front (etcd-s3: --s3).
_BY_KEY = (
    "etcd-snapshot-compress",
    "etcd-snapshot-retention",
    *(key.name for key in KEYS if key.name.startswith("etcd-s3")),
)
# All keys that are options, by the name that click gives to the option.
_KEYS = {"data_dir": "data-dir", "dir": "etcd-snapshot-dir"} | {
    name.removeprefix("etcd-").replace("-", "_"): name for name in _BY_KEY
}
_SWITCHES = frozenset(
    f"--{flag}"
    for name in _BY_KEY
    if BY_NAME[name].kind is Kind.BOOLEAN
    for flag in (name, name.removeprefix("etcd-"))
)
_SEEN = "All users of this machine can see it"
# Names, value and help of the options that are no keys, or say something else here.
_OWN = (
    (
        ("--config", "-c"),
        "FILE",
        f"Read this file instead of {layout.CONFIG_FILE} (and FILE.d/*.yaml beside it).",
    ),
    (("--data-dir", "-d"), "DIR", f"The data directory (default: {layout.DEFAULT_DATA_DIRECTORY})."),
    (
        ("--dir", "--etcd-snapshot-dir"),
        "DIR",
        "The folder of snapshots (default: the server's own).",
    ),
    (
        ("--etcd-server", "-s"),
        "URL",
        f"The server with etcd that does it (default: this one, https://127.0.0.1:{SUPERVISOR_PORT}).",
    ),
    (
        ("--etcd-token-file",),
        "FILE",
        "Read the servers' token from FILE (-: standard input; default: DATA/server/token).",
    ),
    (
        ("--etcd-token", "-t"),
        "TOKEN",
        f"The servers' token. {_SEEN}: prefer --etcd-token-file.",
    ),
    (("--name",), "NAME", "The base name, for save and prune (default: on-demand)."),
)
# By key, where the help of the key does not fit.
_HELP = {
    "etcd-s3": "Work with S3 too: with that of these options and config.yaml, not with the server's own."
}
# What RKE2 has and has no effect here; the first two have no value.
_WITHOUT_EFFECT = (("--debug",), ("--alsologtostderr",), ("--node-name",), ("--log", "-l"))


def _local_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For completion on the command line."""
    from rke2_units.cli.etcd_snapshot import local_names

    return local_names(incomplete)


def with_values(arguments: list[str]) -> list[str]:
    """The arguments with a value for each switch: `--s3` is `--s3=true`, as in RKE2."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return [f"{text}=true" if text in _SWITCHES else text for text in options] + arguments[len(options) :]


class _Command(click.Command):
    """A command whose switches may have a value, as in RKE2: `--s3=false`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_values(args))


class _SnapshotGroup(Group):
    """The same for the options before the command, which may have other names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_values(args))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


def _options(flags: Sequence[str] = (), *, hidden: bool = False) -> list[click.Parameter]:
    """The options, which may stand before a command's name too; with `flags` only these.

    `hidden`: no help shows them.
    """
    return [
        *(
            click.Option(names, metavar=metavar, help=help, hidden=hidden)
            for names, metavar, help in (*_OWN, *map(_of_key, _BY_KEY))
            if not flags or names[0] in flags
        ),
        *(
            click.Option(names, is_flag=number < 2, hidden=True)
            for number, names in enumerate(_WITHOUT_EFFECT)
        ),
    ]


def _of_key(name: str) -> tuple[tuple[str, ...], str, str]:
    key, flag = BY_NAME[name], f"--{name.removeprefix('etcd-')}"
    help = _HELP.get(name) or key.help.replace("`", "")
    if key.secret:
        # An argument is no secret.
        safer = f"config.yaml or {key.environment}" if key.environment else "config.yaml"
        help += f" {_SEEN}: prefer {safer}."
    return (flag, f"--{name}"), "[=false]" if flag in _SWITCHES else key.kind.name, help


@click.group(
    cls=_SnapshotGroup,
    params=_options(hidden=True),
    help=f"""{SNAPSHOT_HELP}

    The server of --etcd-server does it with its own snapshots and, with --s3, with those in S3. verify and
    restore work on this machine. Options may also stand before the command.
    """,
)
@click.pass_context
def etcd_snapshot(ctx: click.Context, **values: Any) -> None:
    # A docstring would be the help.
    ctx.obj = _said(values)


def _command(
    *own: click.Parameter, name: str = "", flags: Sequence[str] = ()
) -> Callable[[_Function], _Command]:
    """Makes a command of a function, with `own` parameters and those of `_options(flags)`."""

    def decorate(function: _Function) -> _Command:
        made = _Command(
            name or function.__name__,
            callback=click.pass_context(function),
            params=[*own, *_options(flags)],
            help=function.__doc__,
        )
        etcd_snapshot.add_command(made)
        return made

    return decorate


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _given(ctx: click.Context, values: Mapping[str, Any]) -> "Given":
    """What the command line says, before and after the command's name."""
    from rke2_units.cli.etcd_snapshot import Given

    said = {**(ctx.obj or {}), **_said(values)}
    return Given(
        {key: said[name] for name, key in _KEYS.items() if name in said},
        said.get("config", ""),
        said.get("etcd_server", ""),
        said.get("etcd_token", ""),
        said.get("etcd_token_file", ""),
        said.get("name", ""),
    )


@_command()
def save(ctx: click.Context, **values: Any) -> int:
    """Save a snapshot now.

    It is made from the etcd member of the server, in its folder of snapshots. Nothing is pruned.
    """
    from rke2_units.cli import etcd_snapshot as work

    return work.save(_given(ctx, values))


@_command(
    click.Option(
        ["--output", "-o"], default="table", metavar="FORMAT", help="table (default), json or yaml."
    ),
    name="ls",
)
def show_all(ctx: click.Context, output: str, **values: Any) -> int:
    """List snapshots (also: list, l)."""
    from rke2_units.cli import etcd_snapshot as work

    work.show_all(_given(ctx, values), output)
    return 0


@_command(click.Argument(["names"], metavar="NAME...", nargs=-1, shell_complete=_local_names))
def delete(ctx: click.Context, names: tuple[str, ...], **values: Any) -> int:
    """Delete snapshots by their names."""
    from rke2_units.cli import etcd_snapshot as work

    work.delete(_given(ctx, values), names)
    return 0


@_command()
def prune(ctx: click.Context, **values: Any) -> int:
    """Delete the oldest snapshots whose names begin with --name.

    The newest --snapshot-retention of them are kept.
    """
    from rke2_units.cli import etcd_snapshot as work

    work.prune(_given(ctx, values))
    return 0


@_command(
    click.Argument(["snapshot"], metavar="FILE", shell_complete=_local_names),
    click.Option(["--yes"], is_flag=True, help="Do not ask for confirmation."),
    flags=("--s3", "--etcd-token-file"),
)
def restore(ctx: click.Context, snapshot: str, yes: bool, **values: Any) -> int:
    """Restore the cluster from a snapshot: cluster-reset --restore.

    Run it on a server that is stopped. It shows first what it will do. FILE is a path or, with --s3, the
    name of a snapshot in S3, which config.yaml describes.
    """
    from rke2_units.cli import etcd_snapshot as work

    return work.restore(_given(ctx, values), snapshot, assume_yes=yes)


@_command(
    click.Argument(["snapshot"], metavar="[FILE]", required=False, shell_complete=_local_names),
    click.Option(["--latest"], is_flag=True, help="Verify the newest snapshot of this node."),
    flags=("--config", "--data-dir", "--dir"),
)
def verify(ctx: click.Context, snapshot: str | None, latest: bool, **values: Any) -> int:
    """Find out whether a snapshot of this node can be restored.

    It is restored into a temporary folder, opened by an etcd of its own there, and compared with the live
    cluster. Exits with 0 only if it is good. FILE is a name, or a path in the folder of snapshots.
    """
    from rke2_units.cli import etcd_snapshot as work

    return work.verify(_given(ctx, values), snapshot or "", newest=latest)
