"""etcdctl's command lines and answers; these answers are those of etcdctl 3.4."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.lean.etcd import Etcd, EtcdError, Member, parse_members

LEARNER = {"ID": 10242504823934533253, "peerURLs": ["https://192.0.2.2:2380"], "isLearner": True}
VOTER = {
    "ID": 11417610130673999598,
    "name": "node-1-0000000a",
    "peerURLs": ["https://192.0.2.1:2380"],
    "clientURLs": ["https://192.0.2.1:2379"],
}
HEADER = {"cluster_id": 14443903163313418560, "member_id": 11417610130673999598, "raft_term": 2}


class Etcdctl:
    """A program that keeps what it is given and answers what a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "etcdctl"
        self.path.write_text(
            f'#!/bin/sh\ncd {folder}\nprintf "%s\\n" "$@" >arguments\nenv >environment\ncat >request\n'
            "cat answer\ncat errors >&2\nexit $(cat code)\n"
        )
        self.path.chmod(0o755)
        self.answers("{}")

    def answers(self, answer: object, errors: str = "", code: int = 0) -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        (self.folder / "answer").write_text(text)
        (self.folder / "errors").write_text(errors)
        (self.folder / "code").write_text(str(code))

    @property
    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text().splitlines()

    @property
    def request(self) -> str:
        return (self.folder / "request").read_text()


@pytest.fixture
def etcdctl(tmp_path: Path) -> Etcdctl:
    return Etcdctl(tmp_path)


@pytest.fixture
def etcd(etcdctl: Etcdctl) -> Etcd:
    return Etcd(
        str(etcdctl.path), ["https://a:2379", "https://b:2379"], authority="ca", certificate="c", key="k"
    )


def shown(member: Member) -> tuple[object, ...]:
    return (member.identifier, member.name, member.peer_urls, member.client_urls, member.is_learner)


def test_members_are_read_as_etcd_lists_them(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"header": HEADER, "members": [LEARNER, VOTER]})
    learner, voter = etcd.members()
    assert shown(learner) == (10242504823934533253, "", ("https://192.0.2.2:2380",), (), True)
    assert (voter.name, voter.node, voter.is_learner) == ("node-1-0000000a", "node-1", False)
    assert voter.client_urls == ("https://192.0.2.1:2379",)


def test_every_question_says_who_asks_whom_and_for_how_long(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"members": []})
    etcd.members()
    assert etcdctl.arguments == [
        "--endpoints=https://a:2379,https://b:2379",
        "--cacert=ca",
        "--cert=c",
        "--key=k",
        "--dial-timeout=2s",
        "--command-timeout=5s",
        "--write-out=json",
        "member",
        "list",
    ]


def test_the_callers_environment_does_not_reach_etcdctl(
    etcdctl: Etcdctl, etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDCTL_ENDPOINTS", "https://elsewhere")
    etcdctl.answers({"members": []})
    etcd.members()
    environment = (etcdctl.folder / "environment").read_text()
    assert "ETCDCTL_API=3" in environment and "ETCDCTL_ENDPOINTS" not in environment


def test_members_are_changed_by_name_url_and_id(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"header": HEADER, "member": LEARNER, "members": [LEARNER, VOTER]})
    assert len(etcd.add_learner("node2-0000000b", "https://192.0.2.2:2380")) == 2
    assert etcdctl.arguments[-5:] == [
        "member", "add", "node2-0000000b", "--learner", "--peer-urls=https://192.0.2.2:2380",
    ]  # fmt: skip
    etcdctl.answers("Member 1 promoted in cluster 2")
    etcd.promote(10242504823934533253)
    assert etcdctl.arguments[-3:] == ["member", "promote", "8e24afdec8d7be85"]
    etcd.remove(11417610130673999598)
    assert etcdctl.arguments[-3:] == ["member", "remove", "9e737febb6b99eee"]


def test_an_index_is_read_from_the_status_of_one_member(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers([{"Endpoint": "https://a:2379", "Status": {"header": HEADER, "raftAppliedIndex": 7}}])
    assert etcd.applied_index() == 7
    etcdctl.answers([])
    with pytest.raises(EtcdError, match="status"):
        etcd.applied_index()


def test_a_status_leaves_out_what_is_not_so(etcdctl: Etcdctl, etcd: Etcd) -> None:
    answer = {"header": HEADER, "dbSize": 28672, "dbSizeInUse": 16384}
    etcdctl.answers([{"Endpoint": "https://a:2379", "Status": answer}])
    status = etcd.status()
    assert (status.size, status.applied_index, status.is_learner) == (28672, 0, False)
    etcdctl.answers([{"Endpoint": "https://a:2379", "Status": {**answer, "isLearner": True}}])
    assert etcd.status().is_learner
    etcdctl.answers([{"Endpoint": "https://a:2379", "Status": {"dbSize": "large"}}])
    with pytest.raises(EtcdError, match="status"):
        etcd.status()


def test_a_snapshot_is_of_one_member_and_may_take_as_long_as_it_grows(etcdctl: Etcdctl, etcd: Etcd) -> None:
    ticks = []
    etcd.save_snapshot("/backup/name.part", lambda: ticks.append(1))
    assert etcdctl.arguments == [
        "--endpoints=https://a:2379",
        "--cacert=ca",
        "--cert=c",
        "--key=k",
        "--dial-timeout=2s",
        "snapshot",
        "save",
        "/backup/name.part",
    ]
    assert ticks
    etcdctl.answers("", "Error: write /backup/name.part.part: no space left on device\n", 5)
    with pytest.raises(EtcdError, match="^write .* no space left on device$"):
        etcd.save_snapshot("/backup/name.part", lambda: None)


def test_a_key_is_read_with_its_revision(etcdctl: Etcdctl, etcd: Etcd) -> None:
    entry = {"key": "L2Jvb3RzdHJhcC94", "create_revision": 2, "mod_revision": 3, "version": 2}
    etcdctl.answers({"header": HEADER, "kvs": [entry | {"value": "YWJjOmQrLz0="}], "count": 1})
    found = etcd.get("/bootstrap/x")
    assert found and (found.text, found.revision) == ("abc:d+/=", 3)
    # An empty value is left out by etcdctl.
    etcdctl.answers({"header": HEADER, "kvs": [entry], "count": 1})
    found = etcd.get("/bootstrap/x")
    assert found and (found.text, found.revision) == ("", 3)
    etcdctl.answers({"header": HEADER})
    assert etcd.get("/bootstrap/x") is None
    assert etcd.keys("/bootstrap/") == []
    etcdctl.answers({"header": HEADER, "kvs": [entry], "count": 1})
    assert etcd.keys("/bootstrap/") == ["/bootstrap/x"]


def test_a_value_is_written_over_standard_input_and_under_a_condition(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"header": HEADER, "succeeded": True})
    assert etcd.write("/bootstrap/x", "0011:abc+/=", 5, remove=("/bootstrap/y",))
    assert etcdctl.request == (
        'mod("/bootstrap/x") = "5"\n\nput "/bootstrap/x" "0011:abc+/="\ndel "/bootstrap/y"\n\n\n'
    )
    assert etcdctl.arguments[-1] == "txn"
    assert not any("0011" in argument for argument in etcdctl.arguments)


def test_who_was_slower_has_written_nothing(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"header": HEADER})
    assert not etcd.write("k", "", 0)


@pytest.mark.parametrize("value", ['a"b', "a'b", "a`b", "a\\b", "a\nput x y"])
def test_what_would_end_a_word_of_a_transaction_is_not_sent(etcd: Etcd, value: str) -> None:
    with pytest.raises(ValueError, match="quotation"):
        etcd.write("k", value, 0)


def test_a_refusal_is_told_in_etcds_words(etcdctl: Etcdctl, etcd: Etcd) -> None:
    words = '{"level":"warn","msg":"retrying"}\nError: etcdserver: too many learner members in cluster\n'
    etcdctl.answers("", words, 1)
    with pytest.raises(EtcdError, match="^etcdserver: too many learner members in cluster$"):
        etcd.add_learner("a-0000000a", "https://192.0.2.2:2380")
    etcdctl.answers("no JSON")
    with pytest.raises(EtcdError, match="member list did not answer with JSON"):
        etcd.members()


def test_a_missing_etcdctl_is_an_error_of_etcd(tmp_path: Path) -> None:
    with pytest.raises(EtcdError, match="is not there"):
        Etcd(str(tmp_path / "none"), []).members()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {},
    optional={key: json_values for key in ("ID", "name", "peerURLs", "clientURLs", "isLearner")},
)


@given(json_values | st.fixed_dictionaries({"members": st.lists(entries | json_values, max_size=3)}))
def test_whatever_is_sent_as_members_is_either_some_or_refused(answer: object) -> None:
    try:
        members = parse_members(answer)
    except EtcdError:
        return
    for member in members:
        assert isinstance(member.identifier, int) and isinstance(member.name, str)
        assert all(isinstance(url, str) for url in (*member.peer_urls, *member.client_urls))


def test_a_value_is_put_over_standard_input(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"header": HEADER})
    etcd.put("rke2/apiaddresses", '["192.0.2.1:6443"]')
    assert etcdctl.arguments[-3:] == ["--write-out=json", "put", "rke2/apiaddresses"]
    assert etcdctl.request == '["192.0.2.1:6443"]'


def test_a_key_is_removed_and_a_member_moved(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"header": HEADER})
    etcd.delete("rke2/apiaddresses")
    assert etcdctl.arguments[-3:] == ["--write-out=json", "del", "rke2/apiaddresses"]
    etcdctl.answers("Member 8e24afdec8d7be85 updated in cluster 2")
    etcd.move(0x8E24AFDEC8D7BE85, "https://192.0.2.9:2380")
    assert etcdctl.arguments[-4:] == [
        *("member", "update", "8e24afdec8d7be85", "--peer-urls=https://192.0.2.9:2380")
    ]


def test_sockets_are_found_in_their_folder(etcdctl: Etcdctl, tmp_path: Path) -> None:
    etcdctl.answers({"header": HEADER})
    folder = tmp_path / "sockets"
    folder.mkdir()
    Etcd(str(etcdctl.path), ["unix://client:0"], folder=str(folder)).delete("key")
    assert f"OLDPWD={folder}" in (etcdctl.folder / "environment").read_text()


def test_a_range_is_counted_at_a_revision_without_reading_it(etcdctl: Etcdctl, etcd: Etcd) -> None:
    entry = {"key": "L2Jvb3RzdHJhcC94", "create_revision": 2, "mod_revision": 3, "version": 2}
    etcdctl.answers({"header": HEADER | {"revision": 9}, "kvs": [entry], "more": True, "count": 4})
    found = etcd.count("/a", "/b", revision=7)
    assert (found.number, found.first, found.written, found.revision) == (4, "/bootstrap/x", 3, 9)
    assert etcdctl.arguments[-6:] == ["get", "/a", "/b", "--keys-only", "--limit=1", "--rev=7"]
    # Without an end.
    etcdctl.answers({"header": HEADER | {"revision": 9}})
    found = etcd.count("")
    assert (found.number, found.first, found.written) == (0, "", 0)
    assert etcdctl.arguments[-6:] == ["get", "", "--from-key", "--keys-only", "--limit=1", "--rev=0"]
    etcdctl.answers([])
    with pytest.raises(EtcdError, match="no count"):
        etcd.count("/a", "/b")


def test_a_request_may_take_longer(etcdctl: Etcdctl, etcd: Etcd) -> None:
    etcdctl.answers({"members": []})
    etcd.patience = 60
    etcd.members()
    assert etcdctl.arguments[4:6] == ["--dial-timeout=12s", "--command-timeout=30s"]


def test_a_range_is_read_with_its_values(etcdctl: Etcdctl, etcd: Etcd) -> None:
    entries = [{"key": "L2E=", "value": "eA=="}, {"key": "L2I="}]
    etcdctl.answers({"header": HEADER, "kvs": entries, "more": True, "count": 9})
    assert etcd.range("/a", "/c", 2) == [("/a", "x"), ("/b", "")]
    assert etcdctl.arguments[-4:] == ["get", "/a", "/c", "--limit=2"]
    etcdctl.answers({"header": HEADER})
    assert etcd.range("/a", "/c", 2) == []
