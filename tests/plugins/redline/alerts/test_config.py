"""The file of alert channels: what it means, and the line of every fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from redline.alerts import channels
from redline.alerts.channels import Channel
from redline.alerts.rules import read_rules
from redline.errors import SettingError

GOOD = """\
channels:
  risk:
    kind: email
    language: zh
    host: mail.example.com
    user: redline
    password: ${MAIL_PASSWORD}
    from: Redline <redline@example.com>
    to: [a@example.com, b@example.com]
    appeal: 请在商家后台申诉
    appeal_days: 7
  tickets:
    kind: webhook
    url: ${TICKETS_URL}
    secret: ${TICKETS_SECRET}
    allow_private: true
  chat: {kind: feishu, token: "${CHAT_TOKEN}"}
"""


def read(folder: Path, text: str) -> tuple[Channel, ...]:
    path = folder / "alerts.yml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path).channels


def test_a_file_of_channels_means_what_it_says(tmp_path: Path) -> None:
    risk, tickets, chat = read(tmp_path, GOOD)

    assert (risk.name, risk.kind, risk.language, risk.appeal_days) == ("risk", "email", "zh", 7)
    assert risk.options["to"] == ("a@example.com", "b@example.com")
    assert (risk.options["security"], risk.options["port"]) == ("starttls", 587)
    assert tickets.options["allow_private"] is True
    assert (chat.language, chat.appeal) == ("en", None)


def test_a_secret_is_only_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = read(tmp_path, GOOD)[2]
    with pytest.raises(SettingError, match=r"CHAT_TOKEN is not set \(.*alerts.yml, line 17\)"):
        channels.check(chat)
    monkeypatch.setenv("CHAT_TOKEN", "t0ken")
    channels.check(chat)
    assert "t0ken" not in repr(chat)


@pytest.mark.parametrize(
    ("change", "line", "told"),
    [
        (("kind: email", "kind: pager"), 3, "unknown kind 'pager'"),
        (("    kind: email\n", ""), 3, "channel risk has no kind"),
        (("language: zh", "language: fr"), 4, "unknown language 'fr'"),
        (("host: mail", "hots: mail"), 5, "'hots' means nothing"),
        (("    host: mail.example.com\n", ""), 3, "channel risk has no host"),
        (("    user: redline\n", ""), 3, "half a login"),
        (("user: redline", "security: none\n    user: redline"), 3, "in the clear"),
        (("${MAIL_PASSWORD}", "s3cret"), 7, "password must not stand in the file"),
        (("${MAIL_PASSWORD}", "[s3cret]"), 7, "password must not stand in the file"),
        (("b@example.com", "b"), 9, "to is no e-mail address"),
        (("appeal_days: 7", "appeal_days: soon"), 11, "appeal_days is no count"),
        (("${TICKETS_URL}", "https://s3cret"), 14, "url must not stand in the file"),
        (("allow_private: true", "allow_private: yes"), 16, "unknown allow_private 'yes'"),
        (("allow_private: true", "token: x"), 16, "'token' means nothing in channel tickets"),
        (("  chat:", "  risk:"), 17, "'risk' stands twice"),
        (("  chat: {", "  chat: [{"), None, "not YAML"),
        (("  chat:", "  'a b':"), 17, "no name for a channel"),
        (("kind: feishu,", 'kind: feishu, base: "ftp://x",'), 17, "base is no web address"),
    ],
)
def test_a_fault_is_named_with_its_line_and_without_a_secret(
    tmp_path: Path, change: tuple[str, str], line: int | None, told: str
) -> None:
    assert GOOD.count(change[0]) == 1
    with pytest.raises(SettingError) as refused:
        read(tmp_path, GOOD.replace(*change))
    assert told in str(refused.value)
    assert "s3cret" not in str(refused.value)
    if line is not None:
        assert f"alerts.yml, line {line})" in str(refused.value)


@pytest.mark.parametrize("text", ["", "channels:", "channels: {}", "channels: [a]", "chanels: {}"])
def test_a_file_that_names_no_channel_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingError):
        read(tmp_path, text)
    with pytest.raises(SettingError, match="cannot be read"):
        read_rules(tmp_path / "absent.yml")
    with pytest.raises(SettingError, match="absolute"):
        read_rules(Path("alerts.yml"))
