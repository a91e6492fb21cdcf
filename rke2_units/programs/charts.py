"""`charts --settings FILE`: the packaged charts, with the cluster's values, into the folder of manifests.

ExecStartPre= of rke2-helm-applier.service; FILE is the applier's own settings file. This program reads
the part that rke2_units.lean.chart_staging describes.

As RKE2 does at each start: it copies the charts of the content, except disabled ones. The charts of unwanted
ingress controllers are replaced with a comment, so that the applier removes their objects. The user's own
charts get the values, too. Only files that differ are written.
"""

import errno
import json
import os
from collections.abc import Iterator

from rke2_units.errors import UserError
from rke2_units.lean import console, http, write
from rke2_units.lean.chart_staging import Staging, lacking_network, read, yaml_files
from rke2_units.programs import chart_values

INGRESS_CONTROLLERS = ("traefik", "ingress-nginx")
_INGRESS_CLASS = "global.systemDefaultIngressClass"
_LEFT_OUT = "# disabled by configuration\n"
_CHARTS_API = "/apis/helm.cattle.io/v1/namespaces/kube-system/helmcharts"
# A hidden file: the applier ignores those.
_TEMPORARY = ".rke2-units-staged"
# etcd takes objects of 1.5 MB, and JSON may be longer than what is stored.
_LARGEST_ANSWER = 4 << 20


def program(staging: Staging, arguments: list[str]) -> None:
    if arguments:
        raise UserError("charts takes no arguments", hint="charts --settings FILE")
    if lacking := lacking_network(staging):
        console.say(lacking, console.WARNING)
    controllers = staging.ingress or (_installed_ingress(staging) or staging.default_ingress,)
    unwanted = tuple(name for name in INGRESS_CONTROLLERS if name not in controllers)
    values = staging.values | {_INGRESS_CLASS: controllers[0]}
    packaged = dict(_packaged(staging, unwanted))
    for path in sorted({*packaged, *yaml_files(staging.manifests)}):
        target = f"{staging.manifests}/{path}"
        try:
            _stage(target, packaged.get(path), values)
        except PermissionError as error:
            # Another user owns the file, and the applier's root lacks the capability to write it.
            console.say(
                f"{target} is not changed: {error.strerror} (chown root:root {error.filename})",
                console.WARNING,
            )


def _stage(target: str, packaged: bytes | None, values: dict[str, str]) -> None:
    """Writes the chart with the values: `packaged`, or the user's own when that is None."""
    present = _content(target)
    wanted = present if packaged is None else packaged
    try:
        text = chart_values.with_values(wanted.decode(), values).encode()
    except ValueError as error:
        # The applier reports more when it applies the file.
        console.say(f"{target} does not get the cluster's values: {error}", console.WARNING)
        text = wanted
    if text != present:
        _write(target, text)
        console.say(f"{target} {'updated' if present else 'created'}")


def is_disabled(path: str, disabled: tuple[str, ...]) -> bool:
    """Whether `disable` names this file (below the folder of manifests): its base name, or a folder."""
    folders, _, name = path.rpartition("/")
    return bool({name, name.rpartition(".")[0], *folders.split("/")} & {*disabled} - {""})


def _packaged(staging: Staging, unwanted: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    left_out = {f"rke2-{name}{part}" for name in unwanted for part in ("", "-crd")}
    for path in yaml_files(staging.charts) if staging.charts else ():
        if path.rpartition(".")[0] in left_out:
            yield path, _LEFT_OUT.encode()
        elif not is_disabled(path, staging.disabled):
            yield path, _content(f"{staging.charts}/{path}")


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        # A link to itself: treated as a missing file.
        return b""


def _write(path: str, content: bytes) -> None:
    folder, name = os.path.split(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with write.replace(path, 0o600, temporary=f"{folder}/{_TEMPORARY}-{name}") as file:
        file.write(content)


def _installed_ingress(staging: Staging) -> str:
    """The default class of the installed ingress controller, "" if there is none."""
    identity = http.Identity(staging.authority, staging.certificate, staging.key)
    place = staging.url.removeprefix("https://")
    try:
        _, host, port, _ = http.split(staging.url)
        with http.Connection(host, port, identity, limit=_LARGEST_ANSWER) as connection:
            for path in (f"{_CHARTS_API}/rke2-ingress-nginx", f"{_CHARTS_API}/rke2-traefik"):
                answer = connection.ask(path)
                if answer.status == 404:
                    continue
                if answer.status != 200:
                    raise OSError(f"HTTP {answer.status}")
                chosen = json.loads(answer.body)["spec"].get("set", {}).get(_INGRESS_CLASS)
                if chosen in INGRESS_CONTROLLERS:
                    return str(chosen)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot find out which ingress controller is installed: {place}: {error}",
            hint="will retry; set ingress-controller in config.yaml to skip this",
        ) from None
    return ""


if __name__ == "__main__":
    console.run(lambda file, arguments: program(read(file), arguments), "charts --settings FILE")
