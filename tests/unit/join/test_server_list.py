import json
import socket
from pathlib import Path

import pytest

from rke2_units.join import server_list
from rke2_units.model import ServerList

TWO = ServerList(("10.0.0.1:9345", "10.0.0.2:9345"), ("10.0.0.1:6443", "10.0.0.2:6443"))


def endpoints(*addresses: str, port: int = 6443) -> dict[str, object]:
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    return {"subsets": [{"addresses": [{"ip": address} for address in addresses], "ports": ports}]}


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = server_list.file(str(tmp_path / "list.json"), TWO)
    (tmp_path / "list.json").write_text(file.content)
    assert file.mode == 0o600
    assert server_list.read(file.path) == TWO


@pytest.mark.parametrize("text", ["", "{", "[]", '{"servers": 1}', '{"servers": [["a:1"], 2, null]}'])
def test_a_list_that_is_missing_or_damaged_is_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    assert server_list.read(str(path)) == ServerList()
    path.write_text(text)
    assert server_list.read(str(path)) == ServerList()


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.1",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        ":9345",
        "10.0.0.1:9345\n",
        "10.0.0.1:9345 check",
        "server a 10.0.0.1:9345",
        "*.example:9345",
        "2001:db8::1:9345x",
        "[10.0.0.1]:9345",
    ],
)
def test_what_is_no_address_of_a_server_never_gets_into_the_list(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"servers": [entry, "10.0.0.2:9345"], "apiservers": [entry]}))
    assert server_list.read(str(path)) == ServerList(("10.0.0.2:9345",))
    assert server_list.of_apiservers([entry]) == ServerList()


def test_a_supervisor_is_beside_each_api_server() -> None:
    assert server_list.of_apiservers(["10.0.0.2:6443", "10.0.0.1:6443", "10.0.0.1:6443"]) == TWO
    assert server_list.of_apiservers(["[2001:db8::1]:6443"]).servers == ("[2001:db8::1]:9345",)


def test_a_server_names_api_servers_by_address_only() -> None:
    assert server_list.of_apiservers(["api.example:6443"]) == ServerList()


def test_endpoints_of_the_api_tell_all_servers() -> None:
    assert server_list.of_endpoints(endpoints("10.0.0.2", "10.0.0.1")) == TWO
    six = server_list.of_endpoints(endpoints("2001:db8::1", port=7443))
    assert six == ServerList(("[2001:db8::1]:9345",), ("[2001:db8::1]:7443",))


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        {"subsets": None},
        {"subsets": [{"addresses": None, "ports": None}]},
        {"subsets": [{"addresses": [{}], "ports": []}]},
    ],
)
def test_endpoints_without_addresses_tell_none(broken: object) -> None:
    assert server_list.of_endpoints(broken) == ServerList()


def test_a_join_url_is_a_server_without_a_port_too() -> None:
    known = ServerList(("one.example:9345",), ("one.example:6443",), ("one.example:2379",))
    assert server_list.of_url("https://one.example") == known
    assert server_list.of_url("https://[2001:db8::1]:9000").servers == ("[2001:db8::1]:9000",)


def test_a_join_url_is_looked_up_for_the_addresses_that_it_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", ("192.0.2.9", 9345)), (0, 0, 0, "", ("2001:db8::9", 9345, 0, 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [*found, found[0]])
    assert server_list.looked_up("https://registration.test:9345") == ServerList(
        ("192.0.2.9:9345", "[2001:db8::9]:9345"), ("192.0.2.9:6443", "[2001:db8::9]:6443")
    )


def test_a_join_url_that_leads_nowhere_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", nobody)
    known = server_list.of_apiservers(["10.0.0.1:6443"])
    assert server_list.united(known, server_list.looked_up("https://registration.test:9345")) == known


def test_known_servers_are_asked_before_the_configured_one() -> None:
    url = "https://one.example:9345"
    assert server_list.urls(TWO, url) == ("https://10.0.0.1:9345", "https://10.0.0.2:9345", url)
    assert server_list.urls(ServerList(("one.example:9345",)), url) == (url,)
    assert server_list.urls(ServerList(), "") == ()


def test_members_are_known_by_the_hosts_of_their_client_urls() -> None:
    urls = ("https://10.0.0.2:2379", "https://[2001:db8::1]:2379", "https://10.0.0.1", "https://[", "x", "")
    assert server_list.of_members(urls).members == ("10.0.0.1:2379", "10.0.0.2:2379", "[2001:db8::1]:2379")


def test_a_list_with_members_survives_a_restart(tmp_path: Path) -> None:
    known = ServerList(members=("10.0.0.1:2379",))
    path = tmp_path / "list.json"
    path.write_text(server_list.file(str(path), known).content)
    assert server_list.read(str(path)) == known
