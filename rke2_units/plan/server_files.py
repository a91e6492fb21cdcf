"""Files that the control plane reads: pod security admission, audit policy, egress selection, cloud."""

from rke2_units import layout
from rke2_units.config.config import Config
from rke2_units.model import File
from rke2_units.plan import cloud_controller
from rke2_units.plan.node import Node
from rke2_units.plan.templates import render
from rke2_units.release import features

_EXEMPT_WITH_CIS = ("kube-system", "compliance-operator-system", "tigera-operator")


def files(node: Node) -> list[File]:
    """Files of a server; a user's own admission and audit files are never written."""
    return [
        *_pod_security(node),
        *_audit_policy(node.config),
        File(node.paths.egress_selector, render("egress-selector-config.yaml"), 0o600),
        *cloud_controller.files(node),
    ]


def admission_file(node: Node) -> str | None:
    """kube-apiserver's admission configuration: the user's, else ours if the release has PodSecurity."""
    given = node.config.text("pod-security-admission-config-file")
    has_plugin = features.has_admission_plugin(node.release, "PodSecurity")
    ours = layout.POD_SECURITY_FILE if has_plugin else None
    return given or ours


def audit_policy_file(config: Config) -> str | None:
    """The audit policy that kube-apiserver reads; None: it writes no audit log."""
    given = config.text("audit-policy-file")
    return given or (layout.AUDIT_POLICY_FILE if config.text("profile") == "cis" else None)


def _pod_security(node: Node) -> list[File]:
    if admission_file(node) != layout.POD_SECURITY_FILE:
        return []
    cis = node.config.text("profile") == "cis"
    text = render(
        "rke2-pss.yaml",
        level="restricted" if cis else "privileged",
        modes=("enforce", "audit", "warn") if cis else ("enforce",),
        exempt_namespaces=_EXEMPT_WITH_CIS if cis else (),
    )
    return [File(layout.POD_SECURITY_FILE, text, 0o600)]


def _audit_policy(config: Config) -> list[File]:
    """A policy that logs nothing, where there is none."""
    path = audit_policy_file(config)
    return [File(path, render("audit-policy.yaml"), 0o600, keep=True)] if path else []
