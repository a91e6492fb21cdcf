"""Turns a HelmChart, its HelmChartConfig and their Secrets into the input of helm. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rke2_units.applier.charts import set_values
from rke2_units.applier.charts.set_values import SetValues
from rke2_units.errors import UserError
from rke2_units.lean import byte_order_marks

Object = Mapping[str, Any]
# A Secret's or ConfigMap's data, decoded.
Data = Mapping[str, bytes]

STABLE_REPOSITORY = "https://charts.helm.sh/stable/"
DEFAULT_BACK_OFF_LIMIT = 1000
_CHART_URL = "helm.cattle.io/chart-url"
# The longest value of a label.
_HASH_LENGTH = 63
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+")


class Missing(UserError):
    """A Secret, ConfigMap or key that the chart refers to does not exist (yet)."""


@dataclass(frozen=True)
class References:
    """Names of the objects in its own namespace that a chart refers to."""

    # A change of one of these is a change of the chart.
    watched_secrets: frozenset[str]
    other_secrets: frozenset[str]
    config_maps: frozenset[str]


@dataclass(frozen=True)
class Credentials:
    """For a repository or registry; "" for a field that is not set."""

    username: str = ""
    password: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    # Docker's config.json, with its "auths" only.
    docker: str = field(default="", repr=False)
    pass_to_all: bool = False


@dataclass(frozen=True)
class Release:
    """The input of helm for one chart. Files of values have helm-controller's names; later ones win."""

    name: str
    namespace: str
    # A name in `repository`, an http(s):// or oci:// address; "" when there is `content` (a .tgz).
    chart: str
    repository: str
    version: str
    content: bytes | None = field(repr=False)
    values: tuple[tuple[str, str], ...] = field(repr=False)
    set_values: SetValues = field(repr=False)
    create_namespace: bool
    take_ownership: bool
    server_side: str  # true, false, auto
    force_conflicts: bool
    failure_policy: str  # abort, reinstall, retry
    back_off_limit: int
    timeout: str  # Go's notation, "" for helm's own default
    insecure_skip_tls_verify: bool
    plain_http: bool
    driver: str  # secret, configmap
    authority: str
    credentials: Credentials
    # SHA-256 (63 digits) of everything whose change requires an upgrade of the release.
    hash: str
    # Where the chart comes from, to be shown to people.
    source: str


def release_namespace(chart: Object) -> str:
    """The namespace of the release; UserError if it is not a valid name of one."""
    namespace = str(chart.get("spec", {}).get("targetNamespace") or chart["metadata"]["namespace"])
    if not _NAMESPACE.fullmatch(namespace):
        raise UserError(f"spec.targetNamespace: {namespace!r} cannot be the name of a namespace")
    return namespace


def driver(chart: Object) -> str:
    """helm's storage of releases: Secrets or ConfigMaps; UserError for anything else."""
    value = str(chart.get("spec", {}).get("driver") or "secret")
    if value not in ("secret", "configmap"):
        raise UserError(f"spec.driver: {value!r} is neither secret nor configmap")
    return value


def references(chart: Object, config: Object | None) -> References:
    """The objects to fetch before release() is called."""
    watched: set[str] = set()
    others: set[str] = set()
    for owner in (chart, config):
        for secret in _value_secrets(owner):
            (others if secret.get("ignoreUpdates") else watched).add(secret["name"])
    spec = chart.get("spec", {})
    for name in ("authSecret", "dockerRegistrySecret"):
        if secret_name := _reference(spec, name):
            others.add(secret_name)
    authority = _reference(spec, "repoCAConfigMap")
    return References(frozenset(watched), frozenset(others), frozenset({authority} - {""}))


def release(
    chart: Object,
    config: Object | None,
    secrets: Mapping[str, Data],
    config_maps: Mapping[str, Data],
    *,
    api_address: str,
) -> Release:
    """The release that the chart describes, given the existing Secrets and ConfigMaps of references().

    `api_address` replaces %{KUBERNETES_API} in addresses of charts. Raises Missing for a required Secret,
    ConfigMap or key that does not exist, UserError for anything that helm would not accept.
    """
    spec = chart.get("spec", {})
    over = config.get("spec", {}) if config else {}
    content = _content(spec.get("chartContent") or "")
    address = str(spec.get("chart") or "").replace("%{KUBERNETES_API}%", api_address)
    if content is None:
        _check_chart(address)
    repository = str(spec.get("repo") or "")
    if "://" in address:
        repository = ""
    elif address.startswith("stable/") and not repository:
        address, repository = address.removeprefix("stable/"), STABLE_REPOSITORY
    elif content is None and not repository:
        raise UserError(f"spec.chart: {address!r} is not an address", hint="set spec.repo to its repository")
    if content is None and repository:
        _check_repository(repository, address)
    values = tuple(_values(chart, "0", "HelmChart", secrets)) + tuple(
        _values(config, "1", "HelmChartConfig", secrets)
    )
    force = over.get("forceConflicts")
    fields: dict[str, Any] = {
        "name": str(chart["metadata"]["name"]),
        "namespace": release_namespace(chart),
        "chart": "" if content is not None else address,
        "repository": "" if content is not None else repository,
        "version": "" if content is not None else str(spec.get("version") or ""),
        "create_namespace": bool(spec.get("createNamespace")),
        "take_ownership": bool(spec.get("takeOwnership")),
        "server_side": _one_of(
            "serverSide", over.get("serverSide") or spec.get("serverSide"), "auto", "true", "false"
        ),
        "force_conflicts": bool(spec.get("forceConflicts") if force is None else force),
        "failure_policy": _one_of(
            "failurePolicy",
            over.get("failurePolicy") or spec.get("failurePolicy"),
            "reinstall",
            "abort",
            "retry",
        ),
        "back_off_limit": _back_off_limit(spec.get("backOffLimit")),
        "timeout": _timeout(spec.get("timeout")),
        "insecure_skip_tls_verify": bool(spec.get("insecureSkipTLSVerify")),
        "plain_http": bool(spec.get("plainHTTP")),
        "driver": driver(chart),
    }
    set_to = spec.get("set") or {}
    digest = _digest(
        fields,
        values=[(name, text) for name, text, counts in values if counts],
        set=set_to,
        content=hashlib.sha256(content).hexdigest() if content is not None else "",
        repository_authority=spec.get("repoCA") or "",
        names=[spec.get(name) for name in ("authSecret", "dockerRegistrySecret", "repoCAConfigMap")],
        ignored=[s for owner in (chart, config) for s in _value_secrets(owner) if s.get("ignoreUpdates")],
    )
    return Release(
        **fields,
        content=content,
        values=tuple((name, text) for name, text, _ in values),
        set_values=set_values.read(set_to),
        authority=_authority(spec, config_maps),
        credentials=_credentials(spec, secrets),
        hash=digest,
        source=_source(chart),
    )


def duration(text: str) -> float:
    """The seconds of Go's notation ("1h5m30s"); UserError for anything else."""
    if not _DURATION.fullmatch(text):
        raise UserError(f"spec.timeout: {text!r} is not a duration", hint='write it like "10m" or "1h30m"')
    parts = re.findall(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _check_chart(address: str) -> None:
    """Rejects file names: helm would also install a chart from a folder of this machine."""
    scheme, separator, _ = address.partition("://")
    if separator and scheme not in ("http", "https", "oci"):
        raise UserError(f"spec.chart: helm cannot fetch a chart from a {scheme}:// address")
    if not separator and (address.startswith(("/", "~", "-")) or {".", ".."} & set(address.split("/"))):
        raise UserError(f"spec.chart: {address!r} is a file name; use a chart of a repository or registry")


def _check_repository(repository: str, address: str) -> None:
    """Rejects addresses that helm cannot use, with the remedy that helm's own error lacks."""
    scheme, separator, _ = repository.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        return
    if separator and scheme.lower() == "oci":
        whole = f"oci://{repository[len('oci://') :].rstrip('/')}/{address}"
        raise UserError(
            f"spec.repo: {repository} is an OCI registry, not a chart repository",
            hint=f"remove spec.repo and put the whole address into spec.chart: {whole}",
        )
    raise UserError(f"spec.repo: {repository!r} is not an http:// or https:// address")


def _content(text: str) -> bytes | None:
    if not text:
        return None
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UserError("spec.chartContent is not base64") from None


def _value_secrets(owner: Object | None) -> list[dict[str, Any]]:
    """valuesSecrets without those that helm-controller ignores."""
    if owner is None:
        return []
    own = f"chart-values-{owner['metadata']['name']}"
    return [
        secret
        for secret in owner.get("spec", {}).get("valuesSecrets") or []
        if secret.get("keys") and secret.get("name") and secret["name"] != own
    ]


def _values(
    owner: Object | None, level: str, kind: str, secrets: Mapping[str, Data]
) -> Iterator[tuple[str, str, bool]]:
    """File name, text, and whether a change of the text is a change of the release."""
    spec = owner.get("spec", {}) if owner else {}
    if text := spec.get("valuesContent"):
        yield f"values-{level}-000-{kind}-ValuesContent.yaml", byte_order_marks.without(str(text)), True
    if (values := spec.get("values")) is not None:
        # JSON is YAML.
        yield f"values-{level}-001-{kind}-Values.yaml", json.dumps(values), True
    number = 1
    for secret in _value_secrets(owner):
        optional = bool(secret.get("ignoreUpdates"))
        for key in secret["keys"]:
            number += 1
            found = secrets.get(secret["name"], {}).get(key)
            if found is not None:
                name = f"values-{level}-{number:03d}-{kind}-ValuesSecret.yaml"
                text = byte_order_marks.without(_decode(found, secret["name"], key))
                yield name, text, not optional
            elif not optional:
                what = f"key {key} in the Secret" if secret["name"] in secrets else "Secret"
                raise Missing(f"valuesSecrets of the {kind}: there is no {what} {secret['name']}")


def _decode(data: bytes, name: str, key: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UserError(f"key {key} of {name} is not text") from None


def _reference(spec: Mapping[str, Any], name: str) -> str:
    return str((spec.get(name) or {}).get("name") or "")


def _needed(kind: str, name: str, found: Mapping[str, Data]) -> Data:
    if name not in found:
        raise Missing(f"the HelmChart refers to {kind} {name}, which does not exist")
    return found[name]


def _authority(spec: Mapping[str, Any], config_maps: Mapping[str, Data]) -> str:
    parts = [str(spec["repoCA"])] if spec.get("repoCA") else []
    if name := _reference(spec, "repoCAConfigMap"):
        data = _needed("ConfigMap", name, config_maps)
        parts += [_decode(data[key], name, key) for key in sorted(data)]
    return byte_order_marks.without("\n".join(parts))


def _credentials(spec: Mapping[str, Any], secrets: Mapping[str, Data]) -> Credentials:
    found: dict[str, str] = {}
    if name := _reference(spec, "authSecret"):
        data = _needed("Secret", name, secrets)
        wanted = {"username": "username", "password": "password"}
        if not {"username", "password"} <= data.keys():
            wanted = {"certificate": "tls.crt", "key": "tls.key"}
        if not set(wanted.values()) <= data.keys():
            raise Missing(f"the Secret {name} has neither username and password nor tls.crt and tls.key")
        # A final line end is not part of the password: helm reads one from a pipe up to there.
        found = {ours: _decode(data[key], name, key).rstrip("\r\n") for ours, key in wanted.items()}
    if name := _reference(spec, "dockerRegistrySecret"):
        data = _needed("Secret", name, secrets)
        if ".dockerconfigjson" not in data:
            raise Missing(f"the Secret {name} has no key .dockerconfigjson")
        found["docker"] = _docker_config(data[".dockerconfigjson"], name)
    return Credentials(**found, pass_to_all=bool(spec.get("authPassCredentials")))


def _docker_config(data: bytes, name: str) -> str:
    """Keeps the logins only: credsStore and credHelpers name programs that helm would run here."""
    try:
        return json.dumps({"auths": json.loads(data)["auths"]})
    except (ValueError, KeyError, TypeError):
        raise UserError(f"the Secret {name} does not contain a Docker configuration with logins") from None


def _one_of(name: str, value: object, default: str, *others: str) -> str:
    text = str(value or default)
    if text not in (default, *others):
        raise UserError(f"spec.{name}: {text!r} is not one of {', '.join((default, *others))}")
    return text


def _back_off_limit(value: object) -> int:
    if value is None:
        return DEFAULT_BACK_OFF_LIMIT
    if not isinstance(value, int) or value < 0:
        raise UserError(f"spec.backOffLimit: {value!r} is not a number of retries")
    return value


def _timeout(value: object) -> str:
    if not value:
        return ""
    duration(str(value))
    return str(value)


def _digest(fields: dict[str, Any], **more: object) -> str:
    text = json.dumps({**fields, **more}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest().upper()[:_HASH_LENGTH]


def _source(chart: Object) -> str:
    spec = chart.get("spec", {})
    name, version, repository = (str(spec.get(key) or "") for key in ("chart", "version", "repo"))
    if spec.get("chartContent"):
        address = (chart["metadata"].get("annotations") or {}).get(_CHART_URL)
        return f"inline spec.chartContent from {address}" if address else "inline spec.chartContent"
    if name.startswith("oci://"):
        return f"{f'version {version}' if version else 'latest stable version'} from OCI registry {name}"
    if "://" in name:
        return name
    wanted = f"{name} version {version}" if version else f"latest stable version of {name}"
    return f"{wanted} from chart repository {repository}"
