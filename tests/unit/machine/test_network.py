"""The networks that a machine is connected to, as the kernel lists its routes."""

import pytest

from rke2_units.machine import network

IPV4_HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def ipv4(interface: str, destination: str, mask: str, gateway: str = "00000000", flags: str = "0001") -> str:
    return f"{interface}\t{destination}\t{gateway}\t{flags}\t0\t0\t0\t{mask}\t0\t0\t0     \n"


def ipv6(
    destination: str, length: str, interface: str, gateway: str = "0" * 32, flags: str = "00000001"
) -> str:
    return (
        f"{destination} {length} {'0' * 32} 00 {gateway} 00000100 00000001 00000000 {flags} {interface:>8}\n"
    )


def test_networks_are_what_interfaces_lead_to_directly() -> None:
    routes = IPV4_HEAD + "".join(
        (
            ipv4("eth0", "00000000", "00000000", gateway="010200C0", flags="0003"),
            ipv4("eth0", "000200C0", "00FFFFFF"),
            ipv4("wg0", "00000000", "00000080"),
            ipv4("wg0", "0000000A", "000000FF"),
            ipv4("eth0", "00002B0A", "0000FFFF", gateway="010200C0", flags="0003"),
            ipv4("eth0", "050200C0", "FFFFFFFF", flags="0005"),
            ipv4("eth0", "0000FEA9", "0000FFFF"),
            ipv4("*", "00002A0A", "C0FFFFFF", flags="0201"),
        )
    )
    routes6 = "".join(
        (
            ipv6("fd000000000000000000000000000000", "40", "eth0"),
            ipv6("fe800000000000000000000000000000", "40", "eth0"),
            ipv6("0" * 32, "00", "eth0", gateway="fd000000000000000000000000000001", flags="00000003"),
            ipv6("fd000000000000000000000000000002", "80", "eth0", flags="80200001"),
            ipv6("ff000000000000000000000000000000", "08", "eth0"),
            ipv6("0" * 32, "00", "lo", flags="00200200"),
        )
    )
    assert network.connected(routes, routes6) == (
        ("eth0", "192.0.2.0/24"),
        ("wg0", "10.0.0.0/8"),
        ("eth0", "fd00::/64"),
    )


@pytest.mark.parametrize(
    "interface",
    [
        "cni0",
        "flannel.1",
        "flannel-wg",
        "cali1234567890a",
        "vxlan.calico",
        "cilium_host",
        "kube-ipvs0",
        "tunl0",
    ],
)
def test_what_pods_are_connected_to_is_no_network_of_the_machine(interface: str) -> None:
    assert network.connected(IPV4_HEAD + ipv4(interface, "00002A0A", "00FFFFFF"), "") == ()
    assert network.connected("", ipv6("fd004200000000000000000000000000", "40", interface)) == ()


def test_a_machine_without_ipv6_has_no_such_file() -> None:
    assert network.connected(IPV4_HEAD, "") == network.connected("", "") == ()
