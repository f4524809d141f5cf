from __future__ import annotations

import pytest

from imagesdk.transport.addresses import is_public, may_be_fetched

PUBLIC = [
    "8.8.8.8",
    "104.18.7.192",
    "2606:4700::6812:7c0",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]
PRIVATE = [
    "127.0.0.1",
    "127.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.10",
    "100.64.0.1",
    "::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::127.0.0.1",
]
NOWHERE = [
    "0.0.0.0",  # noqa: S104 - Linux takes it for 127.0.0.1
    "169.254.169.254",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "168.63.129.16",
    "100.100.100.200",
    "198.18.0.1",
    "64:ff9b::169.254.169.254",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "2002:7f00:1::",
    "2001:0:1::1",
    "64:ff9b:1::1",
    "fec0::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """What is in the internet may be fetched, wherever the API is."""
    assert is_public(address)
    for api in ((), ("8.8.4.4",), ("127.0.0.1",)):
        assert may_be_fetched(address, api)


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    """What is loopback or private may be fetched if the API is there, too; also where one of its addresses is."""
    assert not is_public(address)
    assert not may_be_fetched(address, ())
    assert not may_be_fetched(address, ("8.8.8.8", "2606:4700::1"))
    assert may_be_fetched(address, ("127.0.0.1",))
    assert may_be_fetched(address, ("8.8.8.8", "192.168.1.1"))


@pytest.mark.parametrize("address", NOWHERE)
def test_nowhere(address: str) -> None:
    """Link-local services, multicast and forms that lead anywhere are fetched from the API's own host only."""
    assert not is_public(address)
    for api in ((), ("8.8.8.8",), ("127.0.0.1",), ("10.0.0.1",)):
        assert not may_be_fetched(address, api)
    assert may_be_fetched(address, (address,))
