"""The units that plain nodes have by the product's table: a server on its own, and an agent."""

from rke2_units.unit_names import CLOUD_CONTROLLER_MANAGER, KUBE_PROXY, STATIC_POD_TEMPLATE, STATIC_PODS
from rke2_units.unit_table import UNITS, Traits

SERVER = Traits(
    is_server=True,
    joins_etcd=False,
    # Not every release has an image of a cloud controller.
    components=tuple(pod for pod in STATIC_PODS if pod != CLOUD_CONTROLLER_MANAGER),
    needs_proxy=False,
    has_own_content=True,
    has_own_containerd=True,
    takes_helm_from_image=True,
    has_schedule=True,
)
AGENT = Traits(
    is_server=False,
    joins_etcd=False,
    components=(KUBE_PROXY,),
    needs_proxy=True,
    has_own_content=True,
    has_own_containerd=True,
    takes_helm_from_image=False,
    has_schedule=True,
)


def started_units(node: Traits) -> tuple[str, ...]:
    """The units that the node daemon starts."""
    return tuple(unit.name for unit in UNITS if unit.has(node) and unit.is_started(node))


def unit_files(node: Traits) -> frozenset[str]:
    """The names of all units' files."""
    return frozenset(unit.template for unit in UNITS if unit.has(node)) | {STATIC_POD_TEMPLATE}
