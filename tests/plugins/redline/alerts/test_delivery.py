"""From published evenings to receivers: what arrives, in which order, and what never leaves."""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest

from redline.alerts import __main__ as command
from redline.alerts import deliver, delivery, outbox, write_alerts
from redline.alerts.channels import http
from redline.alerts.channels.cards import PLATFORMS
from redline.alerts.delivery import drain
from redline.alerts.outbox import Entry, open_outbox
from redline.alerts.rules import read_rules
from redline.errors import RedlineError, SettingError, StorageError
from redline.settings import PROJECT, Settings
from tests.plugins.redline.alerts.receivers import (
    OK,
    Answer,
    Request,
    hooks,
    http_receiver,
    made_alert,
    smtp_receiver,
)

pytestmark = pytest.mark.xdist_group("outbox")

TODAY = datetime.now(UTC).date()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and time-outs within a second."""
    monkeypatch.setattr(outbox, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(outbox, "_LONGEST_WAIT", 0.1)
    real = http.post
    monkeypatch.setattr(
        http, "post", lambda *given, **more: real(*given, **{**more, "seconds": 0.3})
    )


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret-key")
    monkeypatch.setenv("A_TOKEN", "s3cret-token")


def write_file(settings: Settings, evening: date, numbers: range) -> Path:
    """A file of alerts, as if an evening had been published."""
    path = settings.home.alerts / f"{evening}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    alerts = [{**made_alert(n, n % 7), "as_of_date": str(evening)} for n in numbers]
    path.write_text("".join(json.dumps(alert) + "\n" for alert in alerts))
    return path


@pytest.mark.usefixtures("impatient")
def test_everything_arrives_in_the_end_in_order_and_no_channel_delays_another(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[str] = Counter()
    misbehaviours: list[Answer | str] = ["hang", "die", (500, {}, b""), (429, {}, b"")]
    misbehaviours.append((429, {"Retry-After": "1"}, b""))

    def misbehave(request: Request) -> Answer | str:
        number = int(request.json["alert_id"])
        seen[request.json["alert_id"]] += 1
        if number % 4 == 0 and seen[request.json["alert_id"]] == 1:
            return misbehaviours[number // 4 % len(misbehaviours)]
        return OK

    with http_receiver(misbehave) as bad, http_receiver() as good:
        file = hooks(tmp_path, monkeypatch, bad=bad.base, good=good.base)
        settings = replace(stored, alerts=file)
        write_file(settings, TODAY, range(40))
        done = deliver(settings)

    assert (done.sent, done.failed, done.held, done.waiting) == (80, 0, 0, 0)
    keys: dict[str, set[str]] = {}
    for request in bad.requests:
        keys.setdefault(request.json["alert_id"], set()).add(request.headers["Idempotency-Key"])
    assert keys.keys() == {f"{n:05d}" for n in range(40)}
    assert {len(each) for each in keys.values()} == {1}
    for receiver in (bad, good):
        by_merchant: dict[str, list[str]] = {}
        for request in receiver.requests:
            alert = request.json
            by_merchant.setdefault(alert["merchant_id"], []).append(alert["alert_id"])
        assert all(a <= b for ids in by_merchant.values() for a, b in pairwise(ids))
    assert len(good.requests) == 40
    assert good.requests[-1].at < bad.requests[-1].at
    # After each Retry-After nothing came for as long as it asked.
    asked = next(r.at for r in bad.requests if r.json["alert_id"] == "00016")
    assert min(r.at for r in bad.requests if r.at > asked) - asked > 0.9


def test_a_message_that_is_refused_is_not_tried_again_and_stops_no_other(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Request) -> Answer:
        return (400, {}, b"s3cret") if request.json["alert_id"] == "00000" else OK

    with http_receiver(refuse) as receiver:
        settings = replace(stored, alerts=hooks(tmp_path, monkeypatch, one=receiver.base))
        write_file(settings, TODAY, range(10))
        with pytest.raises(RedlineError, match="1 messages of alerts were refused; 9 were sent"):
            deliver(settings)
        assert deliver(settings).sent == 0
        (failed,) = open_outbox(settings).deliveries()
        assert (failed.state, failed.response) == ("failed", "HTTP 400")
        assert len(receiver.requests) == 10


def test_what_a_receiver_did_not_take_in_time_is_left_for_the_next_run(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE", 0.2)
    answers: list[Answer] = [(503, {"Retry-After": "1"}, b"")]
    with http_receiver(lambda _: answers[-1]) as receiver:
        settings = replace(stored, alerts=hooks(tmp_path, monkeypatch, one=receiver.base))
        write_file(settings, TODAY, range(5))
        with pytest.raises(StorageError, match="5 messages of alerts wait"):
            deliver(settings)
        assert len(receiver.requests) == 1
        answers.append(OK)
        time.sleep(1)
        assert deliver(settings).sent == 5


def test_without_a_file_of_channels_nothing_is_noted_or_sent(stored: Settings) -> None:
    write_file(stored, TODAY, range(3))
    assert deliver(stored).sent == 0
    assert open_outbox(stored).counts() == {}


def test_history_is_held_until_someone_releases_it(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as receiver:
        settings = replace(stored, alerts=hooks(tmp_path, monkeypatch, one=receiver.base))
        old = write_file(settings, TODAY - timedelta(30), range(3))
        write_file(settings, TODAY - timedelta(20), range(10, 12))
        write_file(settings, TODAY, range(20, 22))
        done = deliver(settings, [old])
        assert (done.sent, done.held) == (2, 3)
        held = open_outbox(settings).deliveries(("held",))
        assert {each.response for each in held} == {"held: the evening is long past"}

        monkeypatch.setattr(command, "read_settings", lambda: settings)
        assert command.main(["--retry", "held"]) == 0
        assert len(receiver.requests) == 5
        assert command.main(["--replay", "00020"]) == 0
        again = [r for r in receiver.requests if r.json["alert_id"] == "00020"]
        assert len({request.headers["Idempotency-Key"] for request in again}) == 1
        assert (len(again), len(receiver.requests)) == (2, 6)
        assert command.main(["--replay", "zzz"]) == 1


def test_the_first_publication_is_held_and_a_restatement_tells_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redline.publish import publish
    from tests.plugins.redline.alerts.test_alert_files import publish_with_alerts
    from tests.plugins.redline.publish import made_home

    # The made-up evenings are of March 2026.
    monkeypatch.setattr(delivery, "FRESH_DAYS", (TODAY - made_home.FIRST).days + 1)
    with http_receiver() as receiver:
        settings = replace(
            made_home.settings_of(tmp_path / "home"),
            alerts=hooks(tmp_path, monkeypatch, one=receiver.base),
        )
        publish_with_alerts(settings, 0, 0, [("a", 0)])
        done = deliver(settings, write_alerts(settings))
        assert (done.sent, done.held) == (0, 1)

        publish_with_alerts(settings, 1, 1, [("b", 1), ("c", 1)])
        for _ in range(3):  # retries, manual runs, cleared tasks
            deliver(settings, write_alerts(settings))
        assert [request.json["alert_id"] for request in receiver.requests] == ["b", "c"]
        schema = json.loads((PROJECT / "plugins/redline/alerts/alert.schema.json").read_text())
        for request in receiver.requests:
            jsonschema.validate(request.json, schema)
            assert request.json["run_id"] == "sim-2026-03-02-2026-03-02"

        day = made_home.FIRST + timedelta(1)
        made_home.change(settings, "update marts.fct_alerts set alert_id = 'd'")
        plan = made_home.make_plan(settings, "sim", day, day, run_id="re", restated_from=day)
        publish(plan, settings)
        deliver(settings, write_alerts(settings))
        # Of a run that did not pass its gate there is a warehouse and no publication.
        made_home.transform(settings, "sim", day + timedelta(1), day + timedelta(1))
        deliver(settings, write_alerts(settings))
        assert len(receiver.requests) == 2


def test_a_variable_that_is_not_set_stops_delivery_before_anything_is_claimed(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver() as receiver:
        file = hooks(tmp_path, monkeypatch, one=receiver.base, two=receiver.base)
        monkeypatch.delenv("URL_two")
        settings = replace(stored, alerts=file)
        write_file(settings, TODAY, range(3))
        with pytest.raises(SettingError, match="URL_two is not set"):
            deliver(settings)
        assert receiver.requests == []
        monkeypatch.setenv("URL_two", receiver.base)
        assert deliver(settings).sent == 6


def test_no_secret_is_in_a_row_a_log_or_what_is_printed(
    stored: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every kind of channel, each before a receiver that refuses and repeats what it was sent."""
    caplog.set_level("DEBUG")

    def echo(request: Request) -> Answer:
        told = f"{request.path} {dict(request.headers)} s3cret-echo"
        return 400, {"X-Said": "s3cret-header"}, json.dumps({"errcode": 1, "errmsg": told}).encode()

    with http_receiver(echo) as hook, smtp_receiver() as mails:
        mails.replies = {"DATA": "554 s3cret-reply"}
        secrets = {
            "URL": f"{hook.base}/s3cret-path?key=s3cret-query",
            "KEY": "s3cret-key",
            "TEAMS": f"{hook.base}/s3cret-teams",
            "LONG": f"json://s3cret-user:s3cret-word@127.0.0.1:{hook.server_address[1]}/s3cret",
            **{name.upper(): f"s3cret-{name}" for name in PLATFORMS if name != "teams"},
        }
        for name, value in secrets.items():
            monkeypatch.setenv(f"OUR_{name}", value)
        chats = [
            f"  {name}: {{kind: {name}, token: '${{OUR_{name.upper()}}}', secret: '${{OUR_KEY}}',"
            + ("" if name == "teams" else f" base: '{hook.base}',")
            + " allow_private: true}\n"
            for name in PLATFORMS
        ]
        file = tmp_path / "alerts.yml"
        file.write_text(
            "channels:\n" + "".join(chats) + "  hook: {kind: webhook, url: '${OUR_URL}',"
            " secret: '${OUR_KEY}', allow_private: true}\n"
            "  long: {kind: apprise, url: '${OUR_LONG}', allow_private: true}\n"
            f"  mail: {{kind: email, host: 127.0.0.1, port: {mails.server_address[1]},"
            " security: none, from: a@example.com, to: b@example.com}\n"
        )
        settings = replace(stored, alerts=file)
        monkeypatch.setattr(delivery, "PATIENCE", 0.5)
        write_file(settings, TODAY, range(2))
        with pytest.raises(RedlineError) as refused:
            deliver(settings)
        assert {request.path.partition("?")[0] for request in hook.requests} >= {"/s3cret-path"}
        with pytest.raises(RedlineError) as again:
            deliver(settings)
    monkeypatch.setattr(command, "read_settings", lambda: settings)
    assert command.main([]) == 0
    assert command.main(["--preview", "0000"]) == 0
    rows = repr(open_outbox(settings).deliveries())
    stored_bytes = b"".join(path.read_bytes() for path in settings.home.root.glob("outbox*"))
    printed = capsys.readouterr()
    errors = "".join([*traceback.format_exception(refused.value), str(again.value)])
    told = rows + printed.out + printed.err + caplog.text + errors + repr(read_rules(file))
    assert "s3cret" not in told
    assert b"s3cret" not in stored_bytes
    assert "HTTP 400" in told and "What happened" in printed.out


def test_the_command_lists_what_waits_and_says_what_it_cannot_do(
    stored: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "read_settings", lambda: stored)
    assert command.main([]) == 0
    assert "The outbox is empty." in capsys.readouterr().out
    assert command.main(["--retry", "held"]) == 1
    assert "REDLINE_ALERTS" in capsys.readouterr().err
    assert command.main(["--preview", "zzz"]) == 1
    assert "no alert has that id" in capsys.readouterr().err
    write_file(stored, TODAY, range(60))
    assert command.main(["--preview", "00003"]) == 0
    assert capsys.readouterr().out == "Lotus: complaint_rate 3.4%\n"
    open_outbox(stored).add([Entry(made_alert(n), "one", held="held: why") for n in range(60)])
    assert command.main([]) == 0
    out = capsys.readouterr().out
    assert "00003" in out and "and 10 more" in out and "one: 60 held" in out


def test_a_message_that_cannot_be_made_stops_no_other(stored: Settings, tmp_path: Path) -> None:
    box, file = open_outbox(stored), tmp_path / "alerts.yml"
    broken = {name: value for name, value in made_alert(1, 1).items() if name != "metric"}
    box.add([Entry(broken, "one"), Entry(made_alert(2, 2), "one")])
    with http_receiver() as receiver:
        file.write_text(
            "channels: {one: {kind: slack, token: '${A_TOKEN}', allow_private: true,"
            f" base: '{receiver.base}'}}}}"
        )
        done = drain(box, read_rules(file), patience=1)
    assert (done.sent, done.waiting) == (1, 1)
    (left,) = box.deliveries()
    assert left.response == "it could not be sent: KeyError"


def test_what_became_of_alerts_is_published_with_the_next_evening_and_stays(
    stored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    from redline.alerts import history
    from redline.publish import publish
    from tests.plugins.redline.publish import made_home

    def refuse(request: Request) -> Answer:
        return (400, {}, b"") if request.json["alert_id"] == "00001" else OK

    def published(number: int) -> list[tuple[object, ...]]:
        day = made_home.FIRST + timedelta(number)
        made_home.transform(settings, "sim", day, day)
        publish(made_home.make_plan(settings, "sim", day, day), settings)
        with duckdb.connect(str(settings.home.published / "redline.duckdb"), read_only=True) as db:
            return db.execute(
                "select alert_id, channel, status, attempts, delivered_at is not null, purpose,"
                " response from marts.fct_alert_deliveries order by alert_id, purpose"
            ).fetchall()

    with http_receiver(refuse) as receiver:
        settings = replace(stored, alerts=hooks(tmp_path, monkeypatch, one=receiver.base))
        assert published(0) == []
        write_file(settings, TODAY, range(2))
        with pytest.raises(RedlineError):
            deliver(settings)
    told: list[tuple[object, ...]] = [
        ("00000", "one", "sent", 1, True, "alert", "HTTP 200"),
        ("00001", "one", "failed", 1, False, "alert", "HTTP 400"),
    ]
    assert published(1) == told
    # Later ones are too old for the outbox to be asked, or it cannot be asked at all.
    monkeypatch.setattr(history, "REACH", -1.0)
    open_outbox(settings).add([Entry(made_alert(2), "one")])
    assert published(2) == told
    monkeypatch.setattr(history, "REACH", 9e9)
    settings = replace(settings, outbox="postgresql://a:b@127.0.0.1:1/postgres")
    assert published(3) == told


def test_routes_lead_to_a_mail_for_what_is_severe_a_digest_and_each_merchants_own(
    stored: Settings, tmp_path: Path
) -> None:
    def written(alert_id: str, merchant: str, **changes: object) -> dict[str, object]:
        made = {
            **made_alert(0),
            "alert_id": alert_id,
            "merchant_id": merchant,
            "entity_id": merchant,
        }
        made |= {"merchant_name": f"Shop {merchant}", "record_id": f"r-{alert_id}", **changes}
        return {**made, "as_of_date": str(TODAY)}

    alerts = [
        written("a", "m1"),
        written("b", "m2", record_type="warning", value=0.012, threshold=0.02),
        written("c", "m1", record_type="warning", value=0.025, threshold=0.02),
        written("d", "m/3", record_type="warning", value=0.03, threshold=0.02),
    ]
    path = stored.home.alerts / f"{TODAY}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(alert) + "\n" for alert in alerts))
    with smtp_receiver() as server:
        mail = (
            f"kind: email, host: 127.0.0.1, port: {server.server_address[1]}, security: none,"
            " from: risk@example.com"
        )
        file = tmp_path / "alerts.yml"
        file.write_text(
            "channels:\n"
            f"  team: {{{mail}, to: team@example.com}}\n"
            f"  shops: {{{mail}, language: zh, to: '{{merchant_id}}@shops.example.com'}}\n"
            "routes:\n"
            "  - to: team\n"
            "  - {to: shops, audience: merchant, send: digest}\n"
            "page: https://risk.example.com/redline\n"
        )
        with pytest.raises(RedlineError, match="1 messages of alerts were refused; 4 were sent"):
            deliver(replace(stored, alerts=file))
        mails = {(m["To"], m["Subject"]): m for m in server.mails}

    def body(told: EmailMessage) -> str:
        part = told.get_body(("plain",))
        assert part is not None
        return str(part.get_content())

    (severe, digest) = [m for (to, _), m in mails.items() if to == "team@example.com"]
    assert "Shop m1" in severe["Subject"] and "Violation" in severe["Subject"]
    assert "https://risk.example.com/redline/records/r-a" in body(severe)
    told = body(digest)
    assert "3 warnings" in digest["Subject"]
    assert [name for name in ("Shop m/3", "Shop m1", "Shop m2") if name in told] == sorted(
        ("Shop m/3", "Shop m1", "Shop m2"), key=told.index
    )  # the worst first
    own = {to: body(m) for (to, _), m in mails.items() if to.endswith("@shops.example.com")}
    assert own.keys() == {"m1@shops.example.com", "m2@shops.example.com"}
    for merchant, other in (("m1", "m2"), ("m2", "m1")):
        assert f"Shop {other}" not in own[f"{merchant}@shops.example.com"]
        assert "risk.example.com/redline" not in own[f"{merchant}@shops.example.com"]
        assert "run-1" not in own[f"{merchant}@shops.example.com"]
    # An id that can be no part of an address is refused and said so.
    (left,) = open_outbox(stored).deliveries()
    assert left.response == "the merchant's id can be no part of an address"
