"""By which subject a server is known."""

import pytest

from rke2_units.lean.server_certificate import is_servers

COMMON_NAME, ORGANIZATION = (("commonName", "rke2"),), (("organizationName", "rke2"),)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ((ORGANIZATION, COMMON_NAME), True),  # RKE2's order, and ours
        ((COMMON_NAME, ORGANIZATION), True),
        # A kubelet's, also of a node that is called so.
        ((COMMON_NAME,), False),
        (((("commonName", "evil"),),), False),
        ((ORGANIZATION,), False),
        ((ORGANIZATION, COMMON_NAME, (("organizationalUnitName", "x"),)), False),
        ((ORGANIZATION, COMMON_NAME, COMMON_NAME), False),
        ((), False),
    ],
)
def test_a_server_is_known_by_its_whole_subject(
    subject: tuple[tuple[tuple[str, str], ...], ...], expected: bool
) -> None:
    assert is_servers({"subject": subject, "subjectAltName": (("DNS", "rke2"),)}) is expected


@pytest.mark.parametrize("certificate", [None, {}, {"subjectAltName": ()}])
def test_what_was_not_verified_is_no_servers(certificate: object) -> None:
    assert not is_servers(certificate)
