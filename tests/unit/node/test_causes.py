from rke2_units import unit_names
from rke2_units.node.causes import explain

KUBELET_LOG = [
    "Flag --cgroups-per-qos has been deprecated",
    "      --volume-plugin-dir string   The full path of the directory",
    "F1122 14:01:33.619338    1046 server.go:157] unknown flag: --no-such-flag",
    "goroutine 1 [running]:",
    "k8s.io/kubernetes/vendor/k8s.io/klog/v2.stacks(0xc000012001)",
]


def test_the_cause_of_a_foreign_program_is_its_most_telling_line() -> None:
    cause, shown = explain(unit_names.KUBELET_UNIT, KUBELET_LOG)
    assert cause == "unknown flag: --no-such-flag"
    assert shown == KUBELET_LOG[:3]


def test_the_cause_of_a_program_of_ours_is_its_last_line() -> None:
    log = ["etcd| panic: a line of its pod", "etcd ended 3 times: a line of its pod (its log: there)"]
    assert explain(unit_names.static_pod_unit(unit_names.ETCD), log) == (log[1], log)


def test_no_more_than_the_last_lines_are_shown() -> None:
    log = [f"line {number}" for number in range(50)]
    assert explain(unit_names.CONTENT_UNIT, log)[1] == log[-4:]


def test_an_empty_log_has_no_cause() -> None:
    assert explain(unit_names.CONTENT_UNIT, []) == ("", [])
