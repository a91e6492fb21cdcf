"""No secret is left in what is shown, whatever the file's format and the secret's letters."""

import json
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from rke2_units.node.masking import mask
from rke2_units.plan import toml


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password: hunter2", "password: ********"),
        ('  password = "hunter2"', "  password = ********"),
        ('{"token": "hunter2", "x": 1}', '{"token": ********, "x": 1}'),
        ("client-key-data: aHVudGVy", "client-key-data: ********"),
        ("- --basic-auth=hunter2", "- --basic-auth=********"),
        ('- "--client-secret=a b"', '- "--client-secret=********"'),
        ('["--api-key=hunter2", "--v=2"]', '["--api-key=********", "--v=2"]'),
        # base64 that looks like a path
        ("--oidc-client-secret=/abc123+x", "--oidc-client-secret=********"),
        ("password: /x", "password: ********"),
        ("password: /etc/passwd", "password: ********"),
        ("access-key: hunter2", "access-key: ********"),
        ("secretAccessKey: hunter2", "secretAccessKey: ********"),
        ("AWS_ACCESS_KEY_ID=hunter2", "AWS_ACCESS_KEY_ID=********"),
        ("credential: hunter2", "credential: ********"),
        ("passphrase: two words", "passphrase: ********"),
        ("DB_PASS: hunter2", "DB_PASS: ********"),
        ("bypass: no", None),
        ('password: "a\\"hunter2"', "password: ********"),
        ("password: 'it''s hunter2'", "password: ********"),
        ('password: "a" hunter2', "password: ********"),
        ("token: true hunter2", "token: ********"),
        ('Authorization: Basic aHVudGVy', "Authorization: ********"),
        ('Authorization = ["Basic aHVudGVy"]', "Authorization = ********"),
        ("http-check send hdr Authorization Basic aHVudGVy", "http-check send hdr Authorization ********"),
        ("HTTPS_PROXY=http://me:hunter2@proxy:3128", "HTTPS_PROXY=http://********@proxy:3128"),
        ("value: http://me:hun@ter2@proxy/", "value: http://********@proxy/"),
        ("value: http://me:hun/ter2@proxy/", "value: http://********@proxy/"),
        ("value: http://token@proxy/", "value: http://********@proxy/"),
        ("- --x=K10ab::server:hunter2", "- --x=********"),
        ("password: |\n  one\n  a: two\nnext: x", "password: ********\n  ********\n  ********\nnext: x"),
        ("password: one\n  two\nnext: x", "password: ********\n  ********\nnext: x"),
        ("tokens:\n- one\n- two\nnext: x", "tokens:\n********\n********\nnext: x"),
        ('{\n "tokens": [\n  "one",\n  "two"\n ],\n "x": 1\n}',
         '{\n "tokens": ********\n  ********\n  ********\n ],\n "x": 1\n}'),
        ("-----BEGIN EC PRIVATE KEY-----\nx\n-----END", "-----BEGIN EC PRIVATE KEY-----********-----END"),
        ("DB_PASSWORD_2=hunter2", "DB_PASSWORD_2=********"),
        ("token_value: hunter2", "token_value: ********"),
        ("apiKeyValue: hunter2", "apiKeyValue: ********"),
        ("- --x=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", "- --x=********"),
        # As Go folds long texts, and as others write them.
        ("- name: A\n  value: one\n    two\n- name: B\n", "- name: A\n  value: ********\n- name: B\n"),
        ("- name: A\n  value: |-\n    one\n\n    two\nx: y", "- name: A\n  value: ********\nx: y"),
        ("- name: A\n  value: one\n\n\n", "- name: A\n  value: ********\n\n\n"),
        ('password = """\none\ntwo"""\nb = 1', "password = ********\nb = 1"),
        ('Environment="A_TOKEN=one two" "B=3"', 'Environment="A_TOKEN=********'),
        ("a: https://x.example.com/?token=one&b=two", "a: https://x.example.com/?token=********"),
        # no secrets
        ("--service-account-signing-key-file=/x/service.key", None),
        ("token-file: /etc/token", None),
        ("token: /etc/passwd", None),
        ('"token": "/etc/passwd",', None),
        ("LoadCredential=token:/var/lib/rancher/rke2/server/token", None),
        ("automountServiceAccountToken: false", None),
        ("- --authorization-mode=Node,RBAC", None),
        ("authorization:\n  mode: Webhook\n  webhook:\n    cacheTTL: 5m", None),
        ("enable-bootstrap-token-auth=true", None),
        ('"EncryptSecrets": true,', None),
        ("index.docker.io/rancher/x@sha256:0123", None),
        ("- secret:\n    secretName: x\n", None),
    ],
)  # fmt: skip
def test_what_is_or_may_be_a_secret_is_masked_and_nothing_else(text: str, masked: str | None) -> None:
    assert mask(text) == (text if masked is None else masked)


def test_a_path_is_shown_only_while_it_is_a_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert mask(f"token: {file}") == "token: ********"
    file.touch()
    assert mask(f"token: {file}") == f"token: {file}"
    assert mask(f"token: {tmp_path}") == "token: ********"


MARK = "hunter"
# Each part of the secret has the mark in it: none of them may be left.
SECRETS = st.lists(
    st.text(st.sampled_from("ab/@\"'\\ ,;:=#[]{}|>-%$&*!?~.`\u00e4"), max_size=4), min_size=1, max_size=5
).map(lambda parts: MARK.join(["", *parts, ""]))
KEYS = st.sampled_from(
    [
        "password",
        "token",
        "client-secret",
        "auth",
        "accessKey",
        "registry_credential",
        "PASSPHRASE",
        "api-keys",
    ]
)
FORMATS = {
    "yaml": lambda key, secret: yaml.safe_dump({"a": 1, key: secret, "z": [{key: secret, "b": 2}]}),
    "yaml list": lambda key, secret: yaml.safe_dump({key: [secret, secret], "z": 1}),
    "yaml text": lambda key, secret: yaml.safe_dump({key: f"{secret}\n{secret}\n"}, default_style="|"),
    "yaml arguments": lambda key, secret: yaml.safe_dump([f"--{key}={secret}", "--v=1"], width=1000),
    "yaml folded": lambda key, secret: yaml.safe_dump(
        {"a": [f"--{key}=a {secret} {'b ' * 40}{secret} c {secret}", "--v=1"], key: f"{'d ' * 40}{secret}"}
    ),
    "yaml block": lambda key, secret: f"a:\n- {key}: >-\n    {secret}\n    b: {secret}\n  c: d\n",
    "json": lambda key, secret: json.dumps({"a": [{key: secret}], key: secret, "z": {key: [secret]}}),
    "json lines": lambda key, secret: json.dumps({"a": [{key: secret}], key: [secret, secret]}, indent=2),
    "json arguments": lambda key, secret: json.dumps([f"--{key}={secret}", "--v=1"], indent=1),
    "toml": lambda key, secret: toml.text({"a": {key: secret, "b": 1}, "c": {key: [secret]}}),
    "environment": lambda key, secret: f"A=1\n{key.upper()}={secret}\nB=2\n",
    "unit": lambda key, secret: f"ExecStart=/bin/x --a=b \\\n  --{key}={secret} \\\n  --c=d\n",
    "address": lambda key, secret: f"a: http://me:{secret.replace(' ', '')}@proxy:3128\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@given(KEYS, SECRETS)
@example("password", f'{MARK}"{MARK}')
@example("password", f"it's {MARK}'{MARK}")
def test_no_part_of_a_secret_is_left_whatever_it_is_written_in(kind: str, key: str, secret: str) -> None:
    assert MARK not in mask(FORMATS[kind](key, secret))


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    assert mask(text).count("\n") <= text.count("\n")


def test_a_long_word_costs_no_time() -> None:
    began = time.monotonic()
    assert mask("eyJ" * 20_000) == "eyJ" * 20_000
    assert time.monotonic() - began < 20


def test_the_machines_own_files_stay_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isfile", lambda path: False)
    assert mask("token: /etc/passwd") == "token: ********"
