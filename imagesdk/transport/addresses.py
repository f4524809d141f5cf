"""Which addresses an image may be fetched from, if a server named them.

A server that is not fully trusted can name any URL, also one that only this machine can reach: its own
services, its network, the metadata of its cloud (server-side request forgery,
https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html,
read 2026-11-26). So what counts is the address that is connected to, not the name that leads there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ("is_public", "may_be_fetched")

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"),
        "100.64.0.0/10",  # between providers and customers, and of overlay networks
    )
)
# Where clouds keep credentials without link-local addresses: AWS, Google, Azure, Alibaba.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html,
# https://docs.cloud.google.com/compute/docs/metadata/querying-metadata,
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16,
# https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata (read 2026-11-26)
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200"),
    )
)


def is_public(address: str) -> bool:
    """Return True if *address* is somewhere in the internet: not private, local, multicast or reserved.

    Args:
        address: IPv4 or IPv6, also with a zone. IPv4 within IPv6 counts as the IPv4 that it is.
    """
    return _is_public(_parse(address))


def may_be_fetched(address: str, api_addresses: Iterable[str]) -> bool:
    """Return True if an image may be fetched from *address*.

    Args:
        address: Where it is.
        api_addresses: Where the API is. If that is no public place, the network around it is no secret
            to the server: loopback and private addresses are allowed, but never link-local ones and
            others where clouds keep credentials (169.254.169.254).
    """
    place = _parse(address)
    if _is_public(place):
        return True
    api = [_parse(one) for one in api_addresses]
    if place in api:
        return True
    return _is_private(place) and not all(map(_is_public, api))


def _parse(address: str) -> _Address:
    place = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(place, ipaddress.IPv6Address):
        if place.ipv4_mapped is not None:
            return place.ipv4_mapped
        if place in _NAT64:
            return ipaddress.IPv4Address(int(place) & 0xFFFF_FFFF)
    return place


def _is_public(place: _Address) -> bool:
    if place in _METADATA or not place.is_global or place.is_multicast:
        return False
    # 6to4 leads to any IPv4 address, and nobody needs it any more.
    return isinstance(place, ipaddress.IPv4Address) or (
        place in _GLOBAL_UNICAST and place.sixtofour is None
    )


def _is_private(place: _Address) -> bool:
    return place not in _METADATA and any(place in network for network in _PRIVATE)
