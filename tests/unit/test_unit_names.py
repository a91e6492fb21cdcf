import pytest

from rke2_units.unit_names import component, static_pod_of


@pytest.mark.parametrize(
    ("unit", "name", "pod"),
    [
        ("rke2-static-pod@kube-apiserver.service", "kube-apiserver", "kube-apiserver"),
        ("rke2-kubelet.service", "kubelet", ""),
        ("rke2-helm-applier.service", "helm-applier", ""),
        ("rke2-supervisor.socket", "supervisor", ""),
        ("rke2-etcd-snapshot.timer", "etcd-snapshot", ""),
    ],
)
def test_a_unit_is_called_by_its_component(unit: str, name: str, pod: str) -> None:
    assert component(unit) == name
    assert static_pod_of(unit) == pod
