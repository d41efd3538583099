"""Which addresses a caller's URL may lead to."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.addresses import is_public

PUBLIC = ["1.1.1.1", "93.184.216.34", "192.88.98.1", "168.63.129.17", "100.128.0.1", "2606:2800:21f::1"]
PUBLIC += ["2a00:1450:4001:830::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"]

NOT_PUBLIC = ["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9"]
NOT_PUBLIC += ["168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1"]
NOT_PUBLIC += ["192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1"]
NOT_PUBLIC += ["239.1.1.1", "240.0.0.1", "255.255.255.255"]
NOT_PUBLIC += ["::", "::1", "::127.0.0.1", "::8.8.8.8", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1"]
NOT_PUBLIC += ["fd00:ec2::254", "ff02::1", "100::1", "2001::1", "2001:0:808:808:0:0:f7f7:f7f7", "2001:2::1"]
NOT_PUBLIC += ["2001:db8::1", "2002:808:808::1", "2002:7f00:1::", "3fff::1", "4000::1", "5f00::1"]
NOT_PUBLIC += ["::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"]
NOT_PUBLIC += ["64:ff9b::127.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "2606:2800:21f::1%1"]


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text):
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_not_public(text):
    assert not is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
@example(ipaddress.IPv4Address("169.254.169.254"))
@example(ipaddress.IPv4Address("8.8.8.8"))
def test_ipv4_in_ipv6_clothes_is_judged_alike(address):
    for prefix in ("::ffff:", "64:ff9b::"):
        assert is_public(ipaddress.IPv6Address(f"{prefix}{address}")) == is_public(address)
    assert not is_public(ipaddress.IPv6Address(f"::{address}"))
    assert not is_public(ipaddress.IPv6Address(f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1"))


@given(st.ip_addresses())
def test_nothing_special_is_ever_public(address):
    if is_public(address):
        plain = getattr(address, "ipv4_mapped", None) or address
        assert not plain.is_private
        assert not plain.is_loopback
        assert not plain.is_link_local
        assert not plain.is_multicast
        assert not plain.is_unspecified
