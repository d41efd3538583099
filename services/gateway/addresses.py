"""Which IP addresses belong to the public internet, so that a caller's URL can't reach anything else.

The lists follow IANA's registries of special-purpose addresses. They are written out because the `ipaddress`
module knew different parts of them in different releases; what it calls private is refused as well.
"""

from __future__ import annotations

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared, behind a carrier's NAT; some clouds' metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, from within its machines
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")  # all that was ever given out for use in the world
_REFUSED_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, among them the Teredo tunnel
        "2001:db8::/32",  # documentation
        "2002::/16",  # the 6to4 tunnel, withdrawn
        "3fff::/20",  # documentation
    )
)
# Addresses that stand for an IPv4 address, in their last 32 bits.
_MAPPED: Final = (
    ipaddress.IPv6Network("::ffff:0:0/96"),
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64: how hosts without IPv4 reach those with nothing else
)


def is_public(address: Address) -> bool:
    """Say whether an address is one that anybody on the internet could reach.

    IPv6 forms that stand for an IPv4 address are judged by that. The tunnels 6to4 and Teredo are refused
    whatever they lead to: no server of photos is there, and the far end may be inside.

    Args:
        address: As `ipaddress.ip_address` returns it.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _REFUSED_V4)
    if address.scope_id is not None:
        return False
    if any(address in network for network in _MAPPED):
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    if address not in _PUBLIC_V6 or any(address in network for network in _REFUSED_V6):
        return False
    return address.is_global
