"""The marketplaces to be taken in: an Airflow connection each, a platform each.

`REDLINE_MARKETPLACES` names the connections. A connection's records are kept under the platform
that its address asks for (`?platform=`), else under the connection's name. The one called
`marketplace`, which is there without any setting, takes its address's scheme instead: so a
marketplace keeps its platform when others are added beside it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from redline.errors import SettingError

# The connection that is there without any setting.
CONNECTION = "marketplace"

# A platform names folders and rows. `all` and `*` are the words for every platform.
_PLATFORM = re.compile(r"[a-z0-9][a-z0-9_-]*")
_EVERY_PLATFORM = "all"
# Where one address of several ends: a folder's name may hold a space.
_BETWEEN = re.compile(r"\s+(?=[a-z][a-z0-9+.-]*://)")


@dataclass(frozen=True)
class Marketplace:
    """A marketplace.

    Attributes:
        name: of its Airflow connection and, where there are several, of its task group.
        address: of its source, with its platform; empty where no address is known.
    """

    name: str
    address: str

    @property
    def platform(self) -> str:
        """The name under which its records are kept; the connection's where there is no address."""
        parts = urlsplit(self.address)
        return dict(parse_qsl(parts.query)).get("platform") or parts.scheme or self.name


def is_platform_name(text: str) -> bool:
    """Whether records can be kept under a name: it names a folder, and is not for all platforms."""
    return bool(_PLATFORM.fullmatch(text)) and text != _EVERY_PLATFORM


def variable(name: str) -> str:
    """The environment variable from which Airflow takes a connection."""
    return f"AIRFLOW_CONN_{name.upper()}"


def connected(name: str, address: str) -> Marketplace:
    """The marketplace of a connection, whose platform is the connection's name by default."""
    if name == CONNECTION or not address or "platform" in dict(parse_qsl(urlsplit(address).query)):
        return Marketplace(name, address)
    before, mark, fragment = address.partition("#")
    joint = "&" if "?" in before else "?"
    return Marketplace(name, f"{before}{joint}platform={name}{mark}{fragment}")


def asked_for(
    text: str, names: Sequence[str], environ: Mapping[str, str], default: str
) -> list[Marketplace]:
    """The marketplaces that a command line asks for.

    Args:
        text: SOURCE: addresses or names of connections, separated by spaces; empty: all
            connections.
        names: of all connections.
        environ: where their addresses are; one that is not there has an empty address.
        default: the address where there is neither SOURCE nor any setting.

    Raises:
        SettingError: two addresses are of the same platform.
    """
    words = text.split()
    if words and not {*words} <= {*names}:
        addresses = _BETWEEN.split(text.strip())
        if len(addresses) == 1:
            return [Marketplace(CONNECTION, addresses[0])]
        found = [Marketplace(CONNECTION, address) for address in addresses]
        refuse_alike(found)
        return [Marketplace(each.platform, each.address) for each in found]
    found = [
        connected(name, environ.get(variable(name), "").strip())
        for name in dict.fromkeys(words or names)
    ]
    if not words and [each.name for each in found] == [CONNECTION] and not found[0].address:
        return [Marketplace(CONNECTION, default)]
    refuse_alike(found)
    return found


def no_source(name: str) -> SettingError:
    """The error of a connection that has no address."""
    return SettingError(
        "no source is set",
        f"Airflow connection '{name}'",
        f"set {variable(name)} to an address such as files:///data/{name}",
    )


def refuse_alike(marketplaces: Iterable[Marketplace]) -> None:
    """Refuse two marketplaces of one platform: the records of one would correct the other's.

    Raises:
        SettingError: naming them.
    """
    by_platform: dict[str, list[str]] = defaultdict(list)
    for each in marketplaces:
        if each.address:
            by_platform[each.platform].append(each.name)
    for platform, names in by_platform.items():
        if len(names) > 1:
            of = "" if len({*names}) == 1 else f": {' and '.join(names)}"
            raise SettingError(
                f"{len(names)} marketplaces are of one platform, '{platform}'{of}",
                "SOURCE or REDLINE_MARKETPLACES",
                "give each a name of its own, by ?platform=name in its address",
            )
