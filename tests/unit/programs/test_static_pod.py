import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rke2_units import layout
from rke2_units.errors import UserError
from rke2_units.lean import pod_logs, systemd
from rke2_units.lean.settings import Settings
from rke2_units.lean.systemd import UnitState
from rke2_units.programs import static_pod
from tests.unit.fake_pods import add_ctr, add_log, add_pod
from tests.unit.health_server import HealthServer
from tests.unit.program_values import UID, health_checks, make_settings

Make = Callable[[], HealthServer]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(layout, "STOPPING_LOCK", str(tmp_path / "stopping.lock"))
    monkeypatch.setattr(systemd, "machine_stops", lambda: False)
    monkeypatch.setattr(systemd, "unit_state", lambda unit: UnitState("active", "running"))
    monkeypatch.setattr(
        systemd,
        "journal_errors",
        lambda unit, words, since: [
            f"E1 {word} no such file or directory" for word in words if "/" not in word
        ],
    )
    monkeypatch.delenv("SERVICE_RESULT", raising=False)
    real = pod_logs.PodLog
    logs = str(tmp_path / "logs")
    monkeypatch.setattr(static_pod, "PodLog", lambda component, node, uid: real(component, node, uid, logs))
    yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = make_settings(tmp_path)
    stage(settings)
    return settings


def stage(settings: Settings, text: str = "the manifest") -> None:
    pod = settings.static_pods["etcd"]
    os.makedirs(os.path.dirname(pod.staged), exist_ok=True)
    Path(pod.staged).write_text(text)
    os.chmod(pod.staged, 0o600)


def manifest(settings: Settings) -> Path:
    return Path(settings.static_pods["etcd"].manifest)


def run(settings: Settings, action: str) -> None:
    static_pod.program(settings, [action, "etcd"])


def test_the_manifest_is_placed_with_the_staged_mode(settings: Settings) -> None:
    run(settings, "place")
    assert manifest(settings).read_text() == "the manifest"
    assert manifest(settings).stat().st_mode & 0o777 == 0o600
    assert os.listdir(manifest(settings).parent) == ["etcd.yaml"]


def test_a_manifest_that_is_in_place_is_not_touched(settings: Settings) -> None:
    run(settings, "place")
    before = manifest(settings).stat()
    run(settings, "place")
    assert manifest(settings).stat().st_ino == before.st_ino
    assert manifest(settings).stat().st_mtime_ns == before.st_mtime_ns


def test_a_missing_staged_manifest_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="manifest of etcd is missing.*rke2-server"):
        run(make_settings(tmp_path), "place")


def test_the_old_pod_is_stopped_before_a_changed_manifest_is_placed(settings: Settings) -> None:
    run(settings, "place")
    add_pod(settings, "etcd", "old")
    calls = add_ctr(settings)
    stage(settings, "another")
    run(settings, "place")
    assert [call.split()[-1] for call in calls()] == ["container-etcd-old", "sandbox-etcd-old"]
    assert manifest(settings).read_text() == "another"


def test_a_pod_with_the_right_uid_lives_on(settings: Settings) -> None:
    add_pod(settings, "etcd", UID)
    calls = add_ctr(settings)
    run(settings, "place")
    assert calls() == []
    assert manifest(settings).exists()


def test_a_placement_that_was_killed_half_way_is_completed(settings: Settings) -> None:
    # The manifest is gone, the old pod still runs, a temporary file lies about.
    add_pod(settings, "etcd", "old")
    add_ctr(settings)
    Path(settings.static_pods["etcd"].staged + ".placed").write_text("half")
    run(settings, "place")
    assert os.listdir(settings.bundles) == []
    assert manifest(settings).read_text() == "the manifest"


def test_the_kubelet_is_left_to_stop_the_pod_when_it_can_until_the_pod_stays_gone(
    tmp_path: Path, make_health_server: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubelet, apiserver = make_health_server(), make_health_server()
    settings = make_settings(
        tmp_path,
        health_checks=health_checks(kubelet=kubelet.url, kube_apiserver=apiserver.url, etcd=kubelet.url),
    )
    stage(settings)
    run(settings, "place")
    add_pod(settings, "etcd", UID)
    calls = add_ctr(settings)

    def act() -> None:
        while manifest(settings).exists():
            time.sleep(0.02)
        time.sleep(0.3)
        for name in os.listdir(settings.bundles):
            os.rename(f"{settings.bundles}/{name}", f"{tmp_path}/{name}")

        # It was in the middle of a sync: the pod comes once more, until the next housekeeping.
        time.sleep(0.3)
        add_pod(settings, "etcd", UID)
        time.sleep(0.3)
        shutil.rmtree(settings.bundles)

    monkeypatch.setattr(static_pod, "_STAYS_GONE", 0.5)
    thread = threading.Thread(target=act)
    thread.start()
    run(settings, "remove")
    assert not thread.is_alive()
    assert not os.path.exists(settings.bundles)
    assert calls() == []


def test_a_kubelet_that_does_nothing_is_not_waited_for_for_ever(
    tmp_path: Path, make_health_server: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_pod, "_KUBELET_STOPS", 0.3)
    server = make_health_server()
    settings = make_settings(
        tmp_path, health_checks=health_checks(kubelet=server.url, kube_apiserver=server.url, etcd=server.url)
    )
    add_pod(settings, "etcd", UID)
    calls = add_ctr(settings)
    run(settings, "remove")
    assert len(calls()) == 2


def test_a_kubelet_that_goes_down_before_it_has_stopped_the_pod_is_not_waited_for(
    tmp_path: Path, make_health_server: Make
) -> None:
    kubelet, apiserver = make_health_server(), make_health_server()
    settings = make_settings(
        tmp_path,
        health_checks=health_checks(kubelet=kubelet.url, kube_apiserver=apiserver.url, etcd=kubelet.url),
    )
    stage(settings)
    run(settings, "place")
    add_pod(settings, "etcd", UID)
    calls = add_ctr(settings)

    def go_down() -> None:
        while manifest(settings).exists():
            time.sleep(0.02)
        assert calls() == []
        kubelet.code = 503

    thread = threading.Thread(target=go_down)
    thread.start()
    began = time.monotonic()
    run(settings, "remove")
    thread.join()
    assert len(calls()) == 2
    assert time.monotonic() - began < static_pod._KUBELET_STOPS / 2


def test_a_stopped_pod_is_gone_when_its_stop_returns(settings: Settings) -> None:
    run(settings, "place")
    add_pod(settings, "etcd", UID)
    add_pod(settings, "kube-scheduler", "other")
    add_ctr(settings)
    run(settings, "remove")
    assert not manifest(settings).exists()
    assert sorted(os.listdir(settings.bundles)) == [
        "container-kube-scheduler-other",
        "sandbox-kube-scheduler-other",
    ]


def test_an_apiserver_that_loses_its_etcd_ends_first_and_without_grace(settings: Settings) -> None:
    run(settings, "place")
    add_pod(settings, "etcd", UID)
    add_pod(settings, "kube-apiserver", "other")
    calls = add_ctr(settings)
    run(settings, "remove")
    assert calls()[0] == "tasks kill --signal SIGKILL container-kube-apiserver-other"
    assert sorted(os.listdir(settings.bundles)) == ["sandbox-kube-apiserver-other"]


def test_a_pod_that_the_plan_has_no_longer_is_removed_all_the_same(settings: Settings) -> None:
    disabled = manifest(settings).with_name("kube-scheduler.yaml")
    disabled.parent.mkdir(parents=True)
    disabled.write_text("what it was")
    add_pod(settings, "kube-scheduler", "old")
    add_ctr(settings)
    static_pod.program(settings, ["remove", "kube-scheduler"])
    assert not disabled.exists()
    assert os.listdir(settings.bundles) == []


def assert_pod_stays(settings: Settings) -> None:
    run(settings, "place")
    add_pod(settings, "etcd", UID)
    calls = add_ctr(settings)
    run(settings, "remove")
    assert calls() == []
    assert manifest(settings).exists()


def test_the_pod_stays_while_the_daemon_stops_its_units(settings: Settings) -> None:
    with open(layout.STOPPING_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_pod_stays(settings)


def test_the_pod_stays_when_the_machine_stops(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "machine_stops", lambda: True)
    assert_pod_stays(settings)


def test_the_pod_stays_when_its_start_failed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_RESULT", "exit-code")
    assert_pod_stays(settings)


def test_a_lock_that_nobody_holds_does_not_keep_the_pod(settings: Settings) -> None:
    Path(layout.STOPPING_LOCK).touch()
    run(settings, "place")
    run(settings, "remove")
    assert not manifest(settings).exists()


@pytest.fixture
def ready_settings(tmp_path: Path, health_server: HealthServer, make_health_server: Make) -> Settings:
    return make_settings(
        tmp_path, health_checks=health_checks(kubelet=make_health_server().url, etcd=health_server.url)
    )


def test_a_pod_that_runs_and_answers_is_ready(tmp_path: Path, ready_settings: Settings) -> None:
    add_pod(ready_settings, "etcd", UID)
    add_log(tmp_path / "logs", "etcd", UID, 4)
    run(ready_settings, "ready")


@pytest.mark.parametrize("running", ["", "old"])
def test_another_process_on_its_port_does_not_pass_for_it(
    tmp_path: Path, ready_settings: Settings, monkeypatch: pytest.MonkeyPatch, running: str
) -> None:
    monkeypatch.setattr(static_pod, "_NO_CONTAINER", 0.4)
    add_log(tmp_path / "logs", "etcd", UID, 0, "panic: bind: address already in use")
    if running:
        add_pod(ready_settings, "etcd", running)
    with pytest.raises(
        UserError, match="etcd has had no running container.*panic: bind: address already in use"
    ):
        run(ready_settings, "ready")


def test_a_container_that_ends_again_and_again_is_given_up_with_its_words(
    tmp_path: Path, ready_settings: Settings, health_server: HealthServer, capsys: pytest.CaptureFixture[str]
) -> None:
    health_server.code = 503
    add_pod(ready_settings, "etcd", UID)
    add_log(tmp_path / "logs", "etcd", UID, 5)

    def crash() -> None:
        for number in (6, 7, 8):
            time.sleep(0.25)
            add_log(tmp_path / "logs", "etcd", UID, number, "Error: no such file or directory")

    thread = threading.Thread(target=crash)
    thread.start()
    with pytest.raises(
        UserError, match=rf"etcd ended 3 times: Error: no such file or directory.*{tmp_path}/logs"
    ):
        run(ready_settings, "ready")
    thread.join()
    assert "<4>etcd| Error: no such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "Error: unknown flag: --nonsense",
        'Error: invalid argument "xyz" for "--audit-log-maxage" flag: strconv.ParseInt: parsing "xyz"',
        'invalid value "many" for flag -quota-backend-bytes: strconv.ParseInt: parsing "many"',
        "flag provided but not defined: -nonsense",
    ],
)
def test_a_container_that_does_not_take_its_arguments_is_given_up_at_its_first_end(
    tmp_path: Path, ready_settings: Settings, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(static_pod, "_ENDED", 0.3)

    def crash() -> None:
        time.sleep(0.2)
        add_log(tmp_path / "logs", "etcd", UID, 0, words)

    thread = threading.Thread(target=crash)
    thread.start()
    began = time.monotonic()
    with pytest.raises(UserError, match="etcd ended: ") as error:
        run(ready_settings, "ready")
    thread.join()
    assert words.removeprefix("Error: ") in error.value.message
    assert time.monotonic() - began < 3


def test_a_container_that_ended_for_another_reason_may_come_up(
    tmp_path: Path, ready_settings: Settings, health_server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_pod, "_ENDED", 0.2)
    health_server.code = 503

    def crash_and_come_up() -> None:
        time.sleep(0.2)
        add_log(tmp_path / "logs", "etcd", UID, 0, "Error: write /a: invalid argument for now")
        time.sleep(0.8)
        add_pod(ready_settings, "etcd", UID)
        add_log(tmp_path / "logs", "etcd", UID, 1)
        health_server.code = 200

    thread = threading.Thread(target=crash_and_come_up)
    thread.start()
    run(ready_settings, "ready")
    thread.join()


def test_a_container_that_ended_before_the_start_is_not_counted(
    tmp_path: Path, ready_settings: Settings, health_server: HealthServer
) -> None:
    """After a killall or a power failure the kubelet goes on with the old pod's logs."""
    health_server.code = 503
    add_log(tmp_path / "logs", "etcd", UID, 5, "killed long ago")

    def crash_and_come_up() -> None:
        for number in (6, 7, 8):
            time.sleep(0.25)
            add_log(tmp_path / "logs", "etcd", UID, number, "Error: not yet")
        time.sleep(0.25)
        add_pod(ready_settings, "etcd", UID)
        health_server.code = 200

    thread = threading.Thread(target=crash_and_come_up)
    thread.start()
    run(ready_settings, "ready")
    thread.join()


REMOVED = (
    '{"level":"warn","caller":"etcdserver/server.go:1095","msg":"server error",'
    '"error":"the member has been permanently removed from the cluster"}'
)
PUBLISHING = '{"level":"fatal","msg":"failed to publish local member","error":"request cancelled"}'


def test_an_etcd_that_was_removed_is_told_what_to_do_at_its_first_end(
    tmp_path: Path,
    ready_settings: Settings,
    health_server: HealthServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(static_pod, "_LONGEST", 5.0)
    health_server.code = 503
    add_pod(ready_settings, "etcd", UID)
    logs = tmp_path / "logs"
    add_log(logs, "etcd", UID, 5, f"{REMOVED}\n2026-01-01T00:00:01Z stderr F {PUBLISHING}")

    def restart() -> None:
        time.sleep(0.3)
        add_log(logs, "etcd", UID, 6)

    thread = threading.Thread(target=restart)
    thread.start()
    with pytest.raises(UserError, match="this server was removed from the cluster's etcd") as caught:
        run(ready_settings, "ready")
    thread.join()
    data = f"{ready_settings.data_directory}/server/db/etcd"
    recipe = f"rke2-units killall; rm -r {data}; systemctl start rke2-server"
    assert str(caught.value.hint).endswith(recipe)


def test_a_removal_from_before_is_no_reason_to_throw_data_away(
    tmp_path: Path, ready_settings: Settings, health_server: HealthServer
) -> None:
    health_server.code = 503
    logs = tmp_path / "logs"
    # It has joined again since, and its new container ends for another reason.
    add_log(logs, "etcd", UID, 4, REMOVED)
    add_log(logs, "etcd", UID, 5)
    add_pod(ready_settings, "etcd", UID)

    def crash() -> None:
        for number in (6, 7, 8):
            time.sleep(0.25)
            add_log(logs, "etcd", UID, number, "Error: no space left on device")

    thread = threading.Thread(target=crash)
    thread.start()
    with pytest.raises(UserError, match="no space left on device") as caught:
        run(ready_settings, "ready")
    thread.join()
    assert "rm -r" not in str(caught.value)


def test_a_container_that_begins_its_old_log_once_more_is_seen_when_it_runs(
    tmp_path: Path, ready_settings: Settings
) -> None:
    """Another containerd knows nothing of the old one's containers."""
    add_log(tmp_path / "logs", "etcd", UID, 0, "of another containerd")

    def come_up() -> None:
        time.sleep(0.3)
        add_pod(ready_settings, "etcd", UID)

    thread = threading.Thread(target=come_up)
    thread.start()
    run(ready_settings, "ready")
    thread.join()


def test_a_container_that_never_appears_is_given_up_with_the_kubelets_words(
    ready_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_pod, "_NO_CONTAINER", 0.3)
    with pytest.raises(UserError, match="no running container.*no such file.*journalctl -u rke2-kubelet"):
        run(ready_settings, "ready")


# As Kubernetes 1.20, 1.28 and 1.36 log it, and with logging-format=json.
REFUSALS = (
    'E1130 09:00:00.1 1 file.go:187] Can\'t process manifest file "{path}": invalid pod: must be unique',
    "E1130 09:00:00.1 1 file_linux.go:61] Unable to process watch event: can't process config file"
    ' "{path}": invalid pod: must be unique',
    'E1130 09:00:00.1 1 file.go:182] "Could not process manifest file" err="[must be unique]" path="{path}"',
    '{{"ts":1,"msg":"Could not process manifest file","path":"{path}","err":"invalid pod: must be unique"}}',
)
# Said with more verbosity of any manifest, and of another one.
HARMLESS = (
    'I1130 09:00:00.1 1 file.go:199] "Reading config file" path="{path}"',
    'E1130 09:00:00.1 1 file.go:182] "Could not process manifest file" err="must be unique" path="/other"',
)


@pytest.fixture
def kubelet_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A journalctl that has this line of the kubelet's since a moment ago."""
    monkeypatch.undo()
    monkeypatch.setattr(layout, "STOPPING_LOCK", str(tmp_path / "stopping.lock"))
    monkeypatch.setattr(static_pod, "_REFUSAL_LOOK", 0.1)
    monkeypatch.setattr(static_pod, "_NO_CONTAINER", 0.6)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "journalctl"

    def write(line: str) -> None:
        program.write_text(
            f"""#!/bin/sh
# In the unit's sandbox on a container, another boot's messages would be looked for.
for word; do case $word in --boot) exit ;; --since=@*) since=${{word#--since=@}} ;; esac; done
[ "${{since%.*}}" -gt {time.time() + 1:.0f} ] || cat <<'END'
{line}
END
"""
        )
        program.chmod(0o755)

    return write


@pytest.mark.parametrize("line", REFUSALS)
def test_a_manifest_that_the_kubelet_refuses_is_given_up_at_once_with_its_words(
    ready_settings: Settings, kubelet_says: Callable[[str], None], line: str
) -> None:
    stage(ready_settings)
    run(ready_settings, "place")
    kubelet_says(line.format(path=manifest(ready_settings)))
    with pytest.raises(
        UserError, match="etcd is refused by the kubelet: .*must be unique.*journalctl -u rke2-kubelet"
    ):
        run(ready_settings, "ready")


@pytest.mark.parametrize("line", HARMLESS)
def test_what_the_kubelet_says_besides_is_no_refusal(
    ready_settings: Settings, kubelet_says: Callable[[str], None], line: str
) -> None:
    stage(ready_settings)
    run(ready_settings, "place")
    kubelet_says(line.format(path=manifest(ready_settings)))
    with pytest.raises(UserError, match="etcd has had no running container"):
        run(ready_settings, "ready")


def test_what_the_kubelet_said_of_the_manifest_before_does_not_count(
    ready_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[float]()

    def journal(unit: str, words: list[str], since: float) -> list[str]:
        asked.append(since)
        return []

    monkeypatch.setattr(static_pod, "_REFUSAL_LOOK", 0.1)
    monkeypatch.setattr(static_pod, "_NO_CONTAINER", 0.5)
    monkeypatch.setattr(systemd, "journal_errors", journal)
    stage(ready_settings)
    before = time.time() - 1
    run(ready_settings, "place")
    with pytest.raises(UserError):
        run(ready_settings, "ready")
    # The kubelet may have looked before `ready` did.
    assert asked and all(before < since <= os.stat(manifest(ready_settings)).st_ctime for since in asked)


def test_a_kubelet_that_is_down_is_named(
    tmp_path: Path, health_server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_pod, "_KUBELET_LOOK", 0.1)
    monkeypatch.setattr(systemd, "unit_state", lambda unit: UnitState("failed", "failed"))
    with pytest.raises(
        UserError, match="etcd cannot start: the kubelet is not healthy.*rke2-kubelet.service is failed"
    ):
        run(make_settings(tmp_path), "ready")


def test_a_slow_start_is_waited_for_without_a_limit_of_its_own(
    tmp_path: Path, ready_settings: Settings, health_server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing but the longest limit ends the wait for a container that runs.
    monkeypatch.setattr(static_pod, "_NO_CONTAINER", 0.2)
    monkeypatch.setattr(static_pod, "_LONGEST", 1.0)
    health_server.code = 503
    add_pod(ready_settings, "etcd", UID)
    add_log(tmp_path / "logs", "etcd", UID, 0)
    began = time.monotonic()
    with pytest.raises(UserError, match="etcd is not ready after"):
        run(ready_settings, "ready")
    assert time.monotonic() - began >= 1.0
