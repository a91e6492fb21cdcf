"""The commands, their options and help. What a command needs is imported when it runs."""

import difflib
import os
import time
from collections.abc import Callable
from typing import TypeVar

import click

from rke2_units import __version__, layout
from rke2_units.unit_names import Role

_ROLES = click.Choice([role.value for role in Role])
_Function = TypeVar("_Function", bound=Callable[..., object])


class _Group(click.Group):
    """A group in the order of its definition, that suggests a command for one it does not know."""

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


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Configuration: /etc/rancher/rke2/config.yaml, rke2-units-config(5). Start the node with "
    "systemctl start rke2-server (or rke2-agent) after the install.",
)
@click.version_option(__version__, prog_name="rke2-units", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def command(debug: bool) -> None:
    """A Kubernetes node whose every part is a systemd unit, in the manner of RKE2."""


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
        help="Take the release's images from this file (rke2-images-NAME.linux-ARCH.txt, one reference a "
        "line) and fetch nothing; may be given several times.",
    )


@command.command()
@click.option("--role", type=_ROLES, required=True, help="What this node is to be.")
@_release
@_image_lists("--image-list")
@click.option("--server", metavar="URL", help="Join the cluster of this server, as https://HOST:9345.")
@click.option(
    "--token-file",
    metavar="FILE",
    help=f"Keep the token in this file (-: standard input) in {layout.TOKEN_FILE}, to join with.",
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

    The role's unit is enabled, and nothing is started. Run again, it brings the files up to date with the
    configuration; the release stays as it is unless --release says otherwise. The image lists of one that is
    not known here are fetched.
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
    """Write what a node would get below a folder, on any machine.

    The configuration and the facts are those of the machine that it runs on.
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

    A unified diff, without secrets. Exits with 1 when there is a difference. Certificates are not part of
    it: one that is due, or that tls-san changes, is made anew by the start, which replaces what reads it.
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


@command.group(cls=_Group)
def release() -> None:
    """List, show and fetch releases."""


@release.command("list")
def release_list() -> int:
    """List the releases that this node knows, and where each comes from."""
    from rke2_units.cli.releases import show_all

    show_all()
    return 0


@release.command("show")
@click.argument("version", required=False, shell_complete=_known_releases)
@_config_file
def release_show(version: str | None, config_file: str | None) -> int:
    """Show a release's versions, images and image lists.

    Without VERSION, those of the release that this node is to run.
    """
    from rke2_units.cli.releases import show

    show(version, config_file)
    return 0


@release.command("fetch")
@click.argument("version")
@_image_lists("--from")
@_config_file
def release_fetch(version: str, image_lists: tuple[str, ...], config_file: str | None) -> int:
    """Get and keep the image lists of a release that is not built in.

    They come from release-artifact-url (config.yaml), and are checked against the checksums there.
    """
    from rke2_units.cli.releases import fetch

    fetch(version, image_lists, config_file)
    return 0


@command.group(cls=_Group)
def images() -> None:
    """List and bundle the images that a node needs."""


@images.command("list")
@_role(help="The role (default: the installed one, else server).")
@_release
@_config_file
def images_list(role: str | None, release: str | None, config_file: str | None) -> int:
    """Print what a registry has to hold for this node, one reference a line.

    The node's own images and, on a server, those of the charts of its network plugin, ingress controller and
    the core. The registry that system-default-registry names is left out.
    """
    from rke2_units.cli.images import show

    show(Role(role) if role else None, release, config_file)
    return 0


@images.command("bundle")
@click.option(
    "--output",
    metavar="FILE",
    required=True,
    help="The archive: FILE.tar.zst (.tzst), FILE.tar.gz (.tgz) or FILE.tar.",
)
@_role(help="The role (default: the installed one, else server).")
@_release
@click.option(
    "--image", "references", metavar="REF", multiple=True, help="Take this image only (and others so named)."
)
@click.option(
    "--image-list",
    "image_lists",
    metavar="FILE",
    multiple=True,
    help="Take the images of this list only (one reference a line), as images list prints it.",
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
    """Make an archive for agent/images of a node without network.

    It holds all images that images list prints, or those that are named. They are pulled as a node with this
    configuration would pull them: registries.yaml and system-default-registry count.
    """
    from rke2_units.cli.images import bundle

    bundle(output, Role(role) if role else None, release, references, image_lists, config_file)
    return 0


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def status(as_json: bool) -> int:
    """Show units, processes, readiness and pods as one tree.

    The cluster's charts and nodes follow. Exits with 0 only when all is well with this node.
    """
    from rke2_units.cli import status_text
    from rke2_units.node.status import gather

    found = gather()
    click.echo(status_text.as_json(found) if as_json else status_text.as_tree(found, time.time()))
    return 0 if found.well else 1


@command.group(cls=_Group)
def token() -> None:
    """Make, list, delete and rotate tokens.

    On a server, as root.
    """


@token.command("create")
@click.option(
    "--ttl", default="24h", show_default=True, help="How long it is valid; 0: until it is deleted."
)
@click.option(
    "--groups",
    multiple=True,
    default=["system:bootstrappers:rke2:default-node-token"],
    show_default=True,
    help="A group of who joins with it; may be given several times.",
)
@click.option(
    "--usages",
    multiple=True,
    default=["signing,authentication"],
    show_default=True,
    help="What it is for; authentication is what agents need.",
)
@click.option("--description", default="", help="Said about it in lists.")
@click.option(
    "--token-file", metavar="FILE", help="Take abcdef.0123456789abcdef from FILE (-: standard input)."
)
def token_create(
    ttl: str, groups: tuple[str, ...], usages: tuple[str, ...], description: str, token_file: str | None
) -> int:
    """Make a token that agents join with until it expires, and print it.

    It names the cluster's authority, so that an agent gives it to no other server.
    """
    from rke2_units.cli.tokens import create

    create(ttl, usages, groups, description, token_file)
    return 0


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def token_list(as_json: bool) -> int:
    """List the bootstrap tokens, without the part that is secret."""
    from rke2_units.cli.tokens import show_all

    show_all(as_json=as_json)
    return 0


@token.command("delete")
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
def token_delete(identifiers: tuple[str, ...]) -> int:
    """Delete bootstrap tokens by their ID.

    Agents that have joined with one stay.
    """
    from rke2_units.cli.tokens import delete

    delete(identifiers)
    return 0


@token.command("rotate")
@click.option(
    "--new-token-file", metavar="FILE", help="Take it from FILE (-: standard input; default: a random one)."
)
def token_rotate(new_token_file: str | None) -> int:
    """Give the cluster another server token in place of the present one.

    Run it on one server, and then with the new token on each of the others. What was interrupted is
    completed when it is run again.
    """
    from rke2_units.cli.tokens import rotate

    rotate(new_token_file)
    return 0


@command.command()
def killall() -> int:
    """Stop the node and end everything of it.

    Processes, mounts, network namespaces, interfaces and firewall rules go. Data stays, and the node can be
    started again.
    """
    from rke2_units.node.killall import kill_all

    for line in kill_all():
        click.echo(line)
    return 0


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--purge-data", is_flag=True, help="Remove the cluster's data and configuration too.")
def uninstall(yes: bool, purge_data: bool) -> int:
    """Remove the node: killall, and what install wrote.

    What goes is listed first. Data and configuration stay unless --purge-data is given.
    """
    from rke2_units.errors import UserError
    from rke2_units.node import installation
    from rke2_units.node.uninstall import losses, removals, uninstall

    found = removals(purge_data)
    installed = installation.read() is not None
    if purge_data and not installed:
        click.echo("no node of rke2-units is installed here: whoever's data there is, it stays")
    if not found:
        click.echo("nothing of rke2-units is installed here")
        return 0
    click.echo(f"This {'ends all pods of this node and ' if installed else ''}removes:")
    for path in found:
        click.echo(f"  {path}")
    for line in losses() if purge_data else ():
        click.echo(line)
    try:
        confirmed = yes or click.confirm("Go on?")
    except click.Abort:
        click.echo()
        raise UserError("nothing was changed: there was no answer", hint="--yes answers") from None
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
