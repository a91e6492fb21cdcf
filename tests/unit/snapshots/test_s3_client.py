import base64
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rke2_units.errors import ConfigurationError, UserError
from rke2_units.snapshots import s3_client
from rke2_units.snapshots.bucket import Bucket
from rke2_units.snapshots.s3_config import S3Config
from rke2_units.snapshots.snapshot import Snapshot
from tests.unit.snapshots import s3_server
from tests.unit.snapshots.s3_server import FaultyS3, S3Server

pytestmark = pytest.mark.usefixtures("few_attempts")

BROKEN = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----").decode()
WORKING = S3Config(bucket="snapshots", access_key="a", secret_key="b")


@pytest.mark.parametrize(
    ("fields", "style"),
    [
        ({}, "virtual"),
        ({"endpoint": "s3.eu-central-1.amazonaws.com"}, "virtual"),
        ({"endpoint": "s3.cn-north-1.amazonaws.com.cn"}, "virtual"),
        ({"endpoint": "storage.googleapis.com:443"}, "virtual"),
        ({"endpoint": "oss-cn-hangzhou.aliyuncs.com"}, "virtual"),
        ({"endpoint": "minio.example:9000"}, "path"),
        ({"endpoint": "amazonaws.com.example"}, "path"),
        ({"bucket": "a.b"}, "path"),
        ({"bucket": "a.b", "insecure": True}, "virtual"),
        ({"bucket_lookup": "path"}, "path"),
        ({"bucket_lookup": "dns", "endpoint": "minio.example:9000"}, "virtual"),
    ],
)
def test_a_bucket_is_addressed_as_rke2_does_it(fields: dict[str, str], style: str) -> None:
    assert s3_client.addressing_style(replace(WORKING, **fields)) == style  # type: ignore[arg-type]


class Sent(BaseException):
    """In place of a request."""


def url_of(config: S3Config) -> str:
    """The URL that an object is asked for at."""

    def send(request: Any, **_: object) -> None:
        raise Sent(request.url)

    client = s3_client.Client(config)
    client.api.meta.events.register("before-send.s3", send)
    with pytest.raises(Sent) as sent:
        client.api.get_object(Bucket=config.bucket, Key="key")
    client.close()
    return str(sent.value)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"region": "eu-central-1"}, "https://snapshots.s3.eu-central-1.amazonaws.com/key"),
        ({}, "https://snapshots.s3.amazonaws.com/key"),
        ({"insecure": True}, "http://snapshots.s3.amazonaws.com/key"),
        ({"endpoint": "minio.example:9000"}, "https://minio.example:9000/snapshots/key"),
        ({"endpoint": "minio.example", "bucket_lookup": "dns"}, "https://snapshots.minio.example/key"),
        ({"endpoint": "[::1]:9000", "insecure": True}, "http://[::1]:9000/snapshots/key"),
    ],
)
def test_requests_have_the_url_of_the_configuration(fields: dict[str, str], url: str) -> None:
    assert url_of(replace(WORKING, **fields)) == url  # type: ignore[arg-type]


def test_what_else_is_configured_on_the_machine_is_not_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert url_of(WORKING) == "https://snapshots.s3.amazonaws.com/key"


@pytest.mark.parametrize("sends", ["Content-MD5", "x-amz-checksum-crc32", "x-amz-trailer"])
def test_no_checksum_is_sent_that_a_server_may_not_know(
    s3: S3Server, faulty_s3: FaultyS3, tmp_path: Path, sends: str
) -> None:
    config = s3.config("checksums", endpoint=f"127.0.0.1:{faulty_s3.port}")
    client = s3_client.Client(config)
    client.api.put_object(Bucket=config.bucket, Key="key", Body=b"x")
    client.close()
    [(_, _, headers)] = faulty_s3.handler.requests
    has = {name.lower() for name in headers}
    # MD5 every server knows; boto3 of Debian 12 sends it.
    assert sends.lower() not in has or sends == "Content-MD5"
    assert "x-amz-sdk-checksum-algorithm" not in has


# Authorities.

OPENSSL = """
new="-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
for ca in ca other; do openssl req $new -subj /CN=$ca -keyout $ca.key -out $ca.crt; done
signed="-CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:false"
openssl req $new $signed -subj /CN=s3 -keyout tls.key -out tls.crt -addext subjectAltName=IP:127.0.0.1
openssl req $new $signed -subj /CN=s3 -keyout name.key -out name.crt -addext subjectAltName=DNS:other
"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, and certificates of the first one."""
    directory = tmp_path_factory.mktemp("pki")
    subprocess.run(["sh", "-e", "-c", OPENSSL], cwd=directory, check=True, capture_output=True)
    return directory


@pytest.fixture
def secure(s3: S3Server, pki: Path, tmp_path: Path) -> Iterator[FaultyS3]:
    """The server with TLS."""
    with s3_server.faulty(s3, tmp_path, (pki / "tls.crt", pki / "tls.key")) as server:
        yield server


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def tls_config(s3: S3Server, secure: FaultyS3, **fields: object) -> S3Config:
    return s3.config("tls", endpoint=f"127.0.0.1:{secure.port}", insecure=False, **fields)


def test_a_private_authority_is_a_file_or_base64(s3: S3Server, secure: FaultyS3, pki: Path) -> None:
    for authorities in (
        f"{pki}/ca.crt",
        encoded(pki / "ca.crt"),
        f"{pki}/other.crt {pki}/ca.crt",
        f" {encoded(pki / 'other.crt')}  {pki}/ca.crt ",
    ):
        with Bucket(tls_config(s3, secure, endpoint_ca=authorities)) as bucket:
            bucket.list()


@pytest.mark.parametrize("authority", ["", "other.crt"])
def test_a_server_of_another_authority_is_refused(
    s3: S3Server, secure: FaultyS3, pki: Path, authority: str
) -> None:
    config = tls_config(s3, secure, endpoint_ca=f"{pki}/{authority}" if authority else "")
    with pytest.raises(UserError) as refused, Bucket(config):
        pass
    assert "the server's certificate is not trusted" in str(refused.value)
    assert "etcd-s3-endpoint-ca" in str(refused.value)
    assert not secure.handler.requests


def test_a_certificate_for_another_host_is_refused(s3: S3Server, pki: Path, tmp_path: Path) -> None:
    with s3_server.faulty(s3, tmp_path, (pki / "name.crt", pki / "name.key")) as secure:
        config = tls_config(s3, secure, endpoint_ca=f"{pki}/ca.crt")
        with pytest.raises(UserError, match="is not trusted.*(mismatch|another host)"), Bucket(config):
            pass


def test_to_skip_verification_beats_authorities_and_is_silent(
    s3: S3Server, secure: FaultyS3, pki: Path
) -> None:
    with warnings.catch_warnings():
        config = tls_config(s3, secure, endpoint_ca=f"{pki}/other.crt", skip_ssl_verify=True)
        with Bucket(config) as bucket:
            bucket.list()


def test_a_server_without_tls_is_explained(s3: S3Server, faulty_s3: FaultyS3) -> None:
    config = s3.config("tls", endpoint=f"127.0.0.1:{faulty_s3.port}", insecure=False)
    with pytest.raises(UserError, match="no TLS connection.*etcd-s3-insecure"), Bucket(config):
        pass


def test_an_upload_that_is_cut_is_no_fault_of_tls(
    s3: S3Server, secure: FaultyS3, pki: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(500_000))
    with Bucket(tls_config(s3, secure, endpoint_ca=f"{pki}/ca.crt")) as bucket:
        secure.be("cut upload")
        with pytest.raises(UserError, match="the connection was cut"):
            bucket.upload(str(tmp_path / "file"), Snapshot("a-1", "a", "", 0, datetime.now(UTC)), "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{}/gone.crt", "cannot read .*/gone.crt: No such file or directory"),
        ("{}/tls.key", "no certificates loaded from etcd-s3-endpoint-ca"),
        (BROKEN, "no certificates loaded"),
        ("relative.crt", "neither an absolute path nor PEM in base64"),
        ("AAAA", "neither an absolute path nor PEM in base64"),
    ],
)
def test_authorities_that_cannot_be_used_are_an_error(pki: Path, given: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        s3_client.authorities(given.format(pki))


def test_what_is_beside_the_certificates_is_left_out(pki: Path) -> None:
    both = base64.b64encode(b"text\n" + (pki / "ca.key").read_bytes() + (pki / "ca.crt").read_bytes())
    assert s3_client.authorities(both.decode()) == (pki / "ca.crt").read_bytes()


def test_a_missing_library_is_named_with_its_package() -> None:
    code = """
import sys
sys.modules["boto3"] = None
from rke2_units.snapshots.bucket import Bucket
from rke2_units.snapshots.s3_config import S3Config
Bucket(S3Config(bucket="bucket")).open()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.endswith(": snapshots in S3 need boto3, which is not installed (apt install python3-boto3)")


def test_nothing_but_s3_loads_the_library() -> None:
    code = "import sys, rke2_units.snapshots.bucket; print({'boto3', 'botocore'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
