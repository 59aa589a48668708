"""Only plain addresses on the internet may be called, unless all are allowed."""

import ipaddress

import pytest

from app.errors import Problem
from app.webhooks.url import check_url, is_public


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::",
        "::ffff:127.0.0.1",
        "fe80::1",
        "fc00::1",
        "::",
        "::10.0.0.1",
        "::8.8.8.8",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "64:ff9b:1:ffff::1",
        "fec0::1",
        "feff:ffff::1",
        "5f00::1",
        "100::1",
        "2001:db8::1",
        "2001:2::1",
        "2001:20::1",
        "2002:808:808::1",
        "3fff::1",
        "4000::1",
        "192.0.0.1",
        "192.0.0.9",
        "192.0.0.255",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
        "240.0.0.1",
        "255.255.255.255",
        "::ffff:192.0.0.8",
        "ff02::1",
    ],
)
def test_disguises_of_private_addresses(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "http://example.com:0/",
        "http:///x",
        "example.com",
        "http://user:pass@example.com/",
        "http://example.com/#x",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest",
        "http://0.0.0.0/",
        "https://example.com/" + "x" * 2000,
        "http://exa mple.com/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://[::1/",
        "",
    ],
)
def test_bad_addresses(url):
    with pytest.raises(Problem) as caught:
        check_url(url, enabled=True, private=False)
    assert caught.value.members["code"] == "webhook_invalid"
    assert caught.value.members["field"] == "webhook_url"


def test_a_service_without_a_secret_names_the_setting_that_is_missing():
    with pytest.raises(Problem, match="CONVPRESS_WEBHOOK_SECRET") as caught:
        check_url("https://example.com/", enabled=False, private=False)
    assert caught.value.members["expected"] == "no webhook_url"


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hook?x=1", "http://bücher.example:8080/", "http://8.8.8.8/"],
)
def test_good_addresses(url):
    assert check_url(url, enabled=True, private=False) == url


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "192.0.1.1", "2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1"],
)
def test_addresses_of_the_internet(address):
    assert is_public(ipaddress.ip_address(address))
