"""The addresses of the API servers in etcd, for servers that have nothing else to find them by."""

import pytest

from rke2_units.cluster_names import API_ADDRESSES_KEY
from rke2_units.controllers.api_addresses import ApiAddresses
from tests.unit.controllers.conftest import Cluster


@pytest.fixture
def addresses(cluster: Cluster) -> ApiAddresses:
    return ApiAddresses(lambda: cluster.etcd, cluster.client)


def written(cluster: Cluster) -> tuple[str, int]:
    value = cluster.etcd.values[API_ADDRESSES_KEY]
    return value.text, value.revision


def test_they_are_written_as_a_list_whenever_they_are_others(
    cluster: Cluster, addresses: ApiAddresses
) -> None:
    addresses.step()
    addresses.step()
    assert written(cluster) == ('["192.0.2.1:6443"]', 1)
    cluster.set_api_servers("2001:db8::2", "192.0.2.1")
    addresses.step()
    assert written(cluster) == ('["192.0.2.1:6443","[2001:db8::2]:6443"]', 2)


def test_what_is_right_already_is_not_written_again(cluster: Cluster, addresses: ApiAddresses) -> None:
    cluster.etcd.put(API_ADDRESSES_KEY, '["192.0.2.1:6443"]')
    addresses.step()
    assert written(cluster) == ('["192.0.2.1:6443"]', 1)


def test_who_gets_the_lease_again_looks_again(cluster: Cluster, addresses: ApiAddresses) -> None:
    addresses.step()
    cluster.etcd.put(API_ADDRESSES_KEY, "[]")
    addresses.step()
    assert written(cluster) == ("[]", 2)
    addresses.forget()
    addresses.step()
    assert written(cluster) == ('["192.0.2.1:6443"]', 3)
