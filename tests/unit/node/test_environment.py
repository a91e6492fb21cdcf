"""systemd's EnvironmentFile= syntax is read as systemd reads it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.node import environment
from rke2_units.unit_names import Role

CASES = {
    "A=1": {"A": "1"},
    "A=1\nB=2\n": {"A": "1", "B": "2"},
    "  A  =  1  \n": {"A": "1"},
    "A=": {"A": ""},
    "A=one two ": {"A": "one two"},
    "# A=1\n; B=2\nC=3": {"C": "3"},
    "A=1 # no comment": {"A": "1 # no comment"},
    'A="one two "': {"A": "one two "},
    "A='one two '": {"A": "one two "},
    "A='back\\slash'": {"A": "back\\slash"},
    'A="a\\"b\\\\c\\$d\\`e\\f"': {"A": 'a"b\\c$d`e\\f'},
    "A=a\\ b\\\\": {"A": "a b\\"},
    "A=one\\\n  two": {"A": "one  two"},
    'A="one\\\ntwo"': {"A": "onetwo"},
    'A="one\ntwo"': {"A": "one\ntwo"},
    "A=\"one\"'two' three": {"A": "onetwothree"},
    'A=it"s': {"A": 'it"s'},
    "A=$HOME ${HOME}": {"A": "$HOME ${HOME}"},
    "export A=1": {},
    "1A=1\nB-C=2\n=3\nno assignment\nD=4": {"D": "4"},
    "A=1\nA=2": {"A": "2"},
    "A=https://user:p%40ss@proxy:3128/?a=b": {"A": "https://user:p%40ss@proxy:3128/?a=b"},
    'A="never closed': {"A": "never closed"},
    "A=1\r\nB=2": {"A": "1", "B": "2"},
    "": {},
}


@pytest.mark.parametrize("text", CASES, ids=repr)
def test_a_file_is_read_as_systemd_reads_it(text: str) -> None:
    assert environment.parse(text) == CASES[text]


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(name for name in environment.parse(text))


@given(st.text(st.characters(blacklist_characters="\\\"$`'", blacklist_categories=["Cs"])))
def test_a_quoted_value_is_read_as_it_is(value: str) -> None:
    assert environment.parse(f'A="{value}"\nB=end') == {"A": value, "B": "end"}
    assert environment.parse(f"A='{value}'\nB=end") == {"A": value, "B": "end"}


def place(root: Path, path: str, text: str) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_later_files_win_and_missing_ones_do_not_matter(tmp_path: Path) -> None:
    place(tmp_path, "/etc/default/rke2-server", "A=default\nB=default\nC=default")
    place(tmp_path, "/etc/sysconfig/rke2-server", "B=sysconfig\nC=sysconfig")
    place(tmp_path, "/usr/local/lib/systemd/system/rke2-server.env", "C=env")
    root = str(tmp_path)
    assert environment.read_environment_files(Role.SERVER, root) == {
        "A": "default",
        "B": "sysconfig",
        "C": "env",
    }
    assert environment.read_environment_files(Role.AGENT, root) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\n# A\n\nB='1\n2'\n", []),
        (
            "export HTTPS_PROXY=http://u:secret@p",
            ["1: systemd ignores this line: write HTTPS_PROXY=... without"],
        ),
        ("A='1\n2'\n  export\tB=1\nC=2", ["3: systemd ignores this line: write B=... without export"]),
        ("\ufeffHTTP_PROXY=p\nA=1", ["1: systemd ignores this line because of its byte order mark"]),
        ("\ufeff# secret\nA=1", ["1: systemd ignores this line because of its byte order mark"]),
        ("A=1\nno secret assignment\nB=2", ["2: systemd ignores this line, which is not NAME=VALUE"]),
        ("http://u:secret@p/?a=b", ["1: systemd ignores this line, which is not NAME=VALUE"]),
        ("export secret", ["1: systemd ignores this line, which is not NAME=VALUE"]),
        ("export se-cret=1", ["1: systemd ignores this line, which is not NAME=VALUE"]),
        (
            "set A=1\nexport A=2",
            ["1: systemd ignores this line, which", "2: systemd ignores this line: write A="],
        ),
    ],
)
def test_what_systemd_ignores_is_told_and_no_value_with_it(
    tmp_path: Path, text: str, said: list[str]
) -> None:
    place(tmp_path, "/etc/default/rke2-agent", text)
    found = environment.ignored_lines(Role.AGENT, str(tmp_path))
    assert len(found) == len(said)
    for line, begin in zip(found, said, strict=True):
        assert line.startswith(f"/etc/default/rke2-agent:{begin}")
        assert "secret" not in line and "\n" not in line


@given(st.text(alphabet="A= \n\t\"'#;\\\ufeffe\0"))
def test_every_line_of_a_file_counts_or_is_told(text: str) -> None:
    read = environment._read(text)
    lines = text.split("\n")
    assert all(1 <= number <= len(lines) for number, _ in read.ignored)
    comments = all(line.strip()[:1] in ("", "#", ";") for line in lines)
    assert read.variables or read.ignored or comments


def test_a_commands_own_proxies_are_not_the_nodes(tmp_path: Path) -> None:
    place(tmp_path, "/etc/default/rke2-agent", "HTTPS_PROXY=node\nRKE2_URL=file\nRKE2_TOKEN=file")
    process = {"HTTPS_PROXY": "shell", "RKE2_URL": "shell", "HOME": "/root", "CONTAINERD_LOG_LEVEL": "debug"}
    assert environment.command_environment(Role.AGENT, process, str(tmp_path)) == {
        "HTTPS_PROXY": "node",
        "RKE2_URL": "shell",
        "RKE2_TOKEN": "file",
    }


def test_only_proxies_and_containerds_variables_are_handed_on() -> None:
    given_variables = {
        "HTTP_PROXY": "a",
        "no_proxy": "b",
        "My_Proxy_Thing": "c",
        "CONTAINERD_LOG_LEVEL": "d",
        "RKE2_TOKEN": "secret",
        "PATH": "/bin",
    }
    handed_on = environment.for_pods_and_containerd(given_variables)
    assert set(handed_on) == {"HTTP_PROXY", "no_proxy", "My_Proxy_Thing", "CONTAINERD_LOG_LEVEL"}
