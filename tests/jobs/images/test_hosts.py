"""Tests of the addresses from which photos may be fetched."""

import asyncio

import pytest

from jobs.images.hosts import CheckedResolver, ForbiddenAddressError, HostRules, is_public
from schemas.uri import mask_query

PUBLIC = HostRules.build(("https://cdn.shop.example",))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "localhost", "",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://other.example/a.jpg", "not under an allowed root"),
        ("https://cdn.shop.example.evil.example/a.jpg", "not under an allowed root"),
        ("https://user:secret@cdn.shop.example/a.jpg", "user name or password"),
        ("file:///etc/passwd", "not under an allowed root"),
        ("https://[broken/a.jpg", "no valid address"),
        ("https://cdn.shop.example:port/a.jpg", "no valid address"),
    ],
)
def test_refused_urls(url: str, problem: str) -> None:
    with pytest.raises(ForbiddenAddressError, match=problem) as caught:
        PUBLIC.check_url(url)
    assert "secret" not in str(caught.value)


def test_a_private_address_counts_only_where_a_root_or_a_setting_names_it() -> None:
    with pytest.raises(ForbiddenAddressError, match="MOON_PRIVATE_HOSTS"):
        HostRules(("http://10.0.0.5",)).check_url("http://10.0.0.5/a.jpg")
    HostRules.build(("http://10.0.0.5",)).check_url("http://10.0.0.5/a.jpg")
    with pytest.raises(ForbiddenAddressError):
        HostRules.build(("http://photos.internal",)).check_address("photos.internal", "10.0.0.5")
    HostRules.build(("http://photos.internal",), ["photos.internal"]).check_address("photos.internal", "10.0.0.5")


def test_a_name_with_a_private_address_is_refused_when_it_is_resolved() -> None:
    async def resolve(rules: HostRules) -> int:
        return len(await CheckedResolver(rules).resolve("localhost", 80))

    with pytest.raises(ForbiddenAddressError, match="private address"):
        asyncio.run(resolve(PUBLIC))
    assert asyncio.run(resolve(HostRules.build(("http://localhost:8000",)))) >= 1


def test_messages_show_no_query_and_no_user() -> None:
    assert mask_query("https://u:p@h/a.jpg?sig=1") == "https://…@h/a.jpg?…"
    assert mask_query("https://h/a@b.jpg") == "https://h/a@b.jpg"
    assert mask_query("file:///a?b.jpg") == "file:///a?b.jpg"
