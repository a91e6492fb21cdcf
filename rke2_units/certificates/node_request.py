"""What this node's key material depends on, taken from its configuration and facts."""

from rke2_units.certificates.request import Request
from rke2_units.config import derived
from rke2_units.plan import etcd
from rke2_units.plan.node import Node
from rke2_units.unit_names import Role


def make_request(node: Node) -> Request:
    """The request for certificates.ensure; ConfigurationError for values that cannot be."""
    config, node_ips = node.config, derived.node_ips(node.config, node.facts)
    if node.role is Role.AGENT:
        return Request(node.paths, node.name, node_ips, (), role=node.role)
    return Request(
        paths=node.paths,
        node_name=node.name,
        node_ips=node_ips,
        names=derived.subject_alternative_names(config, node.facts),
        role=node.role,
        cluster_domain=config.text("cluster-domain"),
        token=config.text("token"),
        agent_token=config.text("agent-token"),
        etcd=not config.boolean("disable-etcd"),
        etcd_owner=etcd.owner(node),
        secrets_encryption_provider=config.text("secrets-encryption-provider"),
        kubeconfig_path=config.text("write-kubeconfig"),
        kubeconfig_mode=config.number("write-kubeconfig-mode"),
        kubeconfig_group=config.text("write-kubeconfig-group"),
        kubeconfig_name=config.text("write-kubeconfig-name"),
    )
