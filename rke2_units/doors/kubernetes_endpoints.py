"""Where the API servers are: every kube-apiserver keeps its address in these Endpoints."""

from rke2_units.doors.kubernetes import Object

API_SERVERS = "/api/v1/namespaces/default/endpoints/kubernetes"
_HTTPS = "https"


def addresses(endpoints: Object) -> list[str]:
    """The addresses of an Endpoints object with their HTTPS port."""
    return [
        f"[{address['ip']}]:{port['port']}" if ":" in address["ip"] else f"{address['ip']}:{port['port']}"
        for subset in endpoints.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
        if port.get("name") == _HTTPS
    ]
