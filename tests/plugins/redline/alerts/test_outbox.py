"""The outbox, in SQLite and PostgreSQL: claims, order, retries, what a dead process leaves."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from redline.alerts.letter import Alert
from redline.alerts.outbox import (
    ATTEMPTS,
    Delivery,
    Entry,
    Outbox,
    State,
    idempotency_key,
    open_outbox,
)
from redline.errors import SettingError, StorageError
from redline.settings import Settings
from tests.plugins.redline.alerts.receivers import made_alert

pytestmark = pytest.mark.xdist_group("outbox")


EVERY: tuple[State, ...] = ("pending", "claimed", "sent", "failed", "held")


def for_channels(alerts: Sequence[Alert], channels: Sequence[str], **more: Any) -> list[Entry]:
    return [Entry(alert, channel, **more) for alert in alerts for channel in channels]


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    """The alerts of messages that tell one each."""
    return [each.place.split()[1] for each in deliveries]


def states(outbox: Outbox) -> dict[str, str]:
    return {ids([each])[0]: each.state for each in outbox.deliveries(EVERY)}


def test_an_alert_is_noted_once_per_channel_however_often_it_is_told(stored: Settings) -> None:
    outbox = open_outbox(stored)
    alerts = [made_alert(n, n) for n in range(700)]
    assert outbox.add(for_channels(alerts, ["mail", "hook"])) == 1400
    assert open_outbox(stored).add(for_channels(alerts, ["mail", "hook"])) == 0
    first = outbox.claim(outbox.due("mail", 1)[0])
    assert first is not None
    assert first.alerts == (made_alert(0, 0),)
    assert first.message_id == idempotency_key("00000", "mail")
    outbox.postpone(first, "busy")
    assert outbox.counts() == {("mail", "pending"): 700, ("hook", "pending"): 700}


def test_workers_that_race_for_a_channel_send_each_alert_once_and_in_order(
    stored: Settings,
) -> None:
    outbox = open_outbox(stored)
    outbox.add(for_channels([made_alert(n, n % 5) for n in range(60)], ["mail"]))
    sent: list[tuple[str, str]] = []

    def work() -> None:
        mine = open_outbox(stored)
        while mine.next_due_at("mail") is not None:
            for delivery in mine.due("mail", 10):
                if claimed := mine.claim(delivery):
                    sent.append((claimed.lane, *ids([claimed])))
                    mine.confirm(claimed, "ok")
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(alert for _, alert in sent) == Counter(f"{n:05d}" for n in range(60))
    for merchant in {merchant for merchant, _ in sent}:
        assert all(a < b for a, b in pairwise(alert for who, alert in sent if who == merchant))


def test_a_merchants_next_alert_waits_for_the_one_before_but_others_do_not(
    stored: Settings,
) -> None:
    outbox = open_outbox(stored)
    outbox.add(
        for_channels([made_alert(1, 1), made_alert(2, 1), made_alert(3, 2)], ["mail", "hook"])
    )
    first, other = outbox.due("mail")
    assert (*ids([first]), *ids([other])) == ("00001", "00003")

    claimed = outbox.claim(first)
    assert claimed is not None
    outbox.postpone(claimed, "busy")

    assert ids(outbox.due("mail")) == ["00003"]
    assert ids(outbox.due("hook")) == ["00001", "00003"]
    outbox.give_up(replace(claimed, attempts=0), "of an old claim")
    assert states(outbox)["00001"] == "pending"  # what a claim that was taken over says is ignored


def test_the_claim_of_a_dead_process_is_taken_over_when_its_lease_ends(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add(for_channels([made_alert(1)], ["mail"]))
    dead = outbox.claim(outbox.due("mail")[0], lease=0.3)
    assert dead is not None
    assert outbox.due("mail") == []
    time.sleep(0.35)
    again = outbox.claim(outbox.due("mail")[0])
    assert again is not None
    assert (again.message_id, again.attempts) == (dead.message_id, 2)
    outbox.postpone(dead, "late")  # it was not dead after all
    assert states(outbox) == {"00001": "claimed"}
    outbox.confirm(dead, "sent in the end")
    assert states(outbox) == {"00001": "sent"}


def test_retries_come_later_and_later_and_are_given_up(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add(for_channels([made_alert(1)], ["mail"]))
    waits = []
    for _ in range(ATTEMPTS):
        (now,) = outbox.deliveries()
        claimed = outbox.claim(now)
        assert claimed is not None
        outbox.postpone(claimed, "busy" * 500)
        waits.append((outbox.next_due_at("mail") or time.time()) - time.time())

    upper = [min(5 * 2**n, 900) for n in range(ATTEMPTS - 1)]
    assert all(top / 2 - 1 < wait <= top for wait, top in zip(waits[:-1], upper, strict=True))
    (failed,) = outbox.deliveries(("failed",))
    assert (failed.response or "").startswith(f"given up after {ATTEMPTS}: busy")
    assert len(failed.response or "") <= 300
    assert outbox.release("0000") == 1
    assert outbox.due("mail")[0].attempts == 0


def test_what_the_receiver_asks_for_is_waited_for(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add(for_channels([made_alert(1)], ["mail"]))
    claimed = outbox.claim(outbox.due("mail")[0])
    assert claimed is not None
    outbox.postpone(claimed, "busy", 77.0)
    due = outbox.next_due_at("mail")
    assert due is not None
    assert 75 < due - time.time() <= 77


def test_held_alerts_wait_for_a_person_and_stop_nobody(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add(for_channels([made_alert(1)], ["mail"], held="too many"))
    outbox.add(for_channels([made_alert(2)], ["mail"]))
    assert ids(outbox.due("mail")) == ["00002"]
    (held,) = outbox.deliveries(("held",))
    assert held.response == "too many"
    assert outbox.release("failed") == 0
    assert outbox.release("%") == 0
    assert outbox.release("held") == 1
    assert ids(outbox.due("mail")) == ["00001"]


def test_an_outbox_that_cannot_be_used_says_so_without_its_password(stored: Settings) -> None:
    closed = "postgresql://redline:s3cret-word@127.0.0.1:1/postgres"
    with pytest.raises(StorageError) as unreachable:
        open_outbox(replace(stored, outbox=closed))
    with pytest.raises(SettingError) as wrong:
        open_outbox(replace(stored, outbox="mysql://redline:s3cret-word@host/x"))
    for error in (unreachable.value, wrong.value):
        assert "s3cret" not in str(error)
    assert "s3cret" not in repr(replace(stored, outbox=closed))


# --- digests -------------------------------------------------------------------------------------


def test_a_digest_takes_in_what_comes_until_it_is_claimed(stored: Settings) -> None:
    outbox = open_outbox(stored)
    soon = time.time() + 0.4
    outbox.add(
        for_channels([made_alert(1), made_alert(2, 2)], ["mail"], form="digest", not_before=soon)
    )
    outbox.add(for_channels([made_alert(2, 2), made_alert(3, 3)], ["mail"], form="digest"))
    assert outbox.due("mail") == []
    assert outbox.waiting("mail") == 0  # its time has not come
    time.sleep(0.45)
    assert outbox.waiting("mail") == 1
    (due,) = outbox.due("mail")
    claimed = outbox.claim(due)
    assert claimed is not None
    assert [alert["alert_id"] for alert in claimed.alerts] == ["00001", "00002", "00003"]

    outbox.add(for_channels([made_alert(3, 3), made_alert(4)], ["mail"], form="digest"))
    assert outbox.due("mail") == []  # the next waits for the one before
    outbox.confirm(claimed, "ok")
    (after,) = outbox.due("mail")
    second = outbox.claim(after)
    assert second is not None
    assert [alert["alert_id"] for alert in second.alerts] == ["00004"]
    assert second.message_id != claimed.message_id


def test_a_digest_comes_after_what_is_severe_and_before_the_next_evening(stored: Settings) -> None:
    outbox = open_outbox(stored)
    later = {**made_alert(9), "as_of_date": "2026-03-02"}
    outbox.add(for_channels([later], ["mail"]))
    outbox.add(for_channels([made_alert(1), made_alert(2, 2)], ["mail"], form="digest"))
    outbox.add(for_channels([made_alert(3, 3), made_alert(4, 4)], ["mail"]))
    outbox.add_notice("n1", ["mail"], "2026-03-09", {"what": "x"})
    order = []
    while due := outbox.due("mail"):
        order.append(sorted(each.place[0] + each.evening[-1] for each in due))
        for each in due:
            claimed = outbox.claim(each)
            assert claimed is not None
            outbox.confirm(claimed, "ok")
    assert order == [["a1", "a1", "n9"], ["z1"], ["a2"]]


def test_merchants_have_a_digest_each(stored: Settings) -> None:
    outbox = open_outbox(stored)
    made = [made_alert(n, n % 2) for n in range(4)]
    outbox.add(for_channels(made, ["mail"], form="digest", audience="merchant"))
    digests = outbox.deliveries()
    assert [{alert["merchant_id"] for alert in each.alerts} for each in digests] in (
        [{"m0"}, {"m1"}],
        [{"m1"}, {"m0"}],
    )


def test_alerts_that_race_into_a_digest_are_all_told_once(stored: Settings) -> None:
    told: list[str] = []
    finished = threading.Event()

    def add(worker: int) -> None:
        mine = open_outbox(stored)
        for n in range(30):
            mine.add([Entry(made_alert(100 * worker + n), "mail", "digest")])
        mine.close()

    def send() -> None:
        mine = open_outbox(stored)
        while not finished.is_set() or mine.due("mail"):
            for each in mine.due("mail"):
                if claimed := mine.claim(each):
                    told.extend(alert["alert_id"] for alert in claimed.alerts)
                    mine.confirm(claimed, "ok")
        mine.close()

    adding = [threading.Thread(target=add, args=(worker,)) for worker in range(3)]
    sending = [threading.Thread(target=send) for _ in range(2)]
    for thread in adding + sending:
        thread.start()
    for thread in adding:
        thread.join()
    finished.set()
    for thread in sending:
        thread.join()
    expected = Counter(f"{100 * worker + n:05d}" for worker in range(3) for n in range(30))
    assert Counter(told) == expected


def test_a_notice_is_told_once_per_channel_and_waits_for_no_alert(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add(for_channels([made_alert(1)], ["mail"]))
    claimed = outbox.claim(outbox.due("mail")[0])
    assert claimed is not None
    assert outbox.add_notice("n", ["mail", "hook"], "2026-03-02", {"what": "it failed"}) == 2
    assert outbox.add_notice("n", ["mail", "hook"], "2026-03-02", {"what": "it failed"}) == 0
    (notice,) = outbox.due("mail")
    assert notice.letter.notice == {"what": "it failed"}
