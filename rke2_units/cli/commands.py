"""The commands, their options and help. What a command needs is imported when it runs."""

import difflib
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from rke2_units import __version__, layout
from rke2_units.unit_names import Role

_ROLES = click.Choice([role.value for role in Role])
_Function = TypeVar("_Function", bound=Callable[..., object])
SNAPSHOT_HELP = "Save, list, delete, restore and verify snapshots."


class Group(click.Group):
    """A group that lists its commands in the order of definition, and suggests one for an unknown name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.commands, 1)
            if near:
                error.message = f"{error.message.rstrip('.')}; did you mean {near[0]!r}"
            raise


class _Later(click.Group):
    """etcd-snapshot. Its many options are made when it is used: no other command waits for them."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        from rke2_units.cli.etcd_snapshot_commands import etcd_snapshot

        return etcd_snapshot.make_context(info_name, args, parent, **extra)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Configuration: /etc/rancher/rke2/config.yaml, rke2-units-config(5). Start the node with "
    "systemctl start rke2-server (or rke2-agent) after the install.",
)
@click.version_option(__version__, prog_name="rke2-units", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def command(debug: bool) -> None:
    """Prepare, show and remove a Kubernetes node like RKE2's, whose parts are systemd units."""


def _role(*, help: str) -> Callable[[_Function], _Function]:
    return click.option("--role", type=_ROLES, help=help)


def _known_releases(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For completion on the command line."""
    from rke2_units.node.releases import fetched_names
    from rke2_units.release.table import RELEASES

    return [name for name in (*RELEASES, *fetched_names()) if name.startswith(incomplete)]


_release = click.option(
    "--release",
    metavar="VERSION",
    shell_complete=_known_releases,
    help="The release, such as v1.36.4+rke2r1 (default: release in config.yaml, else the installed one).",
)
_config_file = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help=f"Read this file instead of {layout.CONFIG_FILE} (and FILE.d/*.yaml beside it).",
)


def _image_lists(option: str) -> Callable[[_Function], _Function]:
    return click.option(
        option,
        "image_lists",
        metavar="FILE",
        multiple=True,
        help="Read the release's images from FILE (rke2-images-NAME.linux-ARCH.txt, one reference per line) "
        "instead of fetching its image lists (repeatable).",
    )


@command.command()
@click.option("--role", type=_ROLES, required=True, help="The role of this node.")
@_release
@_image_lists("--image-list")
@click.option("--server", metavar="URL", help="Join the cluster of the server at URL (https://HOST:9345).")
@click.option(
    "--token-file",
    metavar="FILE",
    help=f"Read the join token from FILE (`-` for standard input) and save it to {layout.TOKEN_FILE}.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
def install(
    role: str,
    release: str | None,
    image_lists: tuple[str, ...],
    server: str | None,
    token_file: str | None,
    dry_run: bool,
) -> int:
    """Check this machine and write all of a node's files.

    The role's unit is enabled, and nothing is started. A second run updates the files to match the
    configuration. The release changes only through --release or `release` in config.yaml. If the release is
    not known, its image lists are fetched.
    """
    from rke2_units.cli.install import install as run

    return run(Role(role), release, image_lists, dry_run=dry_run, server=server, token_file=token_file)


@command.command()
@_role(help="The role (default: the installed one, else server).")
@_release
@click.option(
    "--root", metavar="DIR", default="rendered", show_default=True, help="Write everything below DIR."
)
@_config_file
def render(role: str | None, release: str | None, root: str, config_file: str | None) -> int:
    """Write all files of a node below a folder, on any machine.

    Configuration and facts are taken from the machine on which the command runs.
    """
    from rke2_units.cli.planning import make_plan_here
    from rke2_units.errors import UserError
    from rke2_units.node.apply import write
    from rke2_units.node.render_root import refuse_others

    if os.path.realpath(root) == "/":
        raise UserError("render does not write to /", hint="use rke2-units install, or give another --root")
    planned = make_plan_here(Role(role) if role else None, release, config_file)
    refuse_others(root, planned.plan)
    write(planned.plan, os.path.abspath(root))
    click.echo(f"{len(planned.plan.files)} files of {planned.release} ({planned.plan.role}) in {root}")
    return 0


@command.command()
@_role(help="The role (default: the installed one).")
@_release
@_config_file
def diff(role: str | None, release: str | None, config_file: str | None) -> int:
    """Show what install or the next start would change.

    Prints a unified diff without secrets. Exits with 1 if there is a difference. Certificates are not
    included. A certificate that is about to expire, or whose names change with tls-san, is reissued at the
    next start, and everything that uses it is restarted.
    """
    from rke2_units.cli.planning import make_plan_here
    from rke2_units.node import installation
    from rke2_units.node.apply import changes
    from rke2_units.node.diff import unified

    planned = make_plan_here(Role(role) if role else None, release, config_file)
    if installation.read() is None:
        click.echo("this machine is not a node yet; rke2-units install would write all of this:", err=True)
    for warning in planned.warnings:
        click.echo(f"warning: {warning}", err=True)
    text = unified(changes(planned.plan))
    click.echo(text, nl=False)
    return 1 if text else 0


@command.group(cls=Group)
def release() -> None:
    """List, show and fetch releases."""


@release.command("list")
def release_list() -> int:
    """List the known releases and the source of each."""
    from rke2_units.cli.releases import show_all

    show_all()
    return 0


@release.command("show")
@click.argument("version", required=False, shell_complete=_known_releases)
@_config_file
def release_show(version: str | None, config_file: str | None) -> int:
    """Show a release's versions, images and image lists.

    Without VERSION, shows the release that this node is to run.
    """
    from rke2_units.cli.releases import show

    show(version, config_file)
    return 0


@release.command("fetch")
@click.argument("version")
@_image_lists("--from")
@_config_file
def release_fetch(version: str, image_lists: tuple[str, ...], config_file: str | None) -> int:
    """Fetch and store the image lists of a release that is not built in.

    They are downloaded from release-artifact-url (config.yaml) and checked against the checksums there.
    """
    from rke2_units.cli.releases import fetch

    fetch(version, image_lists, config_file)
    return 0


@command.group(cls=Group)
def images() -> None:
    """List and bundle the images that a node needs."""


@images.command("list")
@_role(help="The role (default: the installed one, else server).")
@_release
@_config_file
def images_list(role: str | None, release: str | None, config_file: str | None) -> int:
    """Print the images that a registry must hold for this node, one reference per line.

    These are the node's own images and, on a server, those of the core charts, the network plugin and the
    ingress controller. The registry of system-default-registry is not added to the references.
    """
    from rke2_units.cli.images import show

    show(Role(role) if role else None, release, config_file)
    return 0


@images.command("bundle")
@click.option(
    "--output",
    metavar="FILE",
    required=True,
    help="The archive to write: FILE.tar.zst (.tzst), FILE.tar.gz (.tgz) or FILE.tar.",
)
@_role(help="The role (default: the installed one, else server).")
@_release
@click.option(
    "--image",
    "references",
    metavar="REF",
    multiple=True,
    help="Include this image, and not all that the node needs (repeatable).",
)
@click.option(
    "--image-list",
    "image_lists",
    metavar="FILE",
    multiple=True,
    help="Include the images in FILE (one reference per line, as `images list` prints them), and not all "
    "that the node needs (repeatable).",
)
@_config_file
def images_bundle(
    output: str,
    role: str | None,
    release: str | None,
    references: tuple[str, ...],
    image_lists: tuple[str, ...],
    config_file: str | None,
) -> int:
    """Create an archive for agent/images of a node without network.

    It contains all images that `images list` prints, or only those of --image and --image-list. They are
    pulled as a node with this configuration would pull them, with registries.yaml and
    system-default-registry.
    """
    from rke2_units.cli.images import bundle

    bundle(output, Role(role) if role else None, release, references, image_lists, config_file)
    return 0


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(as_json: bool) -> int:
    """Show units, processes, readiness and pods as one tree.

    The cluster's charts and nodes follow. Exits with 0 only if this node has no problem.
    """
    from rke2_units.cli import status_text
    from rke2_units.node.status import gather

    found = gather()
    click.echo(status_text.as_json(found) if as_json else status_text.as_tree(found, time.time()))
    return 0 if found.well else 1


command.add_command(_Later("etcd-snapshot", help=SNAPSHOT_HELP))


@command.group(cls=Group)
def token() -> None:
    """Create, list, delete and rotate tokens.

    Run these commands on a server, as root.
    """


@token.command("create")
@click.option(
    "--ttl", default="24h", show_default=True, help="Lifetime of the token; 0: until it is deleted."
)
@click.option(
    "--groups",
    multiple=True,
    default=["system:bootstrappers:rke2:default-node-token"],
    show_default=True,
    help="Additional group for nodes that authenticate with this token (repeatable).",
)
@click.option(
    "--usages",
    multiple=True,
    default=["signing,authentication"],
    show_default=True,
    help="What the token may be used for; agents need authentication.",
)
@click.option("--description", default="", help="Description shown by `token list`.")
@click.option(
    "--token-file",
    metavar="FILE",
    help="Read the token (abcdef.0123456789abcdef) from FILE (-: standard input; default: a random token).",
)
def token_create(
    ttl: str, groups: tuple[str, ...], usages: tuple[str, ...], description: str, token_file: str | None
) -> int:
    """Create a token with which agents can join until it expires, and print it.

    It contains the hash of the cluster's CA, so that an agent sends it to no other server.
    """
    from rke2_units.cli.tokens import create

    create(ttl, usages, groups, description, token_file)
    return 0


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def token_list(as_json: bool) -> int:
    """List the bootstrap tokens, without their secret part."""
    from rke2_units.cli.tokens import show_all

    show_all(as_json=as_json)
    return 0


@token.command("delete")
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
def token_delete(identifiers: tuple[str, ...]) -> int:
    """Delete bootstrap tokens by their ID.

    Agents that already joined are not affected.
    """
    from rke2_units.cli.tokens import delete

    delete(identifiers)
    return 0


@token.command("rotate")
@click.option(
    "--new-token-file",
    metavar="FILE",
    help="Read the new token from FILE (-: standard input; default: a random token).",
)
def token_rotate(new_token_file: str | None) -> int:
    """Replace the cluster's server token.

    Run it on one server, and then with the new token on each of the others. If it is interrupted, run it
    again to complete it.
    """
    from rke2_units.cli.tokens import rotate

    rotate(new_token_file)
    return 0


@command.command("cluster-reset")
@click.option(
    "--restore",
    "--cluster-reset-restore-path",
    "snapshot",
    metavar="FILE",
    default="",
    help="Restore the snapshot FILE; with etcd-s3, the object of this name "
    "(default: cluster-reset-restore-path in config.yaml, else this server's own data).",
)
@click.option(
    "--s3/--no-s3",
    "--etcd-s3/--no-etcd-s3",
    "s3",
    default=None,
    help="Whether the snapshot is in S3 (default: etcd-s3 in config.yaml).",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="Read the cluster's server token from FILE (`-` for standard input; default: token in config.yaml, "
    "else server/token on this server).",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def cluster_reset(snapshot: str, s3: bool | None, token_file: str | None, yes: bool) -> int:
    """Make this server's etcd a new cluster with one member.

    Its data is that of a snapshot, or without --restore this server's own: for a cluster that has lost the
    majority of its servers. Run it on a server that is stopped. Shows first what it will do. Keeps what it
    replaces under another name. If it is interrupted, run it again to complete it.
    """
    from rke2_units.cli.cluster_reset import run

    return run(snapshot, s3, token_file, yes=yes)


@command.command()
def killall() -> int:
    """Stop the node and remove everything that it runs.

    Removes processes, mounts, network namespaces, interfaces and firewall rules. Data is kept, and the node
    can be started again.
    """
    from rke2_units.node.killall import kill_all

    for line in kill_all():
        click.echo(line)
    return 0


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--purge-data", is_flag=True, help="Remove the cluster's data and configuration too.")
def uninstall(yes: bool, purge_data: bool) -> int:
    """Run killall, then remove the files that install wrote.

    Lists first what it will remove. Data and configuration are kept unless --purge-data is given.
    """
    from rke2_units.errors import UserError
    from rke2_units.node import installation
    from rke2_units.node.uninstall import losses, removals, uninstall

    found = removals(purge_data)
    installed = installation.read() is not None
    if purge_data and not installed:
        click.echo(
            "rke2-units is not installed here: data is kept, because it may belong to another Kubernetes"
        )
    if not found:
        click.echo("rke2-units is not installed here, nothing to remove")
        return 0
    click.echo(f"This {'ends all pods of this node and ' if installed else ''}removes:")
    for path in found:
        click.echo(f"  {path}")
    for line in losses() if purge_data else ():
        click.echo(line)
    try:
        confirmed = yes or click.confirm("Continue?")
    except click.Abort:
        click.echo()
        raise UserError("nothing was changed: there was no answer", hint="use --yes to confirm") from None
    if not confirmed:
        click.echo("nothing was changed")
        return 1
    for line in uninstall(purge_data):
        click.echo(line)
    return 0


@command.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script of a shell.

    For bash: rke2-units completion bash > /etc/bash_completion.d/rke2-units
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - these three are click's own
    click.echo(made(command, {}, "rke2-units", "_RKE2_UNITS_COMPLETE").source())
    return 0
