import base64
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.lean.json_table import Table
from rke2_units.snapshots import s3_config
from rke2_units.snapshots.s3_config import S3Config

PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
WORKING = S3Config(bucket="snapshots")
# The reference's example, with values.
REQUEST = {
    "accessKey": "key",
    "bucket": "snapshots",
    "bucketLookup": "auto",
    "configSecret": "",
    "endpoint": "s3.amazonaws.com",
    "endpointCA": "",
    "folder": "f",
    "proxy": "",
    "region": "us-east-1",
    "secretKey": "secret",
    "sessionToken": "token",
    "insecure": False,
    "skipSSLVerify": True,
    "retention": 7,
    "timeout": "5m0s",
}


def no_config_map(name: str) -> dict[str, bytes]:
    raise AssertionError(f"asked for {name}")


def of_secret(data: dict[str, bytes], **options: Any) -> tuple[S3Config, list[str]]:
    warnings: list[str] = []
    options = {"config_map": no_config_map, **options}
    return s3_config.of_secret(data, warn=warnings.append, **options), warnings


def test_a_request_of_rke2_is_understood() -> None:
    assert s3_config.of_request(REQUEST) == S3Config(
        access_key="key",
        secret_key="secret",
        session_token="token",
        bucket="snapshots",
        folder="f",
        skip_ssl_verify=True,
        retention=7,
        timeout=300.0,
    )


def test_what_a_request_lacks_has_its_default() -> None:
    assert s3_config.of_request({}) == S3Config()
    empty = {"endpoint": "", "region": "", "bucketLookup": "", "folder": None, "unknown": 1}
    assert s3_config.of_request(empty) == S3Config()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("bucket", 1, "bucket is not a text"),
        ("insecure", "maybe", "insecure is not true or false"),
        ("insecure", 1, "insecure is not true or false"),
        ("retention", True, "retention is not a whole number"),
        ("retention", 1.5, "retention is not a whole number"),
        ("timeout", "5 minutes", "timeout is not a duration"),
        ("timeout", True, "timeout is not a duration"),
        ("timeout", [], "timeout is not a duration"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(field: str, value: object, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        s3_config.of_request({field: value})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2),
    max_leaves=4,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(REQUEST, json_values)))
def test_any_request_is_a_configuration_with_the_right_types_or_one_error(values: dict[str, object]) -> None:
    try:
        config = s3_config.of_request(values)
    except UserError as error:
        assert str(error).isprintable()
        return
    for field in fields(config):
        assert type(getattr(config, field.name)) is type(field.default), field.name
    try:
        s3_config.check(config)
    except UserError as error:
        assert str(error).isprintable()


def test_the_settings_file_has_the_names_of_the_fields_and_seconds() -> None:
    values = {"bucket": "b", "retention": "3", "timeout": "90.0", "insecure": True, "bucket_lookup": "DNS"}
    expected = S3Config(bucket="b", retention=3, timeout=90.0, insecure=True, bucket_lookup="dns")
    assert s3_config.of_settings(Table("file", json.loads(json.dumps(values)))) == expected
    with pytest.raises(ConfigurationError, match="file: 'retention' is not a whole number"):
        s3_config.of_settings(Table("file", {"retention": "many"}))


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [("", ""), ("a", "a/"), ("/a/b/", "a/b/"), ("a//b/.", "a/b/"), ("..", ""), ("../a", "a/"), ("/", "")],
)
def test_the_folder_is_the_beginning_of_each_key(folder: str, prefix: str) -> None:
    assert S3Config(folder=folder).prefix == prefix


def test_nobody_sees_credentials() -> None:
    config = replace(
        WORKING,
        access_key="SEEN-1",
        secret_key="SEEN-2",
        session_token="SEEN-3",
        proxy="http://user:SEEN-4@proxy:3128",
    )
    assert "SEEN" not in repr(config) + json.dumps(s3_config.public(config))
    assert s3_config.secrets(config) == ["SEEN-1", "SEEN-2", "SEEN-3", "SEEN-4"]
    assert s3_config.secrets(WORKING) == []


def test_the_object_of_a_snapshot_says_where_it_lies() -> None:
    config = S3Config(bucket="b", folder="f", endpoint="s3.example:9000", insecure=True, retention=3)
    assert s3_config.public(config) == {
        "endpoint": "s3.example:9000",
        "bucket": "b",
        "bucketLookup": "auto",
        "region": "us-east-1",
        "prefix": "f",
        "insecure": True,
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (S3Config(), "s3 configuration was not set"),
        (S3Config(retention=9), "s3 configuration was not set"),
        (S3Config(folder="f"), "s3 bucket name was not set"),
        (replace(WORKING, endpoint="https://s3.example"), "etcd-s3-endpoint must be HOST or HOST:PORT"),
        (replace(WORKING, endpoint="s3.example/path"), "etcd-s3-endpoint must be HOST or HOST:PORT"),
        (replace(WORKING, endpoint="user:secret@s3.example"), "etcd-s3-endpoint must be HOST or HOST:PORT"),
        (replace(WORKING, bucket="a/b"), "etcd-s3-bucket must be"),
        (replace(WORKING, bucket="arn:aws:s3:us-east-1:1:accesspoint/a"), "etcd-s3-bucket must be"),
        (replace(WORKING, bucket_lookup="host"), "etcd-s3-bucket-lookup-type must be auto, dns or path"),
        (replace(WORKING, region="a b"), "etcd-s3-region must be"),
        (replace(WORKING, folder="a\nb"), "etcd-s3-folder must be"),
        (replace(WORKING, folder="a/../b"), "etcd-s3-folder must be a folder without . and .."),
        (replace(WORKING, endpoint_ca="ca.crt"), "etcd-s3-endpoint-ca must be absolute paths"),
        (replace(WORKING, proxy="proxy.example:3128"), "etcd-s3-proxy must be a URL with scheme"),
        (replace(WORKING, proxy="http://"), "etcd-s3-proxy must be a URL with scheme"),
        (replace(WORKING, proxy="http://a:port"), "etcd-s3-proxy must be a URL with scheme"),
        (replace(WORKING, proxy="socks5://a"), "etcd-s3-proxy must be a URL with scheme"),
        (replace(WORKING, timeout=0.0), "etcd-s3-timeout must be a duration between"),
        (replace(WORKING, timeout=float("nan")), "etcd-s3-timeout must be a duration between"),
        (replace(WORKING, access_key="a"), "etcd-s3-secret-key is missing"),
        (replace(WORKING, secret_key="a"), "etcd-s3-access-key is missing"),
    ],
)
def test_what_cannot_work_is_refused(config: S3Config, expected: str) -> None:
    with pytest.raises(UserError) as refused:
        s3_config.check(config)
    assert expected in str(refused.value)
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize(
    "config",
    [
        WORKING,
        replace(WORKING, endpoint="[::1]:9000", proxy="none"),
        replace(WORKING, endpoint="127.0.0.1:9000", proxy="http://user:pass@proxy.example:3128"),
        replace(WORKING, access_key="a", secret_key="b", folder="/clusters/one", region="eu-central-1"),
        replace(WORKING, bucket="Old_Bucket.1", bucket_lookup="dns", timeout=1.0),
    ],
)
def test_what_can_work_is_accepted(config: S3Config) -> None:
    s3_config.check(config)


def test_a_secret_has_the_names_of_keys_and_its_own_way_with_authorities() -> None:
    data = {
        "etcd-s3-endpoint": b"s3.example",
        "etcd-s3-endpoint-ca": PEM,
        "etcd-s3-endpoint-ca-name": b"authorities",
        "etcd-s3-skip-ssl-verify": b"false",
        "etcd-s3-access-key": b"key\n",
        "etcd-s3-secret-key": b"secret",
        "etcd-s3-session-token": b"token",
        "etcd-s3-bucket": b"b",
        "etcd-s3-bucket-lookup-type": b"path",
        "etcd-s3-folder": b"f",
        "etcd-s3-region": b"r",
        "etcd-s3-insecure": b"1",
        "etcd-s3-timeout": b"1m30s",
        "etcd-s3-proxy": b"none",
        "etcd-s3-config-secret": b"another",
        "other": b"\xff",
    }
    authorities = {"authorities": {"one": PEM + b"1", "two": PEM + b"2"}}
    config, warnings = of_secret(data, config_map=authorities.__getitem__)
    encoded = [base64.b64encode(pem).decode() for pem in (PEM, PEM + b"1", PEM + b"2")]
    assert config == S3Config(
        endpoint="s3.example",
        endpoint_ca=" ".join(encoded),
        access_key="key",
        secret_key="secret",
        session_token="token",
        bucket="b",
        bucket_lookup="path",
        folder="f",
        region="r",
        insecure=True,
        timeout=90.0,
        proxy="none",
    )
    assert warnings == []


def test_values_of_a_secret_that_do_not_parse_are_warnings_and_defaults() -> None:
    data = {
        "etcd-s3-bucket": b"b",
        "etcd-s3-insecure": b"perhaps",
        "etcd-s3-timeout": b"long",
        "etcd-s3-retention": b"all",
        "etcd-s3-region": b"",
    }
    config, warnings = of_secret(data, retention=9)
    assert config == S3Config(bucket="b", retention=9)
    assert warnings == [
        "etcd-s3-retention of the Secret is ignored: it must be a whole number",
        "etcd-s3-insecure of the Secret is ignored: it must be true or false",
        "etcd-s3-timeout of the Secret is ignored: it must be a duration such as 10m, 90s or 1h30m",
    ]


def test_the_retention_of_a_secret_counts_and_else_that_of_the_node() -> None:
    assert of_secret({"etcd-s3-retention": b"3"}, retention=9)[0].retention == 3
    assert of_secret({"etcd-s3-bucket": b"b"}, retention=9)[0].retention == 9
    assert of_secret({"etcd-s3-bucket": b"b"})[0].retention == s3_config.RETENTION


def test_a_missing_config_map_of_authorities_is_a_warning() -> None:
    def missing(name: str) -> dict[str, bytes]:
        raise UserError(f"no {name}")

    config, warnings = of_secret({"etcd-s3-endpoint-ca-name": b"gone"}, config_map=missing)
    assert config == S3Config()
    assert warnings == ["etcd-s3-endpoint-ca-name of the Secret is ignored: no gone"]


def test_only_its_secret_and_a_retention_leave_a_configuration_as_it_is_by_default() -> None:
    assert s3_config.is_default(S3Config(config_secret="s3", retention=9))
    assert not s3_config.is_default(S3Config(config_secret="s3", folder="f"))
