"""Opening a book, and the way back in for whoever owns the database; on both databases."""

from __future__ import annotations

import pytest

from ledger.core.command import Caller, CreateAgent, RevokeKey
from ledger.core.ids import is_id
from ledger.services.books import BookRefused, check_book, open_new_book, recover_admin_key
from ledger.services.errors import UnknownBook
from ledger.services.sources import parse_key
from ledger.services.verify import verify_books
from ledger.storage.errors import StorageError
from tests.services.live_world import Desk, LiveWorld
from tests.support.recorded import Recorded

RIGHT = {"name": "acme", "currency": "USD", "timezone": "Europe/Paris"}
WRONG = [
    ("name", ""),
    ("name", "Acme"),
    ("name", "a b"),
    ("name", "-acme"),
    ("name", "a" * 65),
    ("name", "acmé"),
    ("name", "a\0b"),
    ("name", "bud_00000000000000000000000000"),
    ("currency", ""),
    ("currency", "usd"),
    ("currency", "XXQ"),
    ("currency", "tokens"),
    ("timezone", ""),
    ("timezone", "Paris"),
    ("timezone", "../etc/passwd"),
    ("timezone", "/etc/localtime"),
    ("timezone", "Europe"),
    ("timezone", "a\0b"),
]


@pytest.mark.parametrize(("setting", "value"), WRONG)
def test_a_book_with_a_wrong_setting_is_refused(shared_url: str, setting: str, value: str) -> None:
    """With a sentence that names what was given, before anything is written."""
    with pytest.raises(BookRefused, match="is not a"):
        check_book(**RIGHT | {setting: value})
    before = len(list(verify_books(shared_url)))
    with pytest.raises(BookRefused):
        open_new_book(shared_url, **RIGHT | {setting: value})
    assert len(list(verify_books(shared_url))) == before


@pytest.mark.parametrize(
    ("currency", "timezone"), [("USD", "UTC"), ("JPY", "Asia/Tokyo"), ("EUR", "America/Argentina/Ushuaia")]
)
def test_right_settings_pass(currency: str, timezone: str) -> None:
    """And return nothing."""
    check_book(name="a" * 64, currency=currency, timezone=timezone)


def test_a_new_book_verifies_and_its_key_rules_it(shared_url: str) -> None:
    """One record; an administrator's key that is nowhere in it; another book's records are not touched."""
    opened = open_new_book(shared_url, name="new-book", currency="EUR", timezone="UTC", strict_names=True)
    parsed = parse_key(opened.admin_key)
    assert parsed is not None
    assert (parsed.book_id, parsed.role) == (opened.book.book_id, "admin")
    (report,) = verify_books(shared_url, book="new-book")
    assert (report.verified, report.complete) == (True, True)
    log = Recorded(shared_url, opened.book.book_id).log
    assert report.records == len(log)
    assert [one.kind for one in log][-1] == "key"
    secret = opened.admin_key.split("_")[2][8:]
    assert not any(secret in str(one.body) for one in log)
    assert (opened.book.currency, opened.book.timezone, opened.book.strict_names) == ("EUR", "UTC", True)


def test_a_database_without_tables_is_said_so(database_url: str) -> None:
    """Rather than half a book."""
    with pytest.raises(StorageError):
        open_new_book(database_url, **RIGHT)


def test_a_recovered_key_rules_the_book_and_is_on_record(world: LiveWorld) -> None:
    """Although the first key was revoked; as made by the database's owner, each time anew."""
    admin_key = next(one.body["key"] for one in world.recorded().of("key"))
    assert is_id(admin_key, "key")
    with Desk(world) as desk:
        assert desk.say(world.command(RevokeKey, world.admin, key=admin_key)) == ["done"]
        create = world.command(CreateAgent, world.admin, name="late", kind="agent")
        assert desk.say(create) == ["key_revoked"]
        texts = [recover_admin_key(world.url, world.book_id, sources=world.sources) for _ in range(2)]
        assert len(set(texts)) == 2
        for number, text in enumerate(texts):
            parsed = parse_key(text)
            assert parsed is not None
            assert (parsed.book_id, parsed.role) == (world.book_id, "admin")
            caller = Caller(parsed.digest)
            assert desk.say(world.command(CreateAgent, caller, name=f"late-{number}", kind="agent")) == ["done"]
    keys = world.recorded().of("key")[-2:]
    assert [one.body["by"]["principal"] for one in keys] == ["system:database-owner"] * 2


def test_a_book_that_is_not_there_cannot_be_recovered(world: LiveWorld) -> None:
    """And is not made by trying."""
    with pytest.raises(UnknownBook):
        recover_admin_key(world.url, world.book_id ^ 1, sources=world.sources)
    assert Recorded(world.url, world.book_id ^ 1).log == []
