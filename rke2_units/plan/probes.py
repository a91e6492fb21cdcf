"""Probes of the static pods: their URLs, periods and limits (RKE2's values and overrides)."""

from collections.abc import Mapping

from rke2_units import ports, unit_names
from rke2_units.config import derived
from rke2_units.config.config import Config
from rke2_units.plan.node import Node
from rke2_units.release import features

_LIVENESS = "liveness"
_READINESS = "readiness"
_STARTUP = "startup"

# Seconds and counts by kubelet's field; RKE2's override keys are the same words with dashes.
_TIMES = {
    _LIVENESS: {"initialDelaySeconds": 10, "timeoutSeconds": 15, "failureThreshold": 8, "periodSeconds": 10},
    _READINESS: {"initialDelaySeconds": 0, "timeoutSeconds": 15, "failureThreshold": 3, "periodSeconds": 1},
    _STARTUP: {"initialDelaySeconds": 10, "timeoutSeconds": 15, "failureThreshold": 24, "periodSeconds": 10},
}
_FIELDS = {
    "initial-delay-seconds": "initialDelaySeconds",
    "timeout-seconds": "timeoutSeconds",
    "failure-threshold": "failureThreshold",
    "period-seconds": "periodSeconds",
}
# A probe that starts a program costs too much to run every second.
_SHORTEST_EXEC_PERIOD = 5


def plan_probes(component: str, node: Node) -> dict[str, dict[str, object]]:
    """A container's probes by their field in the pod (livenessProbe, ...)."""
    handlers = _handlers(component, node)
    return {
        f"{kind}Probe": _probe(component, kind, handler, node.config) for kind, handler in handlers.items()
    }


def _probe(component: str, kind: str, handler: Mapping[str, object], config: Config) -> dict[str, object]:
    given = derived.probe_values(config).get(component, {}).get(kind, {})
    times = _TIMES[kind] | {_FIELDS[key]: value for key, value in given.items()}
    if "exec" in handler:
        times["periodSeconds"] = max(times["periodSeconds"], _SHORTEST_EXEC_PERIOD)
    return {**handler, **times}


def _handlers(component: str, node: Node) -> dict[str, dict[str, object]]:
    if component == unit_names.ETCD:
        health = _http("HTTP", ports.ETCD_METRICS_PORT, "/health?serializable=true")
        return {_LIVENESS: health, _STARTUP: health}
    if component == unit_names.KUBE_APISERVER:
        live, ready = _kubectl(node, "/livez"), _kubectl(node, "/readyz")
        return {_LIVENESS: live, _READINESS: ready, _STARTUP: live}
    if component == unit_names.KUBE_CONTROLLER_MANAGER:
        health = _http("HTTPS", ports.CONTROLLER_MANAGER_PORT, "/healthz")
        return {_LIVENESS: health, _STARTUP: health}
    if component == unit_names.CLOUD_CONTROLLER_MANAGER:
        health = _http("HTTPS", ports.CLOUD_CONTROLLER_MANAGER_PORT, "/healthz")
        return {_LIVENESS: health, _STARTUP: health}
    live_path = features.probe_path(node.release, component, "livez")
    if component == unit_names.KUBE_SCHEDULER:
        ready_path = features.probe_path(node.release, component, "readyz")
        live = _http("HTTPS", ports.SCHEDULER_PORT, live_path)
        return {
            _LIVENESS: live,
            _READINESS: _http("HTTPS", ports.SCHEDULER_PORT, ready_path),
            _STARTUP: live,
        }
    return {_LIVENESS: _http("HTTP", ports.KUBE_PROXY_HEALTH_PORT, live_path)}


def _http(scheme: str, port: int, path: str) -> dict[str, object]:
    return {"httpGet": {"host": "localhost", "path": path, "port": port, "scheme": scheme}}


def _kubectl(node: Node, path: str) -> dict[str, object]:
    """kube-apiserver takes no anonymous requests, so it is asked by the kubectl in its own image."""
    tls = node.paths.tls
    command = [
        "kubectl",
        "get",
        f"--server=https://localhost:{ports.APISERVER_PORT}/",
        f"--client-certificate={tls}/client-kube-apiserver.crt",
        f"--client-key={tls}/client-kube-apiserver.key",
        f"--certificate-authority={tls}/server-ca.crt",
        f"--raw={path}",
    ]
    return {"exec": {"command": command}}
