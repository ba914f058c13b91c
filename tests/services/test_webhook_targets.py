"""Where webhooks may go: forms of URL, and every way to write the address of a machine inside (SSRF)."""

from __future__ import annotations

import pytest

from ledger.services.webhook_targets import (
    ADDRESSES_MAX,
    Target,
    TargetRefused,
    checked_addresses,
    is_public,
    parse_target,
    resolve,
)

PUBLIC = ("93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822")
INSIDE = (
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1",
    "198.51.100.7", "203.0.113.9", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "168.63.129.16",
    "::", "::1", "fe80::1", "fe80::1%eth0", "2606:4700:4700::1111%eth0", "fc00::1", "fd00:ec2::254", "fec0::1",
    "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "2002:5db8:d822::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::5db8:d822",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::5db8:d822",
    "localhost", "", "1", "127.1",
)  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken(address: str) -> None:
    """IPv4, IPv6, and an IPv4 address as a translating network writes it."""
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused(address: str) -> None:
    """Loopback, private, link-local, carrier-grade NAT, multicast, reserved, metadata, and each written as IPv6."""
    assert not is_public(address)
    with pytest.raises(TargetRefused) as refused:
        checked_addresses(target(), allow_private=False, resolver=lambda host, port: [address])
    assert refused.value.code == "address_refused"
    assert checked_addresses(target(), allow_private=True, resolver=lambda host, port: [address]) == [address]


def target(url: str = "https://alerts.example.com/in") -> Target:
    """A target as its URL gives it."""
    return parse_target(url, allow_http=True)


@pytest.mark.parametrize("inside", ["10.0.0.1", "::1"])
def test_one_address_inside_refuses_all(inside: str) -> None:
    """A name with a public and a private address could be tried until the private one is taken."""
    with pytest.raises(TargetRefused):
        checked_addresses(target(), allow_private=False, resolver=lambda host, port: ["1.1.1.1", inside])


def test_addresses_are_bounded() -> None:
    """All of them are checked, a few are used."""
    many = [f"1.1.1.{number}" for number in range(1, 100)]
    assert checked_addresses(target(), allow_private=False, resolver=lambda host, port: many) == many[:ADDRESSES_MAX]
    with pytest.raises(TargetRefused):
        checked_addresses(target(), allow_private=False, resolver=lambda host, port: [*many, "127.0.0.1"])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "[::1]"])
def test_a_number_is_no_way_around(host: str) -> None:
    """However the system's resolver reads it: what it gives is checked. What it cannot read has no address."""
    with pytest.raises(TargetRefused) as refused:
        checked_addresses(target(f"https://{host}/"), allow_private=False)
    assert refused.value.code in ("address_refused", "no_address")


def test_a_name_without_address_is_refused() -> None:
    """And says so."""

    def none(host: str, port: int) -> list[str]:
        raise OSError("nothing there")

    for resolver in (none, lambda host, port: []):
        with pytest.raises(TargetRefused) as refused:
            checked_addresses(target(), allow_private=False, resolver=resolver)
        assert refused.value.code == "no_address"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", Target(True, "a.example", 443, "/")),
        ("https://A.Example.:8443/x?y=1", Target(True, "a.example", 8443, "/x?y=1")),
        ("http://a.example", Target(False, "a.example", 80, "/")),
        ("https://a.example:80/", Target(True, "a.example", 80, "/")),
        ("https://[2606:4700:4700::1111]:9443/", Target(True, "2606:4700:4700::1111", 9443, "/")),
        ("https://xn--bcher-kva.example/", Target(True, "xn--bcher-kva.example", 443, "/")),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: Target) -> None:
    """Scheme, host, port, path with query."""
    assert parse_target(url, allow_http=True) == expected


def test_a_host_header_names_a_port_that_is_not_usual() -> None:
    """And an IPv6 address in brackets."""
    assert target("https://a.example:443/").host_header == "a.example"
    assert target("http://a.example:8080/").host_header == "a.example:8080"
    assert target("https://[2606:4700:4700::1111]/").host_header == "[2606:4700:4700::1111]"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://a.example/", "url_scheme"),
        ("ftp://a.example/", "url_scheme"),
        ("file:///etc/passwd", "url_scheme"),
        ("gopher://a.example/", "url_scheme"),
        ("//a.example/", "url_scheme"),
        ("a.example", "url_scheme"),
        ("https://user@a.example/", "url_userinfo"),
        ("https://user:word@a.example/", "url_userinfo"),
        ("https://@a.example/", "url_userinfo"),
        ("https://a.example/#x", "url_fragment"),
        ("https://a.example/#", "url_fragment"),
        ("https:///x", "url_malformed"),
        ("https://", "url_malformed"),
        ("https://a..example/", "url_malformed"),
        ("https://a.example\\@127.0.0.1/", "url_malformed"),
        ("https://a.example/\r\nx: y", "url_malformed"),
        ("https://a.example/a b", "url_malformed"),
        ("https://bücher.example/", "url_malformed"),
        ("https://a.example:99999/", "url_malformed"),
        ("https://a.example:x/", "url_malformed"),
        ("https://[fe80::1%25eth0]/", "url_malformed"),
        ("https://[nonsense]/", "url_malformed"),
        ("https://a.example/" + "x" * 2048, "url_malformed"),
        ("https://a.example:22/", "url_port"),
        ("https://a.example:25/", "url_port"),
        ("https://a.example:0/", "url_port"),
        ("https://a.example:1023/", "url_port"),
    ],
)
def test_a_url_that_is_none_of_an_endpoint_is_refused(url: str, code: str) -> None:
    """With a word for records and a sentence that says what to change."""
    with pytest.raises(TargetRefused) as refused:
        parse_target(url, allow_http=False)
    assert refused.value.code == code
    assert str(refused.value)


def test_the_resolver_asks_the_system() -> None:
    """Once each address, whatever protocols it is found for."""
    assert "127.0.0.1" in resolve("localhost", 80)
