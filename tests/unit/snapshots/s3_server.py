"""A real S3 server on loopback: moto's, a process of its own, which keeps everything in memory."""

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rke2_units.snapshots.s3_config import S3Config
from tests.node.helpers import faulty_s3

ACCESS_KEY, SECRET_KEY = "AKIAEXAMPLE00000001", "secret/with+signs=00000000000000000000000"


@dataclass(frozen=True)
class S3Server:
    """`api` is boto3's client for it, for what the tests look at and prepare."""

    port: int
    api: Any

    def config(self, bucket: str, **fields: Any) -> S3Config:
        """A configuration with an empty bucket of this name, which is made if it is not there."""
        self.api.create_bucket(Bucket=bucket)
        config = S3Config(
            endpoint=f"127.0.0.1:{self.port}",
            insecure=True,
            bucket=bucket,
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
        )
        return replace(config, **fields)

    def keys(self, bucket: str) -> list[str]:
        found = self.api.list_objects_v2(Bucket=bucket).get("Contents", ())
        return [entry["Key"] for entry in found]

    def unfinished(self, bucket: str) -> list[str]:
        """Uploads in parts that are neither complete nor given up."""
        found = self.api.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        return [entry["Key"] for entry in found]

    def temporary_keys(self) -> tuple[str, str, str]:
        """An access key, a secret key and a session token that may do everything."""
        import boto3.session

        session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
        iam, sts = (
            session.client(name, endpoint_url=f"http://127.0.0.1:{self.port}") for name in ("iam", "sts")
        )
        anyone = {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        role = iam.create_role(RoleName="snapshots", AssumeRolePolicyDocument=_policy(anyone))["Role"]
        iam.put_role_policy(RoleName="snapshots", PolicyName="all", PolicyDocument=_policy(everything))
        found = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="tests")["Credentials"]
        for client in (iam, sts):
            client.close()
        return found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]

    def check_keys(self, *, wanted: bool) -> None:
        """Whether keys, tokens and signatures are checked from now on."""
        count = b"0" if wanted else b"inf"
        url = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        request = urllib.request.Request(url, count, {"Content-Type": "text/plain"}, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            pass


def _policy(statement: dict[str, str]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextmanager
def running() -> Iterator[S3Server]:
    """The server, until the end of the block."""
    import boto3.session
    from botocore.config import Config

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            if "Running on" in line:
                break
        else:
            raise AssertionError("moto has ended: " + "".join(log))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
        options = Config(s3={"addressing_style": "path"}, proxies={})
        api = session.client("s3", endpoint_url=f"http://127.0.0.1:{port}", config=options)
        yield S3Server(port, api)
        api.close()
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@dataclass(frozen=True)
class FaultyS3:
    """Stands before the server; its faults are those of faulty_s3.py."""

    port: int
    fault_file: Path
    handler: type[faulty_s3.Handler]

    def be(self, fault: str) -> None:
        assert fault in {"", *faulty_s3.FAULTS}
        self.fault_file.write_text(fault)

    def requests(self) -> list[str]:
        """The methods and paths of all requests."""
        return [f"{method} {path.partition('?')[0]}" for method, path, _ in self.handler.requests]


@contextmanager
def faulty(
    server: S3Server, directory: Path, certificate: tuple[Path, Path] | None = None
) -> Iterator[FaultyS3]:
    """What passes requests on, so far without a fault."""
    fault_file = directory / "fault"
    fault_file.write_text("")
    http_server, handler = faulty_s3.serve(0, server.port, fault_file, certificate, "127.0.0.1")
    threading.Thread(target=http_server.serve_forever, args=(0.05,), daemon=True).start()
    yield FaultyS3(http_server.server_address[1], fault_file, handler)
    http_server.shutdown()
    http_server.server_close()
