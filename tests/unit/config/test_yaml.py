"""What YAML files may look like, and how their values are understood."""

import pytest

from rke2_units.config import yaml_events
from rke2_units.config.yaml_file import parse
from rke2_units.errors import ConfigurationError
from rke2_units.unit_names import Role
from tests.unit.configs import of_files


def texts(content: str) -> dict[str, tuple[str, ...]]:
    config = of_files(Role.SERVER, [parse(content.encode(), "f")])
    return {name: config.items(name) for name in config.given}


def message(content: str | bytes) -> str:
    with pytest.raises(ConfigurationError) as error:
        entries = parse(content if isinstance(content, bytes) else content.encode(), "f")
        of_files(Role.SERVER, [entries])
    return str(error.value)


@pytest.mark.parametrize(
    "content", ["", "\n", "# only a comment\n", "---\n", "~", "null", "{}", "\ufeff", "---\n...\n"]
)
def test_a_file_with_nothing_in_it_sets_nothing(content: str) -> None:
    assert parse(content.encode(), "f") == []


@pytest.mark.parametrize(
    "end", ["---", "---\n", "---\n# the rest\n", "---\n---\n...\n", "---\n~\n", "...\n---\n"]
)
def test_a_document_with_nothing_in_it_after_the_first_is_nothing(end: str) -> None:
    assert texts(f"token: x\n{end}") == {"token": ("x",)}


def test_labels_and_taints_in_one_text_are_several() -> None:
    given = texts('node-label: "a=b,c=d"\nnode-taint: "x=y:NoSchedule, z=w:NoExecute,v:NoSchedule"\n')
    assert given["node-label"] == ("a=b", "c=d")
    assert given["node-taint"] == ("x=y:NoSchedule", "z=w:NoExecute", "v:NoSchedule")
    assert message('node-taint: ["x=y,z:NoSchedule"]').startswith("f:1: node-taint must be a taint ")
    assert message("node-label: a=b,c") == "f:1: node-label must be a label key=value, got 'c'"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("just text", "f:1: must be a map of keys to values (one 'key: value' per line)"),
        ("[a, b]", "f:1: must be a map of keys to values (one 'key: value' per line)"),
        (
            "debug: true\n---\ndebug: false\n",
            "f:2: a second YAML document, but a configuration file has one",
        ),
        ("a: [", "f:1: not valid YAML: did not find expected node content"),
        (
            "\ndebug: true\n  cni: none",
            "f:3: not valid YAML: mapping values are not allowed in this context",
        ),
        ("token: 'sec", "f:1: not valid YAML: found unexpected end of stream"),
        ("\ta: b", "f:1: not valid YAML: a tab (YAML indents with spaces)"),
        ("a: b\n\tc: d", "f:2: not valid YAML: a tab (YAML indents with spaces)"),
        ("a:\n  \t- c", "f:2: not valid YAML: a tab (YAML indents with spaces)"),
        ("a: @x", "f:1: not valid YAML: found character that cannot start any token"),
        ("server: [a", "f:1: not valid YAML: did not find expected ',' or ']'"),
        (b"debug: true\ntoken: \xff\xff", "f:2: not UTF-8 text"),
        ("\n\ntoken: \x07", "f:3: not valid YAML: a character that is not allowed"),
        ("? [a]\n: b", "f:1: a key must be text"),
        ('"": a', "f:1: a key must be one line of text"),
        ('"a\\nb": a', "f:1: a key must be one line of text"),
        ("&x debug: true", "f:1: a key must not have an anchor"),
        (
            "kubelet-arg:\n  max-pods: 5",
            "f:2: kubelet-arg must not be a map (write lists of texts as '- key=value')",
        ),
        (
            "node-label:\n- a=b\n- c: d\n",
            "f:3: node-label must be a list of texts, got a map in it (write key=value, or put the "
            "text in quotes)",
        ),
        ("node-label: [[a=b]]", "f:1: node-label must be a list of texts, got a list in it"),
        ("token: *secret", "f:1: token refers to an anchor that is not there (put it in quotes)"),
        ("token: !!binary aGk=", "f:1: token has a YAML tag that means nothing here"),
        ("token: !secret x", "f:1: token has a YAML tag that means nothing here"),
        ("token: !!python/object/apply:os.system [x]", "f:1: token must be text, got a list"),
        ("tls-san: [&a [b], *a]", "f:1: tls-san must be a list of texts, got a list in it"),
        ("tls-san: &a [b]\ncni: [*a]", "f:2: cni must be a list of texts, got a list in it"),
        ("debug: !!int x", "f:1: debug has a value that YAML cannot read (put it in quotes)"),
    ],
)
def test_what_is_no_flat_map_names_its_line(content: str | bytes, problem: str) -> None:
    assert message(content) == problem


def test_anchors_stand_for_what_they_name() -> None:
    assert texts("tls-san: &names [a, &one b]\ndisable: *names\nnode-name: *one") == {
        "tls-san": ("a", "b"),
        "disable": ("a", "b"),
        "node-name": ("b",),
    }


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_an_error_like_any_other(opening: str) -> None:
    assert message("debug:\n" + opening * 200_000).startswith("f:2: ")


def test_a_file_that_is_too_large_is_no_configuration() -> None:
    assert "larger than" in message(b"#" * (yaml_events.LARGEST_FILE + 1))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((text, "true") for text in ("true", "True", "yes", "on", "ON", '"true"', "1", '"1"', "t", "T")),
        *((text, "false") for text in ("false", "no", "off", "NO", '"false"', "0", "f")),
    ],
)
def test_booleans_are_read_as_yaml_and_rke2_read_them(value: str, expected: str) -> None:
    assert texts(f"debug: {value}") == {"debug": (expected,)}


@pytest.mark.parametrize(
    ("value", "got"), [('"yes"', "'yes'"), ("2", "2"), ("maybe", "'maybe'"), ("1.0", "1.0")]
)
def test_what_is_no_boolean_names_file_and_line(value: str, got: str) -> None:
    assert message(f"\ndebug: {value}") == f"f:2: debug must be true or false, got {got}"


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("0644", "0644"),
        ('"0644"', "0644"),
        ("644", "0644"),
        ("0o600", "0600"),
        ('"600"', "0600"),
        ("0", "0000"),
    ],
)
def test_file_modes_are_octal_whether_quoted_or_not(written: str, mode: str) -> None:
    assert texts(f"write-kubeconfig-mode: {written}") == {"write-kubeconfig-mode": (mode,)}


@pytest.mark.parametrize("written", ["0x1ff", "888", "1777", "rw-r--r--", "-1", "06_4", "true", "6.4"])
def test_what_is_no_file_mode_is_refused(written: str) -> None:
    assert message(f"write-kubeconfig-mode: {written}").startswith(
        'f:1: write-kubeconfig-mode must be a file mode in octal digits, such as "0640", got '
    )


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ("no", "false"),
        ("on", "true"),
        ("0123", "83"),
        ("1_0", "10"),
        ("0x1F", "31"),
        ("1:30", "90"),
        ("1.10", "1.1"),
    ],
)
def test_texts_that_yaml_takes_for_something_else_must_be_quoted(written: str, meaning: str) -> None:
    assert message(f"write-kubeconfig-name: {written}") == (
        f"f:1: write-kubeconfig-name must be text, but YAML reads {written} as {meaning} (put it in quotes)"
    )
    assert texts(f"snapshotter: '{written.replace(':', '.')}'") == {
        "snapshotter": (written.replace(":", "."),)
    }


def test_a_token_that_yaml_takes_for_a_number_is_not_shown() -> None:
    assert message("token: 0123456") == (
        "f:1: token must be text, but YAML reads another type (put it in quotes)"
    )


@pytest.mark.parametrize("written", ["12345", "2026-11-22", "true", "=", "5000"])
def test_texts_that_yaml_reads_as_they_are_written_need_no_quotes(written: str) -> None:
    assert texts(f"token: {written}") == {"token": (written,)}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("lb-server-port: 64_44", "f:1: lb-server-port must be a whole number, got 64_44"),
        ("lb-server-port: six", "f:1: lb-server-port must be a whole number, got 'six'"),
        ("lb-server-port: 70000", "f:1: lb-server-port must be a port between 1 and 65535, got '70000'"),
        ("node-name: [a]", "f:1: node-name must be text, got a list"),
        ("debug: [true]", "f:1: debug must be true or false, got a list"),
        ("tls-san:\n- a\n-\n", "f:3: tls-san must be a list of texts, got nothing"),
        ('tls-san: ["a,,b"]', "f:1: tls-san must be a list of texts that are not empty, got 'a,,b'"),
        ('kubelet-arg: ["", "a=b"]', "f:1: kubelet-arg must be a list of texts that are not empty, got ''"),
        ("profile: cis-1.23", "f:1: profile must be one of cis, etcd, got 'cis-1.23'"),
        ('node-name: "a\\nb"', "f:1: node-name must be one line of printable text, got 'a\\nb'"),
        (
            'audit-policy-file: "/a\\u0085b"',
            "f:1: audit-policy-file must be one line of printable text, got '/a\\x85b'",
        ),
        (
            "etcd-snapshot-reconcile-interval: 10",
            "f:1: etcd-snapshot-reconcile-interval must be a duration such as 10m, 90s or 1h30m, got 10",
        ),
        (
            "token: K10::x",
            "f:1: token must be a token: after K10...:: comes USER:PASSWORD or a bootstrap token",
        ),
        ('kube-proxy-extra-env: ["PASSWORD"]', "f:1: kube-proxy-extra-env must be NAME=VALUE"),
    ],
)
def test_wrong_values_name_file_line_and_what_they_must_be(content: str, problem: str) -> None:
    assert message(content) == problem


def test_a_long_value_is_cut_in_the_error() -> None:
    assert len(message("node-name: " + "x" * 5000)) < 250
