"""Kubeconfigs: those of the components, and the administrator's."""

import base64
import json

_TEMPLATE = """\
apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    server: {server}
    {authority}
contexts:
- name: {context}
  context:
    cluster: {cluster}
    namespace: default
    user: {user}
current-context: {context}
preferences: {{}}
users:
- name: {user}
  user:
    {certificate}
    {key}
"""


def with_paths(server: str, authority: str, base: str) -> str:
    """A component's kubeconfig, with file names. `base`: path of its certificate without the suffix."""
    return _TEMPLATE.format(
        server=_scalar(server),
        cluster="local",
        context="Default",
        user="user",
        authority=f"certificate-authority: {_scalar(authority)}",
        certificate=f"client-certificate: {_scalar(f'{base}.crt')}",
        key=f"client-key: {_scalar(f'{base}.key')}",
    )


def with_data(server: str, name: str, authority: str, certificate: str, key: str) -> str:
    """A kubeconfig that works on other machines: it contains the PEM texts themselves."""
    quoted = _scalar(name)
    return _TEMPLATE.format(
        server=_scalar(server),
        cluster=quoted,
        context=quoted,
        user=quoted,
        authority=f"certificate-authority-data: {_base64(authority)}",
        certificate=f"client-certificate-data: {_base64(certificate)}",
        key=f"client-key-data: {_base64(key)}",
    )


def _scalar(text: str) -> str:
    """A double-quoted YAML scalar, which a JSON string is: no path or name can break out of it."""
    return json.dumps(text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
