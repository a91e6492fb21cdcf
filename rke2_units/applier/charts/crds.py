"""The CustomResourceDefinitions of HelmChart and HelmChartConfig: the fields of helm-controller 0.17."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

_TEXT: Object = {"type": "string"}
_SWITCH: Object = {"type": "boolean"}
_ANYTHING: Object = {"x-kubernetes-preserve-unknown-fields": True}
_REFERENCE: Object = {"type": "object", "properties": {"name": _TEXT}, "x-kubernetes-map-type": "atomic"}


def _said(schema: Object, description: str) -> Object:
    return {**schema, "description": description}


def _choice(*values: str, default: str | None = None) -> Object:
    return {**_TEXT, "enum": list(values)} | ({"default": default} if default else {})


_BOTH: Object = {
    "values": _said(_ANYTHING, "Values of the chart; they override valuesContent."),
    "valuesContent": _said(_TEXT, "Values of the chart as YAML text."),
    "valuesSecrets": {
        "type": "array",
        "description": "Values of the chart from Secrets in the same namespace; they override values.",
        "items": {
            "type": "object",
            "properties": {
                "name": _TEXT,
                "keys": {"type": "array", "items": _TEXT},
                "ignoreUpdates": _said(_SWITCH, "The Secret may be missing, and changes of it are ignored."),
            },
        },
    },
    # No default: the API would fill it in, and a HelmChartConfig with values only would then override its
    # chart's `retry` with `reinstall`. helm-controller's definitions have the default in both kinds.
    "failurePolicy": _said(
        _choice("abort", "reinstall", "retry"),
        "What to do with a failed release: leave it as it is, reinstall it, or upgrade it again.",
    ),
    "serverSide": _said(
        _choice("true", "false", "auto"),
        "Server-side apply. auto: as for the last revision; a new release uses it. Needs helm 4.",
    ),
    "forceConflicts": _said(_SWITCH, "Server-side apply overwrites fields of other managers. Needs helm 4."),
}

_CHART: Object = {
    **_BOTH,
    "failurePolicy": {**_BOTH["failurePolicy"], "default": "reinstall"},
    "authPassCredentials": _said(_SWITCH, "Send the credentials to other hosts as well."),
    "authSecret": _said(_REFERENCE, "Secret of type basic-auth or tls for the repository."),
    "backOffLimit": {
        "type": "integer",
        "format": "int32",
        "description": "Number of retries after the first attempt.",
    },
    "bootstrap": _said(_SWITCH, "The chart is needed before the node can be Ready."),
    "chart": _said(_TEXT, "Name in the repository, or an http(s):// or oci:// address."),
    "chartContent": _said(_TEXT, "The chart's .tgz in base64; overrides chart, repo and version."),
    "createNamespace": _said(_SWITCH, "Create the target namespace if it does not exist."),
    "dockerRegistrySecret": _said(_REFERENCE, "Secret of type dockerconfigjson for the OCI registry."),
    "driver": {
        **_choice("secret", "configmap", default="secret"),
        "description": "Where helm stores its releases. It cannot be changed.",
        "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "driver is immutable"}],
    },
    "helmVersion": _said(_TEXT, "v3 or nothing."),
    "insecureSkipTLSVerify": _said(_SWITCH, "Do not verify the certificate of the repository or registry."),
    "jobImage": _said(_TEXT, "Image of the Job, if a Job runs helm."),
    "plainHTTP": _said(_SWITCH, "Connect to the registry without TLS."),
    "podSecurityContext": _said(
        {"type": "object", **_ANYTHING}, "For the pod of the Job, if a Job runs helm."
    ),
    "repo": _said(_TEXT, "Address of the chart repository."),
    "repoCA": _said(_TEXT, "CA certificates (PEM) of the repository or registry."),
    "repoCAConfigMap": _said(_REFERENCE, "ConfigMap with CA certificates of the repository or registry."),
    "securityContext": _said(
        {"type": "object", **_ANYTHING}, "For the container of the Job, if a Job runs helm."
    ),
    "set": {
        "type": "object",
        "description": "Single values, which override all others: helm's --set.",
        "additionalProperties": {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
        },
    },
    "takeOwnership": _said(_SWITCH, "Take over objects that exist already. Needs helm 3.17."),
    "targetNamespace": _said(_TEXT, "Namespace of the release; by default that of the HelmChart."),
    "timeout": _said(_TEXT, 'Time limit of each operation of helm, for example "10m".'),
    "version": _said(_TEXT, "The chart's version in the repository or registry; by default the newest."),
}

_CONDITION: Object = {
    "type": "object",
    "required": ["type", "status"],
    "properties": {"type": _TEXT, "status": _TEXT, "reason": _TEXT, "message": _TEXT},
}
_STATUS: Object = {
    "type": "object",
    "properties": {
        "jobName": _said(_TEXT, "Name of the Job, if a Job runs helm."),
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}
_COLUMNS = (
    ("Repo", "string", ".spec.repo", 0),
    ("Chart", "string", ".spec.chart", 0),
    ("Version", "string", ".spec.version", 0),
    ("TargetNamespace", "string", ".spec.targetNamespace", 0),
    ("Bootstrap", "boolean", ".spec.bootstrap", 0),
    ("Failed", "string", ".status.conditions[?(@.type=='Failed')].status", 0),
    ("Job", "string", ".status.jobName", 10),
)


def definitions() -> tuple[Object, ...]:
    """Both, HelmChart first."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})
        for name, kind, path, priority in _COLUMNS
    ]
    spec, both = ({"type": "object", "properties": properties} for properties in (_CHART, _BOTH))
    return (
        _definition(
            "HelmChart",
            "hc",
            {"spec": spec, "status": _STATUS},
            {"additionalPrinterColumns": columns, "subresources": {"status": {}}},
        ),
        _definition("HelmChartConfig", "hcc", {"spec": both}, {}),
    )


def _definition(kind: str, short: str, properties: Object, version: Object) -> Object:
    singular = kind.lower()
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": f"{singular}s",
        "singular": singular,
        "shortNames": [short],
    }
    schema = {
        "type": "object",
        "properties": {"apiVersion": _TEXT, "kind": _TEXT, "metadata": {"type": "object"}, **properties},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.helm.cattle.io"},
        "spec": {
            "group": "helm.cattle.io",
            "scope": "Namespaced",
            "names": names,
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    **version,
                }
            ],
        },
    }


def update(present: Mapping[str, Any], wanted: Object) -> Object | None:
    """The merge patch that updates a definition; None if it has every field of the wanted one.

    The definition of a newer release (RKE2's or this project's) may have more fields, and keeps them.
    """
    if _fields(wanted) <= _fields(present):
        return None
    return {
        "metadata": {"resourceVersion": present["metadata"]["resourceVersion"]},
        "spec": {"versions": wanted["spec"]["versions"]},
    }


def is_established(present: Mapping[str, Any]) -> bool:
    conditions = (present.get("status") or {}).get("conditions") or []
    return any(found["type"] == "Established" and found["status"] == "True" for found in conditions)


def _fields(definition: Mapping[str, Any]) -> set[tuple[str, str]]:
    found = set()
    for version in definition["spec"]["versions"]:
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        for part in ("spec", "status"):
            properties = ((schema.get("properties") or {}).get(part) or {}).get("properties") or {}
            found |= {(part, name) for name in properties}
    return found
