"""Checks the hosts of photos: public addresses are allowed, private ones only if a root or a setting names them.

Every name is resolved here, and the connection uses the address that was checked, so a later change of the name's
address has no effect. Source: docs/decisions/0043-photos-by-url.md.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from socket import AddressFamily
from urllib.parse import urlsplit

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from schemas.uri import is_under, is_web, mask_query, split_site

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """An address that photos must not be fetched from; the message is the reason."""


@dataclass(frozen=True)
class HostRules:
    """Rules for the hosts that connections are allowed to.

    Attributes:
        roots: Canonical URIs of the folders that images may come from.
        private_hosts: Names of hosts that may have private addresses.
    """

    roots: tuple[str, ...]
    private_hosts: frozenset[str] = frozenset()

    @classmethod
    def build(cls, roots: tuple[str, ...], private_hosts: Iterable[str] = ()) -> "HostRules":
        """Return the rules of a run: a root that names an address, or localhost, allows that address."""
        named = {host for host in map(get_host, filter(is_web, roots)) if host == "localhost" or _parse_address(host)}
        return cls(roots, frozenset({*named, *(host.lower() for host in private_hosts)}))

    def check_url(self, url: str) -> None:
        """Refuse a URL outside the roots, with a user name, or with a private address in place of a host's name.

        Raises:
            ForbiddenAddressError: The message has the reason; the query is masked.
        """
        try:
            site = parse_site(url)
        except ValueError as error:
            raise ForbiddenAddressError(f"{mask_query(url)} is no valid address: {error}") from error
        if site.has_user:
            raise ForbiddenAddressError("addresses with a user name or password are refused")
        if not is_web(url) or not is_under(url, self.roots):
            raise ForbiddenAddressError(f"{mask_query(url)} is not under an allowed root")
        if site.is_address:
            self.check_address(site.host, site.host)

    def check_address(self, host: str, address: str) -> None:
        """Refuse a private address unless its host may have one.

        Raises:
            ForbiddenAddressError: The message has the setting that allows it.
        """
        if host.lower() not in self.private_hosts and not is_public(address):
            raise ForbiddenAddressError(
                f"{host} has the private address {address}: if photos may come from there, name the host in "
                "MOON_PRIVATE_HOSTS"
            )


class CheckedResolver(AbstractResolver):
    """Resolves names like the system and refuses those with an address that the rules forbid.

    Args:
        rules: Rules of the run.
    """

    def __init__(self, rules: HostRules) -> None:
        self._rules = rules
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            ForbiddenAddressError: One of them is private and the name may not have such an address.
        """
        found = await self._system.resolve(host, port, family)
        for result in found:
            self._rules.check_address(host, result["host"])
        return found

    async def close(self) -> None:
        """Do nothing: the resolver holds no resources."""


@dataclass(frozen=True)
class Site:
    """The part of a web address before its path.

    Attributes:
        scheme, host, port: in lower case; the port is None for the scheme's default.
        has_user: whether a user name or password is part of it.
        is_address: whether the host is an IP address.
    """

    scheme: str
    host: str
    port: int | None
    has_user: bool
    is_address: bool


def parse_site(url: str) -> Site:
    """Return the site of a web address.

    Raises:
        ValueError: it has no valid host or port.
    """
    scheme, host, _ = split_site(url)
    return _parse_site(scheme, host)


@lru_cache(4096)  # a run has millions of addresses and few sites
def _parse_site(scheme: str, netloc: str) -> Site:
    parts = urlsplit(f"{scheme}://{netloc}")
    host = (parts.hostname or "").lower()
    has_user = parts.username is not None or parts.password is not None
    return Site(scheme.lower(), host, parts.port, has_user, _parse_address(host) is not None)


def get_host(uri: str) -> str:
    """Return the host of a web address in lower case; an empty text if it has none."""
    try:
        return parse_site(uri).host
    except ValueError:
        return ""


def is_public(address: str) -> bool:
    """Return whether an IP address is public; an IPv4 address inside an IPv6 address is checked too."""
    parsed = _parse_address(address)
    if parsed is None:
        return False
    inner = _unpack_address(parsed) if isinstance(parsed, ipaddress.IPv6Address) else None
    addresses = [parsed] if inner is None else [parsed, inner]
    return all(one.is_global and not one.is_multicast for one in addresses)


def _unpack_address(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a gateway would connect to for an IPv6 address; None for most."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
