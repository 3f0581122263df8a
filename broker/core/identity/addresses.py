"""Addresses that nobody may be sent to, or only where somebody declared them.

A name that anybody can change must not lead to the machine's own services, to the
cloud's metadata, or to the network behind it.

Source: RFC 6890 (special-purpose addresses); RFC 6052 and 4291 (IPv4 inside IPv6).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# What clouds tell their machines, credentials among it: never an upstream, not even a
# declared one. Beside the usual 169.254.169.254: containers and pods (.170.2, .170.23),
# Tencent (.0.23), Alibaba (100.100.100.200), Azure's host agent (168.63.129.16),
# Oracle's older one (192.0.0.192), AWS and Google over IPv6.
_NEVER = tuple(
    ip_network(text)
    for text in (
        "169.254.169.0/24",
        "169.254.170.0/24",
        "169.254.0.23/32",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "fd00:ec2::/32",
        "fd20:ce::/32",
    )
)
_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "100.64.0.0/10",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
_NAT64 = ip_network("64:ff9b::/96")
# All of IPv6 that was ever given to anybody (RFC 4291, IANA): what lies beside it leads
# to IPv4 by a way of its own, or nowhere.
_GLOBAL_6 = ip_network("2000::/3")


def refused(text: str, *, allow_private: bool) -> bool:
    """Return whether an address may not be dialled.

    Args:
        text: The address, as a resolver gives it.
        allow_private: Loopback, private and link-local ones were declared.
    """
    address = _plain(ip_address(text))
    if address.is_multicast or address.is_unspecified:
        return True
    if any(address in network for network in _NEVER):
        return True
    if any(address in network for network in _PRIVATE):
        return not allow_private
    if address.version == 6 and address not in _GLOBAL_6:  # noqa: PLR2004
        return True
    return not address.is_global


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one carries, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
