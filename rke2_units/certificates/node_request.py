"""What this node's key material depends on, taken from its configuration and facts."""

from rke2_units.certificates.request import Request
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.layout import Paths
from rke2_units.model import NodeFacts
from rke2_units.plan import etcd
from rke2_units.unit_names import Role


def certificate_request(role: Role, config: Config, facts: NodeFacts) -> Request:
    """The request for certificates.ensure; ConfigurationError for values that cannot be."""
    paths = Paths(derived.data_directory(config))
    node_name = derived.node_name(config, facts)
    if role is Role.AGENT:
        return Request(paths, node_name, derived.node_ips(config, facts), (), role=role)
    return Request(
        paths=paths,
        node_name=node_name,
        node_ips=derived.node_ips(config, facts),
        names=derived.subject_alternative_names(config, facts),
        role=role,
        cluster_domain=config.text("cluster-domain"),
        token=config.text("token"),
        agent_token=config.text("agent-token"),
        etcd=not config.boolean("disable-etcd"),
        etcd_owner=etcd.owner(config, facts),
        secrets_encryption_provider=config.text("secrets-encryption-provider"),
        kubeconfig_path=config.text("write-kubeconfig"),
        kubeconfig_mode=config.number("write-kubeconfig-mode"),
        kubeconfig_group=config.text("write-kubeconfig-group"),
        kubeconfig_name=config.text("write-kubeconfig-name"),
    )
