from pathlib import Path

import pytest

from rke2_units.lean.pod_logs import PodLog, most_telling


def make_log(root: Path, number: int, *lines: str) -> None:
    directory = root / "kube-system_etcd-node1_uid/etcd"
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(f"2026-01-01T00:00:00.1Z stderr F {line}\n" for line in lines)
    (directory / f"{number}.log").write_text(text)


def test_a_container_that_never_started_has_no_log(tmp_path: Path) -> None:
    log = PodLog("etcd", "node1", "uid", str(tmp_path))
    assert log.starts() == []
    assert log.lines() == []


def test_starts_are_counted_by_number_not_by_text(tmp_path: Path) -> None:
    for number in (2, 9, 10):
        make_log(tmp_path, number, "x")
    (tmp_path / "kube-system_etcd-node1_uid/etcd/10.log.20260101-000000.gz").write_text("rotated")
    assert PodLog("etcd", "node1", "uid", str(tmp_path)).starts() == [2, 9, 10]


def test_the_newest_log_that_says_something_counts(tmp_path: Path) -> None:
    make_log(tmp_path, 0, "old")
    make_log(tmp_path, 1, "the reason")
    make_log(tmp_path, 2)
    assert PodLog("etcd", "node1", "uid", str(tmp_path)).lines() == ["the reason"]


def test_a_new_start_does_not_hide_why_the_container_ended_before(tmp_path: Path) -> None:
    make_log(tmp_path, 1, "deprecated: --port", "unable to load the configuration: deadline exceeded")
    make_log(tmp_path, 2, "deprecated: --port")
    lines = PodLog("etcd", "node1", "uid", str(tmp_path)).lines()
    assert most_telling(lines) == "unable to load the configuration: deadline exceeded"


def test_without_a_reason_the_newest_log_counts(tmp_path: Path) -> None:
    make_log(tmp_path, 0, "starting")
    make_log(tmp_path, 1, "starting once more")
    assert PodLog("etcd", "node1", "uid", str(tmp_path)).lines() == ["starting once more"]


def test_a_log_longer_than_what_is_read_is_read_from_its_end(tmp_path: Path) -> None:
    make_log(tmp_path, 0, *["x" * 1000] * 1000, "the end")
    lines = PodLog("etcd", "node1", "uid", str(tmp_path)).lines()
    assert lines[-1] == "the end"
    assert len(lines) < 1000


@pytest.mark.parametrize(
    ("lines", "telling"),
    [
        (
            [
                '{"level":"warn","msg":"server error",'
                '"error":"the member has been permanently removed from the cluster"}',
                '{"level":"warn","msg":"data-dir used by this member must be removed"}',
                '{"level":"fatal","msg":"failed to publish local member","error":"request cancelled"}',
            ],
            "server error: the member has been permanently removed from the cluster",
        ),
        (
            [
                "Error: unknown flag: --nonsense",
                "Usage:",
                "  kube-scheduler [flags]",
                "      --failed-x  on error",
            ],
            "Error: unknown flag: --nonsense",
        ),
        (
            [
                "I1122 13:56:55.206769       1 serving.go:331] Generated self-signed cert in-memory",
                "W1122 13:56:55.360782       1 authentication.go:303] No kubeconfig",
                "stat /nonexistent: no such file or directory",
            ],
            "stat /nonexistent: no such file or directory",
        ),
        (
            [
                "E1122 13:56:55.206769       1 x.go:1] failed to listen: address already in use",
                "F1122 13:56:56.206769       1 y.go:2] cannot go on",
                "goroutine 1 [running]:",
            ],
            "cannot go on",
        ),
        (
            [
                '{"level":"info","ts":"x","msg":"starting"}',
                '{"level":"fatal","ts":"x","msg":"discovery failed","error":"listen tcp 127.0.0.1:2381: '
                'bind: address already in use","stacktrace":"main"}',
            ],
            "discovery failed: listen tcp 127.0.0.1:2381: bind: address already in use",
        ),
        (
            [
                "2026-11-22 13:57:47.992293 I | etcdmain: etcd Version: 3.4.23",
                "2026-11-22 13:57:47.992293 C | etcdmain: listen tcp 127.0.0.1:2381: address already in use",
            ],
            "etcdmain: listen tcp 127.0.0.1:2381: address already in use",
        ),
        (
            [
                '{"level":"panic","msg":"failed to create WAL","error":"no space left on device"}',
                "panic: failed to create WAL",
                "goroutine 1 [running]:",
            ],
            "failed to create WAL: no space left on device",
        ),
        (["panic: runtime error", "goroutine 1 [running]:", "main.main()"], "panic: runtime error"),
        (["just", "text"], "text"),
        ([], ""),
    ],
)
def test_the_most_telling_line_is_the_cause(lines: list[str], telling: str) -> None:
    assert most_telling(lines) == telling


def test_a_cause_is_short_enough_for_one_line() -> None:
    assert len(most_telling(["Error: " + "x" * 5000])) == 300
