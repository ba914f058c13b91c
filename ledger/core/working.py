"""One batch while it is decided: an overlay over the snapshot, and the changeset that grows from it.

Owns posting and record writing, behind the gate that every command passes. Invariants: the snapshot is never changed;
every record's body carries the transfers that were
posted with it, and the balances stored with a transfer are those right after it.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from ledger.core import account as accounts
from ledger.core import changeset as tables
from ledger.core.account import Account
from ledger.core.book import CATEGORY, PAYEE, Head, Name
from ledger.core.canonical import Fragment, canonical_bytes, idempotency_digest, text_digest, text_salt
from ledger.core.changeset import Changeset, copy_of, row_of, update_of
from ledger.core.command import Command
from ledger.core.gate import Gate
from ledger.core.journal import FORMAT, SEMANTICS
from ledger.core.landing import land
from ledger.core.moment import moment_text
from ledger.core.money import ATOMS_MAX
from ledger.core.outcome import UNBOUND_DENIALS, Outcome, Status
from ledger.core.planning import CounterKey
from ledger.core.policy import Meter
from ledger.core.refusal import refuse
from ledger.core.snapshot import PriorAnswer, Snapshot

Posting = tuple[str, str, int, str]
"""(debit account, credit account, atoms, currency) of one transfer."""

_ROW_TABLES: Final = (
    ("budgets", tables.BUDGETS), ("agent_counts", tables.AGENT_COUNTS), ("policies", tables.POLICIES),
    ("counters", tables.COUNTERS), ("approvals", tables.APPROVALS), ("delegations", tables.DELEGATIONS),
    ("renewals", tables.RENEWALS), ("corrections", tables.CORRECTIONS), ("correction_rules", tables.CORRECTION_RULES),
    ("correction_sums", tables.CORRECTION_SUMS), ("periods", tables.PERIODS), ("explanations", tables.EXPLANATIONS),
    ("invoices", tables.INVOICES), ("payments", tables.PAYMENTS), ("payee_terms", tables.PAYEE_TERMS),
    ("rates", tables.RATES),
)  # fmt: skip


class Batch(Gate):
    """The state of one batch: the gate that commands pass, the records they write, the changeset that grows."""

    __slots__ = ("_expiry_texts", "_key_digest", "met")

    def __init__(self, snapshot: Snapshot, now: int) -> None:
        super().__init__(snapshot, now)
        self.met: set[tuple[str, str]] = set()
        self._expiry_texts: dict[int, str] = {}
        self._key_digest: tuple[Command | None, bytes] = (None, b"")

    # Names and texts.

    def spending_names(self, category: str, payee: str) -> None:
        """Refuse a category or payee the book does not know, if the book's setting says so."""
        if not self.snapshot.book.strict_names:
            return
        if self.fact("names", (CATEGORY, category)) is None:
            refuse(Status.UNKNOWN_CATEGORY, f"{category} is not a category of this book; an admin can add it")
        if self.fact("names", (PAYEE, payee)) is None:
            refuse(Status.UNKNOWN_PAYEE, f"{payee} is not a payee of this book; an admin can add it")

    def meet_names(self, category: str, payee: str) -> None:
        """Make a category and a payee known on first use, with the record that is written next."""
        pair = (category, payee)
        if pair in self.met:
            return
        self.met.add(pair)
        for kind, name in ((CATEGORY, category), (PAYEE, payee)):
            if self.fact("names", (kind, name)) is None:
                met = Name(self.book_id, kind, name, self.index)
                self.make("names", (kind, name), met)
                self.inserts["names"].append(row_of(met))

    def salted(self, asked: Command, principal: str, field: str, text: str) -> str:
        """The digest that stands in the log for a free text; the text itself goes beside the log when the
        command is concluded. What a second person approved has its texts beside the request."""
        if self.carrying is not None:
            return text
        # What has no idempotency key is never repeated: a salt for each record, so that none outlives its text.
        scope = asked.idempotency_key or f"\x00{self.index}"
        salt = text_salt(self.snapshot.text_secret, principal, scope, field)
        self.texts.append((field, salt, text))
        return text_digest(salt, text)

    def expiry(self, ttl_seconds: int, since: int) -> tuple[int, str]:
        """(moment, text) ``ttl_seconds`` after ``since``."""
        moment = since + ttl_seconds * 1_000_000
        text = self._expiry_texts.get(moment)
        if text is None:
            text = self._expiry_texts[moment] = moment_text(moment)
        return moment, text

    # Posting and recording.

    def check_room(self, postings: list[Posting]) -> None:
        """Refuse postings after any of which a balance would leave 64 bits. What a budget has available and what it
        holds must fit together, so that a hold can always be released."""
        after: dict[str, int] = {}
        for debit, credit, atoms, currency in postings:
            for name, change in ((debit, atoms), (credit, -atoms)):
                before = after.get(name + currency)
                after[name + currency] = (self.balance(name, currency) if before is None else before) + change
            room = ATOMS_MAX
            if debit.endswith(":available") and debit.startswith("budgets:"):
                holding = debit.removesuffix("available") + "held"
                room -= after.get(holding + currency, self.balance(holding, currency))
            if after[debit + currency] > room or after[credit + currency] < -ATOMS_MAX:
                refuse(
                    Status.BALANCE_OVERFLOW,
                    f"{self.amount_text(atoms, currency)} would take {debit} or {credit} beyond what 64 bits hold",
                )

    def check_run_room(self, run: str | None, currency: str, since: int, *, held: int = 0, spent: int = 0) -> None:
        """Refuse what adds ``held`` or ``spent`` atoms to a run's total and takes it beyond 64 bits."""
        opened = self.fact("runs", run) if run is not None else None
        if opened is None or opened.created_index >= since:
            return
        made = self.run_totals.get((opened.name, currency))
        if made is None and opened.name not in self.made.get("runs", ()):
            made = self.snapshot.run_totals[opened.name, currency]
        if made is not None and (made.held + held > ATOMS_MAX or made.spent + spent > ATOMS_MAX):
            refuse(Status.BALANCE_OVERFLOW, f"run {opened.name} would hold or have spent more than 64 bits hold")

    def check_counter_room(self, counted: Sequence[tuple[Meter, CounterKey]], increase: int) -> None:
        """Refuse what adds ``increase`` atoms to a counter and takes it beyond 64 bits."""
        for meter, key in counted:
            if meter.currency is not None:
                counter = self.counter(key)
                if counter is not None and counter.settled + counter.held + increase > ATOMS_MAX:
                    refuse(
                        Status.BALANCE_OVERFLOW, f"{meter.policy}/{meter.id} would have counted more than 64 bits hold"
                    )

    def await_expiries(self) -> None:
        """Refuse, to be decided again, while money may come free from holds that are due and have not ended yet."""
        if not self.snapshot.due_complete:
            refuse(Status.EXPIRY_BACKLOG, "more holds are due to expire first")

    def open_account(self, name: str, currency: str) -> Account:
        """The batch's own copy of an account, made when it does not exist yet."""
        found = self.accounts.get((name, currency))
        if found is not None:
            return found
        known = self.snapshot.accounts[name, currency] if name not in self.made.get("accounts", ()) else None
        if known is not None:
            found = copy_of(known)
        else:
            classified = accounts.classify(name)
            if classified is None:
                raise ValueError(f"{name} cannot name an account")
            kind, role = classified
            found = Account(
                self.book_id, self.account_count, name, currency, kind, role, 0, None, self.index, self.index
            )
            self.account_count += 1
        self.accounts[name, currency] = found
        return found

    def record(
        self,
        kind: str,
        subject: str,
        body: dict[str, Any],
        postings: list[Posting],
        effective_at: int | None = None,
    ) -> tuple[int, bytes]:
        """Write one record with its transfers: post them, complete ``body``, hash it. Returns (index, leaf hash). What
        is meant for a closed month lands in the next that is open."""
        index, now = self.index, self.now
        if effective_at is not None:
            effective_at = land(self, body, effective_at)
        effective = now if effective_at is None else effective_at
        shown = []
        reached: list[Account] = []
        for position, (debit_name, credit_name, atoms, currency) in enumerate(postings):
            debit = self.open_account(debit_name, currency)
            credit = self.open_account(credit_name, currency)
            debit.balance += atoms
            credit.balance -= atoms
            debit.changed_index = credit.changed_index = index
            if debit.role == "available":
                reached.append(debit)
            if credit.role == "available":
                reached.append(credit)
            self.inserts["transfers"].append(
                (
                    self.book_id, index, position, debit.account_no, credit.account_no, currency, atoms,
                    debit.balance, credit.balance, now, effective,
                )
            )  # fmt: skip
            shown.append([debit_name, credit_name, str(atoms), currency])
        for account in reached:
            # The record as a whole takes a balance below zero, not one of its transfers on the way.
            if account.balance >= 0:
                account.overdrawn_index = None
            elif account.overdrawn_index is None:
                account.overdrawn_index = index
        body["format"] = FORMAT
        body["semantics"] = SEMANTICS
        body["book"] = self.book_name
        body["index"] = index
        body["kind"] = kind
        body["time"] = self.now_text
        if effective_at is not None:
            body["effective_at"] = moment_text(effective_at)
        if shown:
            body["transfers"] = shown
        packed = canonical_bytes(body)
        leaf = sha256(b"\x00" + packed).digest()
        self.frontier.append(leaf)
        self.inserts["log_records"].append((self.book_id, index, kind, subject, now, effective, packed, leaf))
        self.index = index + 1
        return index, leaf

    def key_digest(self, asked: Command, principal: str) -> bytes:
        """The stored digest of the idempotency key of the command at hand."""
        known_for, digest = self._key_digest
        if known_for is not asked:
            digest = idempotency_digest(principal, asked.idempotency_key)
            self._key_digest = (asked, digest)
        return digest

    def conclude(self, asked: Command, principal: str, request_digest: bytes, outcome: Outcome) -> Outcome:
        """Keep the command's texts and its idempotency key with the record that answers it; a denial that may soon be
        otherwise does not bind the key."""
        for field, salt, text in self.texts:
            self.inserts["texts"].append((self.book_id, outcome.log_index, field, salt, text))
        if outcome.status in UNBOUND_DENIALS or not asked.idempotency_key or asked.caller.key_digest is None:
            return outcome
        digest = self.key_digest(asked, principal)
        self.inserts["idempotency_keys"].append((self.book_id, digest, request_digest, outcome.log_index, self.now))
        packed = self.inserts["log_records"][outcome.log_index - self.snapshot.head.size][6]
        self.answers[principal, asked.idempotency_key] = PriorAnswer(
            request_digest, outcome.log_index, packed, outcome.leaf_hash
        )
        return outcome

    def changeset(self) -> Changeset:
        """Everything the batch writes."""
        head = self.snapshot.head
        inserts, updates = self.inserts, {}
        for spec, entities in (
            (tables.ACCOUNTS, self.accounts.values()),
            (tables.AUTHORIZATIONS, self.authorizations.values()),
            (tables.AGENTS, self.agents.values()),
            (tables.KEYS, self.keys.values()),
            (tables.WEBHOOKS, self.webhooks.values()),
        ):
            changed = []
            for entity in entities:
                if entity.created_index >= head.size:
                    inserts[spec.name].append(row_of(entity))
                else:
                    changed.append(update_of(spec, entity))
            updates[spec.name] = changed
        changed = []
        for (run, currency), total in self.run_totals.items():
            fresh = run in self.made.get("runs", ()) or self.snapshot.run_totals[run, currency] is None
            if fresh:
                inserts["run_totals"].append(row_of(total))
            else:
                changed.append(update_of(tables.RUN_TOTALS, total))
        updates["run_totals"] = changed
        for kind, spec in _ROW_TABLES:
            known = getattr(self.snapshot, kind)
            changed = []
            for key, entity in self.rows[kind].items():
                if key in known and known[key] is not None:
                    changed.append(update_of(spec, entity))
                else:
                    inserts[spec.name].append(row_of(entity))
            updates[spec.name] = changed
        after = Head(
            self.book_id, self.index, self.frontier.root(), self.frontier.to_bytes(),
            self.now if self.index > head.size else head.recorded_at, self.account_count,
            self.frozen,
        )  # fmt: skip
        touched: dict[str, dict[Any, Any]] = {kind: dict(made) for kind, made in self.made.items()}
        touched.setdefault("accounts", {}).update(self.accounts)
        touched.setdefault("authorizations", {}).update(self.authorizations)
        touched.setdefault("agents", {}).update(self.agents)
        touched.setdefault("run_totals", {}).update(self.run_totals)
        touched.setdefault("keys", {}).update(self.keys)
        touched.setdefault("webhooks", {}).update(self.webhooks)
        for kind, rows in self.rows.items():
            touched.setdefault(kind, {}).update(rows)
        touched.setdefault("keys_by_id", {}).update({key.id: key for key in self.keys.values()})
        return Changeset(
            self.book_id, head.size, head.root, after,
            {name: rows for name, rows in inserts.items() if rows},
            {name: rows for name, rows in updates.items() if rows},
            {name: keys for name, keys in self.deletes.items() if keys},
            touched,
            {pair: answer.leaf_hash for pair, answer in self.answers.items()},
            {} if self.settings_changed else self.standings,
        )  # fmt: skip


def by_of(principal: str, key_id: str | None) -> dict[str, str]:
    """Who asked, as a body says it."""
    return {"principal": principal, "key": key_id} if key_id is not None else {"principal": principal}


def request_of(request: dict[str, Any]) -> tuple[Any, bytes]:
    """(canonical fragment, SHA-256) of a request, so that a body takes it over without writing it again."""
    packed = canonical_bytes(request)
    return Fragment(packed), sha256(packed).digest()
