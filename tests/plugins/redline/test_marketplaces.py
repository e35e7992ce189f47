"""Which marketplaces a command line and the settings come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redline.errors import SettingError
from redline.marketplaces import Marketplace, asked_for, connected
from redline.settings import read_settings
from redline.sources import is_platform_name, parse_address

DEFAULT = "simulator://?merchants=3"
CONNECTIONS = {
    "AIRFLOW_CONN_MARKETPLACE": "files:///data",
    "AIRFLOW_CONN_DOUYIN": "files:///douyin?missing=gap",
    "AIRFLOW_CONN_SHOPEE": "files:///shopee?platform=sea",
}
NAMES = ("marketplace", "douyin", "shopee")


def asked(text: str, names: tuple[str, ...] = NAMES) -> list[tuple[str, str, str]]:
    found = asked_for(text, names, CONNECTIONS, DEFAULT)
    return [(each.name, each.platform, each.address) for each in found]


def test_all_connections_are_taken_each_under_its_own_platform() -> None:
    assert asked("") == [
        ("marketplace", "files", "files:///data"),  # as it was before there were several
        ("douyin", "douyin", "files:///douyin?missing=gap&platform=douyin"),
        ("shopee", "sea", "files:///shopee?platform=sea"),
    ]
    assert asked("shopee") == asked("")[2:]


def test_addresses_stand_for_themselves() -> None:
    assert asked("files:///a b/c") == [("marketplace", "files", "files:///a b/c")]
    assert asked("files:///a b/c  simulator://?platform=sim") == [
        ("files", "files", "files:///a b/c"),
        ("sim", "sim", "simulator://?platform=sim"),
    ]


def test_without_any_a_marketplace_is_simulated_but_no_connection_is_made_up() -> None:
    assert asked_for(" ", ("marketplace",), {}, DEFAULT) == [Marketplace("marketplace", DEFAULT)]
    assert asked_for("", ("douyin",), {}, DEFAULT) == [Marketplace("douyin", "")]


@pytest.mark.parametrize("text", ["files:///a files:///b", "files:///a?platform=x x://b"])
def test_two_of_one_platform_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(SettingError, match="2 marketplaces are of one platform") as refused:
        asked(text)
    assert "\n" not in str(refused.value) and "platform=name" in str(refused.value)


@given(
    st.sampled_from(["simulator://", "files:///dir", "files:///dir?a=b", "simulator://?a=b&c=d"]),
    st.from_regex(r"[a-z][a-z0-9_-]{0,9}", fullmatch=True).filter(is_platform_name),
)
def test_a_connections_address_keeps_its_options_and_gains_its_platform(
    address: str, name: str
) -> None:
    found = connected(name, address)
    if name != "marketplace":
        assert parse_address(found.address).platform == found.platform == name
    assert parse_address(found.address).options == parse_address(address).options
    assert connected(name, found.address) == found


@pytest.mark.parametrize(
    ("names", "said"), [("a,B", "'B' cannot be"), ("all", "'all'"), ("a,b,a", "'a' stands")]
)
def test_names_that_cannot_be_platforms_are_refused(names: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_settings({"REDLINE_MARKETPLACES": names})
    assert read_settings({"REDLINE_MARKETPLACES": " "}).marketplaces == ("marketplace",)
