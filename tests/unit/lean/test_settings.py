import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.settings import read
from tests.unit.program_values import make_settings, settings_values


def test_the_settings_that_the_plan_writes_are_read(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert settings.static_pod("etcd").needs == ("kubelet",)
    assert settings.health_check("etcd").port == 1
    assert settings.health_check("etcd").path == "/health"
    assert settings.bundles == f"{tmp_path}/run/io.containerd.runtime.v2.task/k8s.io"


def test_the_health_checks_of_a_file_of_version_0_1_are_read(tmp_path: Path) -> None:
    values = settings_values(tmp_path)
    values["facts"] = values.pop("health_checks")
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert read(str(tmp_path / "old.json")).health_check("etcd").path == "/health"


def test_an_unknown_component_is_named_with_those_that_are_planned(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'etc'.*planned: etcd"):
        make_settings(tmp_path).static_pod("etc")


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        ({"url": "ftp://127.0.0.1:1/"}, "'url' is not a URL"),
        ({"url": "http://127.0.0.1/"}, "'url' is not a URL"),
        ({"url": "https://10.0.0.1:10259/healthz", "insecure": True}, "not a loopback address"),
        ({"url": "https://127.0.0.1.evil:10259/healthz", "insecure": True}, "not a loopback address"),
        ({"url": "http://127.0.0.1:1/", "insecure": "yes"}, "'insecure' is not true or false"),
    ],
)
def test_a_check_that_cannot_be_made_safely_is_refused(
    tmp_path: Path, check: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        make_settings(tmp_path, health_checks={"etcd": check})


@pytest.mark.parametrize("directory", ["", ".", "..", "../v1", "a/b"])
def test_the_contents_directory_cannot_be_elsewhere(tmp_path: Path, directory: str) -> None:
    with pytest.raises(ConfigurationError, match="'directory'"):
        make_settings(tmp_path, content={"image": "x", "directory": directory, "archives": "y"})


def test_a_missing_file_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file.*rke2-server"):
        read(str(tmp_path / "nothing"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from(sorted(settings_values(Path("/x")))), value=JSON)
@example(key="health_checks", value={"\n": None})
def test_no_value_of_any_key_causes_more_than_one_line(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.json"
    file.write_text(json.dumps(settings_values(Path("/x")) | {key: value}))
    try:
        read(str(file))
    except ConfigurationError as error:
        assert "\n" not in str(error)
