"""Files that the control plane reads: pod security admission, audit policy, egress selection, cloud."""

from rke2_units import layout
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.model import File, NodeFacts
from rke2_units.plan import cloud_controller
from rke2_units.plan.templates import render
from rke2_units.release import features
from rke2_units.release.model import Release

_EXEMPT_WITH_CIS = ("kube-system", "compliance-operator-system", "tigera-operator")


def files(config: Config, facts: NodeFacts, release: Release) -> list[File]:
    """Files of a server; a user's own admission and audit files are never written."""
    paths = Paths(derived.data_directory(config))
    return [
        *_pod_security(config, release),
        *_audit_policy(config),
        File(paths.egress_selector, render("egress-selector-config.yaml"), 0o600),
        *cloud_controller.files(config, release),
    ]


def admission_file(config: Config, release: Release) -> str | None:
    """kube-apiserver's admission configuration: the user's, else ours if the release has PodSecurity."""
    given = config.text("pod-security-admission-config-file")
    ours = layout.POD_SECURITY_FILE if features.has_admission_plugin(release, "PodSecurity") else None
    return given or ours


def audit_policy_file(config: Config) -> str | None:
    """The audit policy that kube-apiserver reads; None: it writes no audit log."""
    given = config.text("audit-policy-file")
    return given or (layout.AUDIT_POLICY_FILE if config.text("profile") == "cis" else None)


def _pod_security(config: Config, release: Release) -> list[File]:
    if admission_file(config, release) != layout.POD_SECURITY_FILE:
        return []
    cis = config.text("profile") == "cis"
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
