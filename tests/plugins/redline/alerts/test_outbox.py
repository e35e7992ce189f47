"""The outbox, in SQLite and PostgreSQL: claims, order, retries, what a dead process leaves."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from redline.alerts.outbox import ATTEMPTS, Outbox, idempotency_key, open_outbox
from redline.errors import SettingError, StorageError
from redline.settings import Settings
from tests.plugins.redline.alerts.receivers import made_alert

pytestmark = pytest.mark.xdist_group("outbox")


def states(outbox: Outbox) -> dict[str, str]:
    found = outbox.deliveries(("pending", "claimed", "sent", "failed", "held"))
    return {each.alert_id: each.state for each in found}


def test_an_alert_is_noted_once_per_channel_however_often_it_is_told(stored: Settings) -> None:
    outbox = open_outbox(stored)
    alerts = [made_alert(n, n) for n in range(700)]
    assert outbox.add(alerts, ["mail", "hook"]) == 1400
    assert open_outbox(stored).add(alerts, ["mail", "hook"]) == 0
    first = outbox.due("mail", 1)[0]
    assert (first.alert, first.key) == (made_alert(0, 0), idempotency_key("00000", "mail"))
    assert outbox.counts() == {("mail", "pending"): 700, ("hook", "pending"): 700}


def test_workers_that_race_for_a_channel_send_each_alert_once_and_in_order(
    stored: Settings,
) -> None:
    outbox = open_outbox(stored)
    outbox.add([made_alert(n, n % 5) for n in range(60)], ["mail"])
    sent: list[tuple[str, str]] = []

    def work() -> None:
        mine = open_outbox(stored)
        while mine.next_due_at("mail") is not None:
            for delivery in mine.due("mail", 10):
                if claimed := mine.claim(delivery):
                    sent.append((claimed.merchant, claimed.alert_id))
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
    outbox.add([made_alert(1, 1), made_alert(2, 1), made_alert(3, 2)], ["mail", "hook"])
    first, other = outbox.due("mail")
    assert (first.alert_id, other.alert_id) == ("00001", "00003")

    claimed = outbox.claim(first)
    assert claimed is not None
    outbox.postpone(claimed, "busy")

    assert [each.alert_id for each in outbox.due("mail")] == ["00003"]
    assert [each.alert_id for each in outbox.due("hook")] == ["00001", "00003"]
    outbox.give_up(replace(claimed, attempts=0), "of an old claim")
    assert states(outbox)["00001"] == "pending"  # what a claim that was taken over says is ignored


def test_the_claim_of_a_dead_process_is_taken_over_when_its_lease_ends(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add([made_alert(1)], ["mail"])
    dead = outbox.claim(outbox.due("mail")[0], lease=0.3)
    assert dead is not None
    assert outbox.due("mail") == []
    time.sleep(0.35)
    again = outbox.claim(outbox.due("mail")[0])
    assert again is not None
    assert (again.key, again.attempts) == (dead.key, 2)
    outbox.postpone(dead, "late")  # it was not dead after all
    assert states(outbox) == {"00001": "claimed"}
    outbox.confirm(dead, "sent in the end")
    assert states(outbox) == {"00001": "sent"}


def test_retries_come_later_and_later_and_are_given_up(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add([made_alert(1)], ["mail"])
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
    outbox.add([made_alert(1)], ["mail"])
    claimed = outbox.claim(outbox.due("mail")[0])
    assert claimed is not None
    outbox.postpone(claimed, "busy", 77.0)
    due = outbox.next_due_at("mail")
    assert due is not None
    assert 75 < due - time.time() <= 77


def test_held_alerts_wait_for_a_person_and_stop_nobody(stored: Settings) -> None:
    outbox = open_outbox(stored)
    outbox.add([made_alert(1)], ["mail"], held="too many")
    outbox.add([made_alert(2)], ["mail"])
    assert [each.alert_id for each in outbox.due("mail")] == ["00002"]
    (held,) = outbox.deliveries(("held",))
    assert held.response == "too many"
    assert outbox.release("failed") == 0
    assert outbox.release("%") == 0
    assert outbox.release("held") == 1
    assert [each.alert_id for each in outbox.due("mail")] == ["00001"]


def test_an_outbox_that_cannot_be_used_says_so_without_its_password(stored: Settings) -> None:
    closed = "postgresql://redline:s3cret-word@127.0.0.1:1/postgres"
    with pytest.raises(StorageError) as unreachable:
        open_outbox(replace(stored, outbox=closed))
    with pytest.raises(SettingError) as wrong:
        open_outbox(replace(stored, outbox="mysql://redline:s3cret-word@host/x"))
    for error in (unreachable.value, wrong.value):
        assert "s3cret" not in str(error)
    assert "s3cret" not in repr(replace(stored, outbox=closed))
