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
    """A component's: it names files. `base` is the path of the client certificate without its suffix."""
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
    """One that can be carried away: it holds the PEM texts themselves."""
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
    """YAML's double-quoted form, which a JSON text is: no path or name can break out of it."""
    return json.dumps(text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
