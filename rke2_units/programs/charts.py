"""`charts --settings FILE`: the packaged charts, with the cluster's values, into the folder of manifests.

ExecStartPre= of rke2-helm-applier.service; FILE is the applier's own settings file, of which
it reads what rke2_units.lean.chart_staging tells.

As RKE2 does it at each start: charts of the content are copied, but for disabled ones; those of ingress
controllers that are not wanted become a comment, which takes their objects away; charts of the user's own
get the values, too. Only what differs is written.
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
# What is hidden is passed over by whoever applies manifests.
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
            # A file of another user's: the applier's root has no power over those.
            console.say(
                f"{target} is left as it is: {error.strerror} (chown root:root {error.filename})",
                console.WARNING,
            )


def _stage(target: str, packaged: bytes | None, values: dict[str, str]) -> None:
    """Writes the chart of the content, or the user's own where that is None, with the values."""
    present = _content(target)
    wanted = present if packaged is None else packaged
    try:
        text = chart_values.with_values(wanted.decode(), values).encode()
    except ValueError as error:
        # Whoever applies it will say more.
        console.say(f"{target} is left without the cluster's values: {error}", console.WARNING)
        text = wanted
    if text != present:
        _write(target, text)
        console.say(f"{target} {'is updated' if present else 'is new'}")


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
        # A link that leads to itself is as good as none.
        return b""


def _write(path: str, content: bytes) -> None:
    folder, name = os.path.split(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with write.replace(path, 0o600, temporary=f"{folder}/{_TEMPORARY}-{name}") as file:
        file.write(content)


def _installed_ingress(staging: Staging) -> str:
    """The default class of the ingress controller that is installed already, "" without one."""
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
            f"{place} does not tell which ingress controller is installed: {error}",
            hint="it is tried again; ingress-controller in config.yaml makes it needless",
        ) from None
    return ""


if __name__ == "__main__":
    console.run(lambda file, arguments: program(read(file), arguments), "charts --settings FILE")
