import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.snapshots import request
from rke2_units.snapshots.request import BadRequest, Request, parse


def test_what_rke2_sends_is_understood() -> None:
    body = {"operation": "save", "name": ["on-demand"], "dir": "/backup/", "compress": True, "retention": 0}
    assert parse(json.dumps(body)) == Request("save", ("on-demand",), "/backup", True, 0)
    assert parse(b'{"operation":"list"}') == Request("list")
    assert parse('{"operation":"delete","name":["a","b"],"s3":null,"dir":null,"unknown":1}') == Request(
        "delete", ("a", "b")
    )


def test_the_place_in_s3_is_part_of_it() -> None:
    s3 = {"bucket": "b", "endpoint": "s3.example.org", "timeout": "5m0s", "accessKey": "a", "secretKey": "s"}
    found = parse(json.dumps({"operation": "list", "s3": s3})).s3
    assert found is not None and (found.bucket, found.timeout, found.secret_key) == ("b", 300, "s")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"operation":"SAVE"}', "^invalid snapshot operation$"),
        ('{"operation":null}', "^invalid snapshot operation$"),
        ("{}", "^invalid snapshot operation$"),
        ("[]", "not an object"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"operation":"save","name":"a"}', "name"),
        ('{"operation":"save","name":[1]}', "name"),
        ('{"operation":"save","name":["a","b"]}', "one name"),
        ('{"operation":"save","name":[""]}', "invalid snapshot name"),
        ('{"operation":"save","name":["../a"]}', "path traversal not allowed"),
        ('{"operation":"save","name":[".hidden"]}', "invalid snapshot name"),
        ('{"operation":"save","name":["a\\nb"]}', "invalid snapshot name"),
        (json.dumps({"operation": "save", "name": ["ü" * 65]}), "invalid snapshot name"),
        (
            '{"operation":"delete","name":["a","../../etc/passwd"]}',
            "^invalid snapshot name: path traversal not allowed$",
        ),
        ('{"operation":"delete","name":[".."]}', "path traversal not allowed"),
        ('{"operation":"prune","name":["/"]}', "path traversal not allowed"),
        ('{"operation":"verify","name":["a","b"]}', "one name"),
        ('{"operation":"save","dir":"backup"}', "absolute"),
        ('{"operation":"save","dir":"/a\\u0000"}', "absolute"),
        ('{"operation":"save","dir":1}', "absolute"),
        ('{"operation":"save","compress":"yes"}', "compress"),
        ('{"operation":"save","compress":1}', "compress"),
        ('{"operation":"prune","retention":"5"}', "retention"),
        ('{"operation":"prune","retention":true}', "retention"),
        ('{"operation":"prune","retention":1.5}', "retention"),
        ('{"operation":"save","s3":[]}', "s3"),
        ('{"operation":"save","s3":{"bucket":1}}', "bucket"),
        (" " * (1 << 20) + "{}", "1 MiB"),
    ],
)
def test_what_is_no_request_is_refused(body: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
requests = st.fixed_dictionaries(
    {"operation": st.sampled_from(request.OPERATIONS)},
    optional={
        "name": st.lists(st.text(max_size=8), max_size=3) | json_values,
        **{key: json_values for key in ("dir", "compress", "retention", "s3")},
    },
)


@given(requests | json_values)
def test_whatever_comes_is_a_request_or_refused(body: object) -> None:
    try:
        found = parse(json.dumps(body))
    except BadRequest:
        return
    assert all("/" not in name and name.isprintable() for name in found.names)
    assert found.directory == "" or found.directory.startswith("/")


def test_a_failure_is_what_kubernetes_calls_a_status() -> None:
    answer = json.loads(request.failure(400, "invalid snapshot operation").line())
    assert answer["status"] == answer["body"]["code"] == 400
    assert answer["body"] == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "invalid snapshot operation",
        "reason": "BadRequest",
        "code": 400,
    }
