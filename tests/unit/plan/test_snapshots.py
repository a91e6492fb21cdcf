"""What the plan has for snapshots of etcd: units, and the settings that these read."""

import dataclasses
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from rke2_units import layout, unit_names
from rke2_units.config.load import settled
from rke2_units.errors import Collected, ConfigurationError
from rke2_units.layout import Paths
from rke2_units.model import File, Plan
from rke2_units.node.apply import Change, Kind
from rke2_units.node.diff import unified
from rke2_units.plan import make_plan
from rke2_units.release.table import DEFAULT, release
from rke2_units.snapshots import s3_config
from rke2_units.snapshots.s3_config import S3Config
from rke2_units.snapshots.settings import Settings
from rke2_units.unit_names import Role
from tests.unit.configs import make_config
from tests.unit.plan.cases import CASES, MACHINE

PATHS = Paths()
S3: dict[str, object] = {"etcd-s3": True, "etcd-s3-bucket": "backups"}
TIMERS = {unit_names.SNAPSHOT_TIMER, unit_names.SNAPSHOT_RECONCILE_TIMER}
SERVICES = (unit_names.SNAPSHOT_UNIT, unit_names.SNAPSHOT_RECONCILE_UNIT, unit_names.SNAPSHOT_VERIFY_UNIT)
ALL = {*TIMERS, *SERVICES, unit_names.SNAPSHOT_REQUEST_SOCKET, unit_names.SNAPSHOT_REQUEST_TEMPLATE}


def plan_of(values: Mapping[str, object] | None = None, *, case: str = "server", **more: object) -> Plan:
    node = CASES[case]
    named = {key.replace("_", "-"): value for key, value in more.items()}
    given = {**node.values, **(values or {}), **named}
    return make_plan(node.role, make_config(node.role, given), node.facts, release(DEFAULT))


def unit(plan: Plan, name: str) -> str:
    return plan.file(f"{layout.UNIT_DIRECTORY}/{name}").content


def lines_of(plan: Plan, name: str, option: str) -> list[str]:
    """The values of an option in a unit."""
    found = [line.partition("=") for line in unit(plan, name).splitlines()]
    return [value for key, _, value in found if key == option]


def of_snapshots(plan: Plan) -> set[str]:
    """The names of the units' files."""
    names = {file.path.rpartition("/")[2] for file in plan.files}
    return {name for name in names if name.startswith("rke2-etcd-snapshot") and not name.endswith(".json")}


def settings(plan: Plan) -> dict[str, object]:
    found: dict[str, object] = json.loads(plan.file(PATHS.snapshot_settings).content)
    return found


@pytest.mark.parametrize("case", ["server", "joined-server", "etcd-server"])
def test_every_server_with_etcd_takes_snapshots(case: str) -> None:
    plan = plan_of(case=case)
    assert of_snapshots(plan) == ALL
    assert plan.file(PATHS.snapshot_settings).mode == 0o600
    assert {name for name in plan.units if "snapshot" in name} == {
        *TIMERS,
        unit_names.SNAPSHOT_REQUEST_SOCKET,
    }
    assert set(SERVICES) < set(plan.all_units)
    # systemd has no unit of that name.
    assert unit_names.SNAPSHOT_REQUEST_TEMPLATE not in plan.all_units
    # What the supervisor reaches of it, from where it starts.
    [given] = [
        path for path in lines_of(plan, unit_names.SUPERVISOR_UNIT, "BindReadOnlyPaths") if ":" in path
    ]
    assert given == f"-{layout.REQUESTS}:{layout.SUPERVISOR_REQUESTS}"
    assert unit_names.SNAPSHOT_REQUEST_SOCKET in lines_of(plan, unit_names.SUPERVISOR_UNIT, "After")


@pytest.mark.parametrize("case", ["joining-server", "control-plane-server", "agent"])
def test_a_node_without_etcd_does_not(case: str) -> None:
    plan = plan_of(case=case)
    assert of_snapshots(plan) == set()
    assert PATHS.snapshot_settings not in {file.path for file in plan.files}
    if plan.role is Role.SERVER:
        assert layout.REQUESTS not in unit(plan, unit_names.SUPERVISOR_UNIT)


def test_without_a_schedule_snapshots_are_taken_and_listed_on_request() -> None:
    plan = plan_of(etcd_disable_snapshots=True)
    assert of_snapshots(plan) == ALL - {unit_names.SNAPSHOT_TIMER}
    assert unit_names.SNAPSHOT_TIMER not in plan.all_units
    assert not plan.warnings


def test_the_schedule_is_a_timers() -> None:
    assert lines_of(plan_of(), unit_names.SNAPSHOT_TIMER, "OnCalendar") == ["*-*-* 00,12:00:00"]
    either = plan_of(etcd_snapshot_schedule_cron="TZ=UTC 0 3 1 * mon")
    assert lines_of(either, unit_names.SNAPSHOT_TIMER, "OnCalendar") == [
        "*-*-01 03:00:00 UTC",
        "Mon *-*-* 03:00:00 UTC",
    ]
    every = plan_of(etcd_snapshot_schedule_cron="@every 6h")
    for option in ("OnActiveSec", "OnUnitActiveSec"):
        assert lines_of(every, unit_names.SNAPSHOT_TIMER, option) == ["21600"]
    assert lines_of(plan_of(), unit_names.SNAPSHOT_RECONCILE_TIMER, "OnUnitActiveSec") == ["600"]


def test_a_scheduled_snapshot_is_verified_where_that_is_wanted() -> None:
    assert lines_of(plan_of(), unit_names.SNAPSHOT_UNIT, "OnSuccess") == []
    verifying = plan_of(etcd_snapshot_verify=True)
    assert lines_of(verifying, unit_names.SNAPSHOT_UNIT, "OnSuccess") == [unit_names.SNAPSHOT_VERIFY_UNIT]
    assert settings(verifying)["verify"] is True


def test_nothing_is_verified_while_the_daemon_stops_the_node(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    [condition] = lines_of(plan_of(), unit_names.SNAPSHOT_VERIFY_UNIT, "ExecCondition")
    command = [str(lock) if word == layout.STOPPING_LOCK else word for word in condition.split()]
    assert str(lock) in command
    assert subprocess.run(command).returncode == 0
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert subprocess.run(command).returncode == 1
    assert subprocess.run(command).returncode == 0


def test_only_root_enters_the_folder_of_the_socket() -> None:
    text = unit(plan_of(), unit_names.SNAPSHOT_REQUEST_SOCKET)
    private, _, folder = layout.REQUESTS.rpartition("/")
    assert f"\nExecStartPre=/usr/bin/install -d -m 0700 {private}\n" in text
    assert f"\nListenStream={private}/{folder}/{layout.SNAPSHOT_SOCKET_NAME}\n" in text
    assert "\nDirectoryMode=0755\n" in text and "\nSocketMode=0666\n" in text


def test_the_time_of_s3_counts() -> None:
    for timeout, seconds in (("5m", "2700"), ("1h", "12600")):
        plan = plan_of(etcd_s3_timeout=timeout)
        for name in (unit_names.SNAPSHOT_UNIT, unit_names.SNAPSHOT_REQUEST_TEMPLATE):
            assert lines_of(plan, name, "TimeoutStartSec") == [seconds]


@pytest.mark.parametrize("name", [*SERVICES, unit_names.SNAPSHOT_REQUEST_TEMPLATE])
def test_the_units_write_to_the_folder_of_snapshots_and_see_no_data_of_etcd(name: str) -> None:
    plan = plan_of()
    assert lines_of(plan, name, "ReadWritePaths") == [f"{PATHS.server}/db"]
    assert lines_of(plan, name, "InaccessiblePaths") == [f"-{PATHS.etcd_data}"]
    assert lines_of(plan, name, "ExecStartPre") == []
    assert PATHS.snapshots in {directory.path for directory in plan.directories}


@pytest.mark.parametrize(
    ("directory", "metadata"), [("/mnt/nas/rke2/", "/mnt/nas/.metadata"), ("/backup", "/.metadata")]
)
def test_the_administrators_folder_may_be_missing_and_its_metadata_lie_beside_it(
    directory: str, metadata: str
) -> None:
    plan = plan_of(etcd_snapshot_dir=directory)
    path = directory.rstrip("/")
    found = settings(plan)
    assert (found["directory"], found["is_own_directory"]) == (path, False)
    for name in SERVICES:
        writes = lines_of(plan, name, "ReadWritePaths")
        assert writes == [f"{PATHS.server}/db", f"-{path}", f"-{metadata}"]
    for name in (unit_names.SNAPSHOT_UNIT, unit_names.SNAPSHOT_REQUEST_TEMPLATE):
        [made] = lines_of(plan, name, "ExecStartPre")
        assert made == f"+-/bin/sh -c 'if test -d {path}; then exec mkdir -p -m 0700 {metadata}; fi'"
    assert path not in {each.path for each in plan.directories}


def test_nothing_is_made_beside_an_administrators_folder_that_is_missing(tmp_path: Path) -> None:
    [made] = lines_of(plan_of(etcd_snapshot_dir="/mnt/nas/rke2"), unit_names.SNAPSHOT_UNIT, "ExecStartPre")
    directory = tmp_path / "nas" / "rke2"
    command = made.removeprefix("+-/bin/sh -c '").removesuffix("'").replace("/mnt", str(tmp_path))
    subprocess.run(["sh", "-c", command], check=True)
    assert os.listdir(tmp_path) == []
    directory.mkdir(parents=True)
    subprocess.run(["sh", "-c", command], check=True)
    assert (directory.parent / ".metadata").stat().st_mode & 0o777 == 0o700


def test_the_programs_can_read_their_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    plan = plan_of(etcd_snapshot_compress=True, etcd_snapshot_retention=0, etcd_snapshot_name="daily")
    file.write_text(plan.file(PATHS.snapshot_settings).content)
    read = Settings(str(file))
    assert read.node_name == "node1"
    assert read.directory == PATHS.snapshots and read.is_own_directory
    assert (read.base_name, read.retention, read.compress, read.verify) == ("daily", 0, True, False)
    folder = os.path.dirname(read.etcdctl)
    assert (read.etcdutl, read.etcd_program) == (f"{folder}/etcdutl", f"{folder}/etcd")
    assert os.path.basename(folder).startswith("etcdctl-")
    assert read.records == PATHS.snapshot_records and read.token_file == PATHS.token
    assert read.s3 is None


def of_s3(plan: Plan) -> dict[str, object]:
    found = settings(plan)["s3"]
    assert isinstance(found, dict)
    return found


def test_the_settings_of_s3_have_the_names_of_their_reader() -> None:
    found = of_s3(plan_of({**S3, "etcd-s3-folder": "a/b"}))
    assert found.keys() == {field.name for field in dataclasses.fields(S3Config)}
    assert found["bucket"] == "backups" and found["folder"] == "a/b"
    # What is not set is the reader's own default.
    plain = {"bucket", "folder", "retention", "timeout"}
    defaults = dataclasses.asdict(S3Config())
    assert {key: found[key] for key in found.keys() - plain} == {
        key: defaults[key] for key in defaults.keys() - plain
    }
    assert (found["retention"], found["timeout"]) == (str(s3_config.RETENTION), str(s3_config.TIMEOUT))


def test_without_s3_there_are_no_settings_of_it() -> None:
    assert "s3" not in settings(plan_of(etcd_s3_bucket="backups"))


@pytest.mark.parametrize(
    ("values", "retention"),
    [({}, "5"), ({"etcd-snapshot-retention": 9}, "9"), ({"etcd-s3-retention": 3}, "3")],
)
def test_as_many_snapshots_are_kept_in_s3_as_here_unless_told_otherwise(
    values: dict[str, object], retention: str
) -> None:
    plan = plan_of({**S3, **values})
    assert of_s3(plan)["retention"] == retention


def test_the_variables_of_aws_count_where_no_file_has_the_key() -> None:
    variables = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "session"}
    arguments = [(key, str(value).lower()) for key, value in S3.items()]
    config = settled(Role.SERVER, [], variables, arguments, Collected())
    found = of_s3(make_plan(Role.SERVER, config, MACHINE, release(DEFAULT)))
    assert (found["access_key"], found["secret_key"], found["session_token"]) == ("id", "key", "session")


def test_a_diff_of_the_settings_shows_no_credentials() -> None:
    credentials = {
        "etcd-s3-access-key": "hunter1",
        "etcd-s3-secret-key": "hunter/2+/=",
        "etcd-s3-session-token": 'hun"ter3',
        "etcd-s3-proxy": "http://me:hunter4@proxy.example:3128",
    }
    file = plan_of({**S3, **credentials}).file(PATHS.snapshot_settings)
    shown = unified([Change(Kind.ADD, file.path, None, file)])
    assert "hun" not in shown
    assert "backups" in shown and "proxy.example" in shown
    other = File(file.path, file.content.replace("hunter1", "another"))
    assert "hun" not in unified([Change(Kind.CHANGE, file.path, file.content, other)])


# Without etcd-s3 they may be variables for another program.
S3 = {"etcd-s3": True, "etcd-s3-bucket": "backups"}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"etcd-s3": True}, "etcd-s3 needs etcd-s3-bucket, or etcd-s3-config-secret"),
        ({**S3, "etcd-s3-access-key": "a"}, "etcd-s3-access-key needs etcd-s3-secret-key"),
        ({**S3, "etcd-s3-secret-key": "a"}, "etcd-s3-secret-key needs etcd-s3-access-key"),
        ({**S3, "etcd-s3-session-token": "a"}, "etcd-s3-session-token needs etcd-s3-access-key"),
        (
            {"etcd-snapshot-dir": f"{PATHS.etcd_data}/snapshots"},
            f"etcd-snapshot-dir must not be in the folder of etcd's data, {PATHS.etcd_data}",
        ),
    ],
)
def test_keys_that_do_not_fit_each_other_are_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        make_config(Role.SERVER, values)
    assert str(error.value) == f"test: {problem}"


def test_credentials_without_s3_say_nothing() -> None:
    make_config(Role.SERVER, {"etcd-s3-access-key": "a"})


def test_a_secret_beside_other_keys_of_s3_is_ignored_and_that_is_said() -> None:
    secret = {"etcd-s3": True, "etcd-s3-config-secret": "s3"}
    assert not plan_of({**secret, "etcd-s3-retention": 3, "etcd-s3-region": "us-east-1"}).warnings
    [warning] = plan_of({**secret, "etcd-s3-bucket": "backups", "etcd-s3-region": "eu"}).warnings
    assert warning == (
        "test: etcd-s3-config-secret is ignored, because etcd-s3-bucket is set (test) (keep one of them)"
    )


@pytest.mark.parametrize("expression", ["0 0 1 1 *", "@every 1h", "TZ=Europe/Paris */7 1-3 13 * fri"])
def test_systemd_has_nothing_to_say_about_the_timers_and_the_socket(expression: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine (package systemd)")
    plan = plan_of(etcd_snapshot_schedule_cron=expression, etcd_snapshot_verify=True)
    names = sorted(ALL)
    for name in names:
        # The programs of the node are not on this machine.
        text = "".join(
            line if not line.startswith("ExecStart=") else "ExecStart=/bin/true\n"
            for line in unit(plan, name).splitlines(keepends=True)
        )
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(name.replace("@.", "@1.") for name in names)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert not [line for line in said.splitlines() if "rke2-etcd-snapshot" in line]
