"""From the log to a receiver: once from the log, at least once over the wire, and never in a decision's way."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select
from standardwebhooks import Webhook, WebhookVerificationError

from ledger.core.command import FreezeAgent
from ledger.core.command_webhooks import RemoveWebhook
from ledger.services import delivering, watching
from ledger.services.alerting import Alerting, AlertSettings
from ledger.services.delivering import ATTEMPTS_MAX, PAUSES_SECONDS, DeliverySettings
from ledger.services.watching import Watcher
from ledger.storage import delivery_rows, watch_rows
from ledger.storage.errors import Busy, Conflict, Unavailable
from ledger.storage.side_writer import SideWriter
from ledger.storage.tables_webhooks import webhook_deliveries, webhook_events, webhook_secrets
from tests.services.alert_world import LOCAL, AlertWorld, Moved
from tests.support.receiver import Receiver, receiver

_NUMBERS = itertools.count()


@pytest.fixture
def world(shared_url: str) -> Iterator[AlertWorld]:
    """A book of its own for each test."""
    made = AlertWorld(shared_url, f"alerts-{next(_NUMBERS)}")
    yield made
    made.close()


@pytest.fixture
def there() -> Iterator[Receiver]:
    """A receiver on this machine."""
    with receiver() as made:
        yield made


def told(world: AlertWorld) -> list[str]:
    """The types of the book's events, oldest first."""
    return [event.type for event in world.events()]


def test_a_webhook_verifies(world: AlertWorld, there: Receiver) -> None:
    """With the library that receivers use; one changed byte, another id or another time does not."""
    webhook, secret = world.register(there.url + "/hook?a=b")
    world.ledger.hold(world.crawler, "80")
    world.watcher.run_once()
    assert world.deliver() == 1
    (request,) = there.received
    sent = Webhook(secret).verify(request.body, request.headers)
    assert sent["type"] == "budget.threshold"
    assert sent["data"]["held"] == {"amount": "80.00", "currency": "USD"}
    assert request.headers["webhook-id"] == world.events()[0].id
    assert request.path == "/hook?a=b"
    changed = {"webhook-id": "evt_0", "webhook-timestamp": str(int(request.headers["webhook-timestamp"]) + 1)}
    for name, value in changed.items():
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(request.body, request.headers | {name: value})
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body.replace(b"80.00", b"81.00"), request.headers)
    (delivery,) = world.deliveries(webhook)
    assert (delivery.state, delivery.attempts, delivery.result) == ("delivered", 1, "http_204")
    assert world.deliver() == 0


def test_an_endpoint_gets_what_it_asked_for_since_it_asked(world: AlertWorld, there: Receiver) -> None:
    """Nothing from before it was registered, nothing of other types; each endpoint by itself."""
    world.ledger.hold(world.crawler, "50")
    everything, _ = world.register(there.url)
    frozen, _ = world.register(there.url, "agent.frozen", "agent.unfrozen")
    world.ledger.hold(world.crawler, "30")
    world.ledger.do(FreezeAgent, world.ledger.admin, agent="crawler", frozen=True)
    late, _ = world.register(there.url)
    assert world.watcher.run_once() > 0
    assert [item.type for item in world.deliveries(everything)] == ["budget.threshold", "agent.frozen"]
    assert [item.type for item in world.deliveries(frozen)] == ["agent.frozen"]
    assert world.deliveries(late) == []


def test_a_book_without_endpoint_costs_nothing(world: AlertWorld) -> None:
    """Its log is not read."""
    world.ledger.hold(world.crawler, "80")
    assert world.watcher.run_once() == 0
    assert world.events() == []


def test_what_must_be_remembered_survives(world: AlertWorld, there: Receiver) -> None:
    """Another process reads on: a threshold that was told is not told again."""
    world.register(there.url)
    world.ledger.hold(world.crawler, "50")
    world.watcher.run_once()
    world.ledger.hold(world.crawler, "1")
    world.pass_time(60)
    Watcher(world.engine, world.writer, world.sources).run_once()
    assert told(world) == ["budget.threshold"]
    world.ledger.hold(world.crawler, "30")
    Watcher(world.engine, world.writer, world.sources).run_once()
    assert told(world) == ["budget.threshold"], "the first still has the book for some seconds"
    world.pass_time(60)
    Watcher(world.engine, world.writer, world.sources).run_once()
    assert told(world) == ["budget.threshold", "budget.threshold"]


def freeze_often(world: AlertWorld, times: int) -> None:
    """An event each."""
    for _ in range(times):
        world.frozen = not world.frozen
        done = world.ledger.do(FreezeAgent, world.ledger.admin, agent="crawler", frozen=world.frozen)
        assert done.status.value == "done"


def test_two_watchers_make_an_event_once(world: AlertWorld, there: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when neither knows of the other: the one that moves the cursor tells."""
    monkeypatch.setattr(watching, "RECORDS_AT_ONCE", 3)
    monkeypatch.setattr(watch_rows, "hold_cursor", lambda *given, **more: True)
    webhook, _ = world.register(there.url)
    world.watcher.run_once()
    monkeypatch.undo()
    monkeypatch.setattr(watching, "RECORDS_AT_ONCE", 3)
    freeze_often(world, 40)
    with world.writer.transaction() as connection:
        book = next(one for one in watch_rows.watched_books(connection) if one.book_id == world.book_id)
        watch_rows.hold_cursor(connection, book, holder="", now=world.sources.now_us(), until=0)
    monkeypatch.setattr(watch_rows, "hold_cursor", lambda *given, **more: True)
    watchers = [Watcher(world.engine, SideWriter(world.database_url), world.sources) for _ in range(3)]
    finished = threading.Barrier(3)

    def watch(watcher: Watcher) -> None:
        finished.wait()
        deadline = time.monotonic() + 30
        while len(world.events()) < 40 and time.monotonic() < deadline:
            try:
                watcher.run_once()
            except Busy:
                time.sleep(0.001)

    threads = [threading.Thread(target=watch, args=(watcher,)) for watcher in watchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    events = world.events()
    assert [event.type for event in events] == ["agent.frozen", "agent.unfrozen"] * 20
    assert len({event.log_index for event in events}) == 40
    assert len(world.deliveries(webhook)) == 40


def test_a_cursor_moves_from_where_it_was_read(world: AlertWorld, there: Receiver) -> None:
    """Whoever comes second changes nothing."""
    world.register(there.url)
    world.watcher.run_once()
    with world.engine.connect() as connection:
        place = watch_rows.cursor(connection, world.book_id)
    assert place is not None
    given: dict[str, Any] = {"events": [], "remembered": {}, "known": (), "listening": [], "now": 0}
    with world.writer.transaction() as connection:
        watch_rows.tell(connection, world.book_id, read_from=place, read_to=place + 1, **given)
    with pytest.raises(Conflict), world.writer.transaction() as connection:
        watch_rows.tell(connection, world.book_id, read_from=place, read_to=place + 1, **given)


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", ["after the cursor", "after the rows"])
def test_a_crash_while_telling_loses_and_doubles_nothing(
    world: AlertWorld, there: Receiver, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The transaction is not there, and whoever comes next makes the same events."""
    webhook, _ = world.register(there.url)
    world.ledger.hold(world.crawler, "80")
    freeze_often(world, 2)

    def crash(*given: object, **more: object) -> Any:
        raise Crash

    # The first of these runs once the cursor has moved, the second once everything was written.
    name = "payload_of" if step == "after the cursor" else "_remember"
    with monkeypatch.context() as patched:
        patched.setattr(watch_rows, name, crash)
        with pytest.raises(Crash):
            world.watcher.run_once()
    assert world.events() == []
    world.watcher.run_once()
    assert told(world) == ["budget.threshold", "agent.frozen", "agent.unfrozen"]
    assert len(world.deliveries(webhook)) == 3


@pytest.mark.parametrize("step", ["before sending", "after sending"])
def test_a_crash_while_delivering_is_made_good(
    world: AlertWorld, there: Receiver, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What was claimed is due again when the claim is over: never lost, and sent twice at worst, under one id."""
    webhook, _ = world.register(there.url)
    freeze_often(world, 1)
    world.watcher.run_once()
    monkeypatch.setattr(delivering.LOGGER, "disabled", True)

    def crash(*given: object, **more: object) -> Any:
        raise Crash

    with monkeypatch.context() as patched:
        if step == "before sending":
            patched.setattr(delivering, "checked_addresses", crash)
        else:
            patched.setattr(delivery_rows, "finish", crash)
        world.deliver()
    assert len(there.received) == (0 if step == "before sending" else 1)
    assert world.deliveries(webhook)[0].state == "pending"
    assert world.deliver() == 0, "claimed"
    world.pass_time(LOCAL.timeout_seconds + delivering.LEASE_EXTRA_SECONDS + 1)
    assert world.deliver() == 1
    assert len({request.headers["webhook-id"] for request in there.received}) == 1
    assert world.deliveries(webhook)[0].state == "delivered"


def test_what_a_busy_database_does_not_take_at_once_is_kept(
    world: AlertWorld, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be sent again for nothing."""
    webhook, _ = world.register(there.url)
    freeze_often(world, 1)
    world.watcher.run_once()
    real, refused = delivery_rows.finish, itertools.count()

    def busy(*given: Any, **more: Any) -> bool:
        if next(refused) < 2:
            raise Busy("another writes")
        return real(*given, **more)

    monkeypatch.setattr(delivery_rows, "finish", busy)
    assert world.deliver() == 1
    assert world.deliveries(webhook)[0].state == "delivered"
    assert len(there.received) == 1


def test_two_deliverers_never_send_the_same_at_once(world: AlertWorld, there: Receiver) -> None:
    """A claim is one deliverer's."""
    world.register(there.url)
    freeze_often(world, 30)
    world.watcher.run_once()
    deliverers = [world.new_deliverer() for _ in range(3)]

    def deliver(deliverer: Any) -> None:
        deadline = time.monotonic() + 30
        while len(there.received) < 30 and time.monotonic() < deadline:
            try:
                deliverer.run_once()
            except (Busy, Conflict):
                time.sleep(0.001)
        assert deliverer.wait_idle(20)

    threads = [threading.Thread(target=deliver, args=(one,)) for one in deliverers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({request.headers["webhook-id"] for request in there.received}) == len(there.received) == 30


def test_failures_are_tried_again_with_growing_pauses(world: AlertWorld, there: Receiver) -> None:
    """As often as documented, each later than the one before, and then given up."""
    webhook, _ = world.register(there.url)
    there.answer = lambda request: 503
    freeze_often(world, 1)
    world.watcher.run_once()
    for number, pause in enumerate(PAUSES_SECONDS, start=1):
        assert world.deliver() == 1
        (delivery,) = world.deliveries(webhook)
        assert (delivery.state, delivery.attempts, delivery.result) == ("pending", number, "http_503")
        waits = (delivery.next_at - world.sources.now_us()) / 1_000_000
        assert 0.75 * pause - 2 <= waits <= 1.25 * pause
        world.pass_time(waits + 1)
    assert world.deliver() == 1
    (delivery,) = world.deliveries(webhook)
    assert (delivery.state, delivery.attempts) == ("failed", ATTEMPTS_MAX)
    world.pass_time(10**6)
    assert world.deliver() == 0
    assert len({request.body for request in there.received}) == 1
    stamps = [int(request.headers["webhook-timestamp"]) for request in there.received]
    assert stamps == sorted(set(stamps)), "each attempt is signed with its own time"


def test_gone_disables_an_endpoint(world: AlertWorld, there: Receiver) -> None:
    """What waits for it is dropped, the other endpoints are told; enabled, it gets what happens next."""
    gone, _ = world.register(there.url + "/gone")
    other, _ = world.register(there.url + "/other")
    there.answer = lambda request: 410 if request.path == "/gone" else 204
    freeze_often(world, 3)
    world.watcher.run_once()
    world.deliver()
    assert world.state(gone)[0] == "gone"
    assert {item.state for item in world.deliveries(gone)} == {"dropped"}
    assert [item.type for item in world.deliveries(other)][-1:] == ["webhook.disabled"]
    (disabled,) = (request for request in there.received if request.type == "webhook.disabled")
    assert disabled.data["webhook"] == gone
    freeze_often(world, 2)
    world.watcher.run_once()
    assert len(world.deliveries(gone)) == 3
    with world.writer.transaction() as connection:
        delivery_rows.enable(connection, world.book_id, gone)
    there.answer = lambda request: 204
    freeze_often(world, 1)
    world.watcher.run_once()
    world.deliver()
    assert [item.state for item in world.deliveries(gone)].count("delivered") == 1
    assert world.state(gone) == (None, False)


def test_an_endpoint_that_only_fails_is_disabled_after_days(world: AlertWorld, there: Receiver) -> None:
    """One answer in between, and the days are counted anew."""
    webhook, _ = world.register(there.url)
    for answer, days, disabled in ((500, 0, None), (500, 4, None), (204, 0, None), (500, 4, None), (500, 6, "failing")):
        there.answer = lambda request, answer=answer: answer
        world.pass_time(days * 86_400)
        freeze_often(world, 2)
        world.watcher.run_once()
        world.deliver()
        assert world.state(webhook)[0] == disabled


def test_two_signatures_while_a_secret_is_replaced(world: AlertWorld, there: Receiver) -> None:
    """Either secret verifies until the overlap is over; then only the new one."""
    webhook, old = world.register(there.url)
    new = world.rotate(webhook, overlap_seconds=3600)
    # The book's clock is the test's: its rotation ends in that book's time.
    world.sources.ahead = world.ledger.sources.now - Moved().now_us()
    freeze_often(world, 1)
    world.watcher.run_once()
    world.deliver()
    (both,) = there.received
    assert len(both.headers["webhook-signature"].split(" ")) == 2
    world.pass_time(3601)
    freeze_often(world, 2)
    world.watcher.run_once()
    world.deliver()
    single = there.received[-1]
    assert len(single.headers["webhook-signature"].split(" ")) == 1
    for request, secrets in ((both, (old, new)), (single, (new,))):
        for secret in secrets:
            assert signature_fits(secret, request)
    assert not signature_fits(old, single)


def signature_fits(secret: str, request: Any) -> bool:
    """Whether one of the signatures is what the library makes with this secret, whatever the time."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), tz=UTC)
    expected = Webhook(secret).sign(request.headers["webhook-id"], moment, request.body.decode())
    return expected in request.headers["webhook-signature"].split(" ")


def test_a_removed_endpoint_gets_nothing_more(world: AlertWorld, there: Receiver) -> None:
    """Not even what was waiting for it; its rows go with the sweep."""
    webhook, _ = world.register(there.url)
    freeze_often(world, 2)
    world.watcher.run_once()
    assert world.ledger.do(RemoveWebhook, world.ledger.admin, webhook=webhook).status.value == "done"
    assert world.deliver() == 0
    assert there.received == []
    with world.writer.transaction() as connection:
        delivery_rows.sweep(connection, world.book_id, told_before=0, now=world.sources.now_us())
    assert {item.state for item in world.deliveries(webhook)} == {"dropped"}


def test_an_event_is_sent_again_under_its_id(world: AlertWorld, there: Receiver) -> None:
    """Delivered or given up, and to an endpoint that never had it."""
    first, _ = world.register(there.url)
    freeze_often(world, 1)
    world.watcher.run_once()
    world.deliver()
    second, _ = world.register(there.url)
    (event,) = world.events()
    with world.writer.transaction() as connection:
        delivery_rows.send_again(connection, world.book_id, event.id, [first, second], now=world.sources.now_us())
    assert world.deliver() == 2
    assert {request.headers["webhook-id"] for request in there.received} == {event.id}
    assert {request.body for request in there.received} == {event.payload}
    with pytest.raises(LookupError), world.writer.transaction() as connection:
        delivery_rows.send_again(connection, world.book_id, "evt_none", [first], now=0)


def test_the_address_is_checked_at_each_attempt(world: AlertWorld, there: Receiver) -> None:
    """A name that meant a public address when it was registered may mean this machine now."""
    port = there.url.rpartition(":")[2]
    webhook, _ = world.register(f"http://alerts.example.com:{port}/")
    freeze_often(world, 1)
    world.watcher.run_once()
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    world.deliverer = world.new_deliverer(DeliverySettings(allow_http=True), resolver=rebinding)
    assert world.deliver() == 1
    assert there.received == []
    assert asked == ["alerts.example.com"], "asked once: what is connected to is what was checked"
    assert world.deliveries(webhook)[0].result == "address_refused"
    world.pass_time(60)
    world.deliverer = world.new_deliverer(resolver=rebinding)
    world.deliver()
    assert asked == ["alerts.example.com"] * 2
    assert there.received[0].headers["host"] == f"alerts.example.com:{port}"


def test_a_slow_receiver_keeps_no_other_waiting(world: AlertWorld, there: Receiver) -> None:
    """It has two attempts under way at most, whatever waits for it."""
    slow, _ = world.register(there.url + "/slow")
    world.register(there.url + "/quick")
    let_go = threading.Event()
    there.answer = lambda request: 204 if request.path == "/quick" or let_go.wait(10) else 500
    freeze_often(world, 8)
    world.watcher.run_once()
    deadline = time.monotonic() + 1.5
    while sum(request.path == "/quick" for request in there.received) < 8 and time.monotonic() < deadline:
        world.deliverer.run_once()
        time.sleep(0.01)
    paths = [request.path for request in there.received]
    let_go.set()
    assert paths.count("/quick") == 8
    assert paths.count("/slow") == delivering.PER_ENDPOINT
    assert world.deliverer.wait_idle(10)
    world.deliver()
    assert {item.state for item in world.deliveries(slow)} == {"delivered"}


def test_no_decision_waits_for_a_hostile_receiver(world: AlertWorld, there: Receiver) -> None:
    """With the whole machinery running and a receiver that never answers, spending goes on."""
    world.register(there.url)
    let_go = threading.Event()
    there.answer = lambda request: 500 if let_go.wait(20) else 503
    alerting = Alerting(world.engine, SideWriter(world.database_url), world.sources, AlertSettings(delivery=LOCAL))
    alerting.start()
    slowest = 0.0
    for number in range(60):
        start = time.monotonic()
        world.ledger.hold(world.crawler, "1")
        slowest = max(slowest, time.monotonic() - start)
        if number == 50:
            alerting.wake()
    there.wait_for(1)
    let_go.set()
    start = time.monotonic()
    alerting.stop(deadline_seconds=3)
    assert time.monotonic() - start < 8
    assert slowest < 2.0, "and not the seconds that the receiver takes"
    assert "budget.threshold" in told(world)


def test_whoever_decides_comes_first_on_sqlite(world: AlertWorld, there: Receiver) -> None:
    """While another has the file's lock, alerts give up and try later; nothing is lost."""
    if not world.database_url.startswith("sqlite"):
        pytest.skip("PostgreSQL locks rows, and none that a decision writes")
    world.register(there.url)
    freeze_often(world, 1)
    writer = SideWriter(world.database_url, lock_timeout_seconds=0.05)
    watcher = Watcher(world.engine, writer, world.sources)
    watcher.run_once()
    freeze_often(world, 2)
    other = sqlite3.connect(world.database_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    with pytest.raises(Busy):
        watcher.run_once()
    assert time.monotonic() - start < 1.0
    other.execute("ROLLBACK")
    other.close()
    watcher.run_once()
    assert len(world.events()) == 3


def test_one_strange_record_keeps_no_other_from_being_told(
    world: AlertWorld, there: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and passed over."""
    world.register(there.url)
    freeze_often(world, 3)
    real = watching.events_of
    seen = itertools.count()

    def strange(memory: Any, index: int, body: Any) -> Any:
        if body["kind"] == "freeze" and next(seen) == 0:
            raise KeyError("no such field")
        return real(memory, index, body)

    monkeypatch.setattr(watching, "events_of", strange)
    world.watcher.run_once()
    assert told(world) == ["agent.unfrozen", "agent.frozen"]
    assert "gave no alert" in caplog.text


def test_a_database_that_is_away_is_asked_again(world: AlertWorld, there: Receiver) -> None:
    """The thread lives on."""
    world.register(there.url)
    freeze_often(world, 1)
    alerting = Alerting(world.engine, SideWriter(world.database_url), world.sources, AlertSettings(delivery=LOCAL))
    real, failed = alerting.watcher.run_once, threading.Event()

    def away(**given: Any) -> int:
        if not failed.is_set():
            failed.set()
            raise Unavailable("gone for a moment")
        return real(**given)

    alerting.watcher.run_once = away  # type: ignore[method-assign]
    alerting.start()
    there.wait_for(1)
    alerting.stop(deadline_seconds=3)
    assert failed.is_set()


def test_what_is_old_is_swept(world: AlertWorld, there: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events with their deliveries, a bounded number at once; secrets that no endpoint names; nothing else."""
    monkeypatch.setattr(delivery_rows, "SWEPT_AT_ONCE", 4)
    webhook, _ = world.register(there.url)
    world.rotate(webhook)
    freeze_often(world, 10)
    world.watcher.run_once()
    with world.writer.transaction() as connection:
        delivery_rows.add_secret(connection, world.book_id, "whs_orphan", b"x" * 32, now=0)
    swept = []
    for _ in range(4):
        with world.writer.transaction() as connection:
            now = world.sources.now_us()
            swept.append(delivery_rows.sweep(connection, world.book_id, told_before=now, now=now))
    assert swept == [4, 4, 2, 0]
    assert world.events() == world.deliveries(webhook) == []
    with world.engine.connect() as connection:
        counts = [
            connection.execute(select(func.count()).where(table.c.book_id == world.book_id)).scalar_one()
            for table in (webhook_events, webhook_deliveries, webhook_secrets)
        ]
    assert counts == [0, 0, 2]
