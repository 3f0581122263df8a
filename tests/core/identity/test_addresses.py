"""Addresses: little may be dialled that was not declared, and some never."""

from __future__ import annotations

import pytest

from broker.core.identity.addresses import refused

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "8.8.8.8"]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.1.1",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]
NEVER = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "169.254.170.2",
    "100.100.100.200",
    "fd00:ec2::254",
    "169.254.169.123",
    "169.254.170.23",
    "169.254.0.23",
    "fd00:ec2::23",
    "fd20:ce::254",
    "168.63.129.16",
    "192.0.0.192",
    "192.88.99.1",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b:1::a9fe:a9fe",
    "2001:0:a9fe:a9fe::",
    "fec0::1",
    "5f00::1",
    "0.0.0.0",  # noqa: S104
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_dialled(address) -> None:
    assert not refused(address, allow_private=False)
    assert not refused(address, allow_private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_may_be_dialled_only_where_it_was_declared(address) -> None:
    assert refused(address, allow_private=False)
    assert not refused(address, allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_metadata_and_special_addresses_are_never_dialled(address) -> None:
    assert refused(address, allow_private=False)
    assert refused(address, allow_private=True)
