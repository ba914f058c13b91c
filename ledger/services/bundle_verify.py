"""Bundles verified offline: one or several behind one another, without a database and without any secret.

Owns ``BundlePass``, which importing shares, so that nothing enters a database that was not proved. Invariants: memory
is bounded by the rows of a page, whatever the number of records; what a bundle cannot show is said and not passed over;
of what a bundle says about itself nothing is believed that the records do not give.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from ledger.core.book import book_code
from ledger.core.bundle import MANIFEST, POLICIES, SUMS, BundleInvalid, policy_line
from ledger.core.canonical import canonical_bytes, parse
from ledger.core.changeset import BOOKS, POLICY_VERSIONS, row_of
from ledger.core.deriving import Columns
from ledger.core.invariants import Difference, explains_overdraft, shown
from ledger.core.merkle import Frontier
from ledger.core.notes import VerifierKey
from ledger.services.bundle_checkpoint import Signing, check_checkpoint
from ledger.services.bundle_reading import Bundle, open_bundle
from ledger.services.bundle_span import SpanPass
from ledger.services.bundle_texts import settle_bundle_texts
from ledger.services.verify_against import Against, Claim, ClaimUnusable, Consistency, Verdict
from ledger.services.verify_findings import BookReport, EnoughFound, Findings
from ledger.services.verify_log import LogPass, Progress
from ledger.services.verify_projections import check_invariants
from ledger.services.verify_rows import row_differences
from ledger.storage.bundle_scratch import BundleScratch
from ledger.storage.proof_reader import LogPage
from ledger.storage.scratch import Scratch

NO_PROGRESS: Final[Progress] = lambda done, total: None  # noqa: E731


@dataclass(frozen=True, slots=True)
class BundleReport:
    """What is known of bundles behind one another. ``report`` is what verify says of a book; ``first`` is the first
    record, ``texts`` whether free texts should be there; ``signings`` are the checkpoints and what they are worth;
    ``notes`` are sentences on what could not be shown; ``digests`` are the SHA-256 of the archives, uncompressed."""

    report: BookReport
    first: int
    texts: bool
    signings: tuple[Signing, ...]
    notes: tuple[str, ...]
    digests: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong with what could be checked."""
        return self.report.verified


class BundleWatch(Protocol):
    """Whoever watches the records of bundles on their way: the seat of replay."""

    def begin(self, made: "BundlePass") -> None:
        """Told once, before the first record is read."""

    def page(self, page: LogPage) -> None:
        """Told of each page, before its records are followed."""


class _Source:
    """The bundle that is read just now."""

    def __init__(self, bundle: Bundle, kept: BundleScratch, watch: BundleWatch | None) -> None:
        self.bundle = bundle
        self._kept = kept
        self._watch = watch

    def log_page(self, start: int, stop: int) -> LogPage:
        page = self.bundle.log_page(start, stop)
        if page.texts:
            self._kept.add_texts(((row[0], row[1]) for row in page.texts), self.bundle.manifest.size)
        if self.bundle.gone:
            self._kept.add_gone(self.bundle.gone)
            self.bundle.gone.clear()
        if self._watch is not None:
            self._watch.page(page)
        return page

    def next_index(self, start: int) -> int | None:
        return self.bundle.next_index(start)


class _Explaining:
    """Keeps the bodies that may explain why a balance stands below zero: a pipe is not read twice."""

    def __init__(self, kept: BundleScratch) -> None:
        self._kept = kept

    def check(self, index: int, body: dict[str, Any], columns: Columns) -> list[Difference]:
        if explains_overdraft(body):
            self._kept.add_body(index, canonical_bytes(body))
        return []


class BundlePass:
    """One way through bundles. In the end ``log`` is the pass over their records, ``scratch`` has every projection,
    ``kept`` the transfers, if ``keep_transfers``, and ``checkpoints`` by size those that were found good."""

    def __init__(
        self,
        first: Bundle,
        findings: Findings,
        against: Against,
        *,
        progress: Progress,
        keep_transfers: bool,
        watch: BundleWatch | None = None,
    ) -> None:
        self.scratch = Scratch()
        self.kept = BundleScratch()
        self.findings = findings
        self.against = against
        self.signings: list[Signing] = []
        self.notes: list[str] = []
        self.digests: list[str] = []
        self.checkpoints: dict[int, str] = {}
        self.manifest = first.manifest
        self.first = first.manifest.first
        self.texts_unproved = 0
        self._without: list[tuple[int, int]] = []
        self._source = _Source(first, self.kept, watch)
        book_id = first.manifest.book.book_id
        self.log: LogPass
        if not self.alone:
            self.log = LogPass(
                self._source, self.scratch, book_id, findings,
                progress=progress, checks=(_Explaining(self.kept),), tree_checks=(against,),
                made=self.kept.add_transfers if keep_transfers else lambda rows: None,
            )  # fmt: skip
            return
        before = Frontier.from_bytes(self.first, first.manifest.frontier)
        self.log = SpanPass(
            self._source, self.scratch, first.manifest.book, findings, before=before, progress=progress,
            tree_checks=(against,),
        )  # fmt: skip
        self.notes += [
            f"records from {self.first} on were given without those before them: their hashes, the root and the texts "
            "were checked, and not that balances and decisions follow; give the bundles of the records before them "
            "first",
            f"{POLICIES}, and the currency, time zone and other settings in {MANIFEST}, are what whoever wrote it "
            "says: the records that they follow from are not here",
        ]

    @property
    def alone(self) -> bool:
        """Whether the records before the first are missing."""
        return self.first > 0

    def take(self, bundle: Bundle, trusted: Sequence[VerifierKey]) -> None:
        """Take in one bundle, to its end. Raises EnoughFound, BundleInvalid."""
        manifest, log = bundle.manifest, self.log
        self._check_follows(bundle)
        self._source.bundle, self.manifest = bundle, manifest
        if not manifest.texts:
            self._without.append((manifest.first, manifest.size))
        signing = check_checkpoint(bundle, log, self.scratch, trusted, self.findings, alone=self.alone)
        self.signings.append(signing)
        if signing.size is not None and signing.size <= manifest.size and signing.signers:
            self.checkpoints[signing.size] = signing.note
        if log.frontier.root() != manifest.root:
            what = "is not the root that the records give"
            self._differ(MANIFEST, what, "root", shown(log.frontier.root()), shown(manifest.root))
        if log.followed:
            self._check_book()
        self._check_policies(bundle)
        if not bundle.finish():
            what = "a member is not the one that was written: the bundle was damaged or changed; compare with sha256sum"
            self._differ(SUMS, what)
        self.digests.append(bundle.digest)

    def _check_follows(self, bundle: Bundle) -> None:
        manifest, log = bundle.manifest, self.log
        if manifest.first != log.position:
            raise BundleInvalid(
                f"it begins with record {manifest.first}, and those before it end with {log.position - 1}; give "
                "bundles in order, each where the last one ended"
            )
        if manifest.book != self.manifest.book:
            raise BundleInvalid(f"it is of book {manifest.book.name}, and not of the same book as those before it")
        if manifest.frontier != log.frontier.to_bytes():
            raise BundleInvalid("it goes on from another log than the one that the bundles before it have")

    def _check_book(self) -> None:
        expected = row_of(self.log.fold.book) if self.log.fold.book is not None else None
        for difference in row_differences(BOOKS, expected and expected[1:], row_of(self.manifest.book)[1:]):
            self.findings.add(difference._replace(table=MANIFEST))
        current = self.log.fold.signing_key
        key = None if current is None else current.verifier().text()
        if key != self.manifest.key:
            self._differ(MANIFEST, "is not the key that the log names", "key", key or "", self.manifest.key or "")

    def _check_policies(self, bundle: Bundle) -> None:
        """The member is what the writer makes of the log, byte for byte; of a span alone it is only read."""
        if not self.log.followed:
            for _ in bundle.policies():
                pass
            return
        self.scratch.write()
        expected = self._policy_lines()
        for number, line in enumerate(bundle.policies(), 1):
            made = next(expected, None)
            if made is None:
                self._differ(POLICIES, f"line {number} is of no version that the log has")
            elif line != made[1]:
                self._differ(POLICIES, f"line {number} is not what the log gives for {made[0]}")
        if (lacking := next(expected, None)) is not None:
            self._differ(POLICIES, f"has not every version of a policy: {lacking[0]} lacks")

    def _policy_lines(self) -> Iterator[tuple[str, bytes]]:
        """Every version of a policy in words, and its line, in the order in which they are written."""
        for page in self.scratch.pages(POLICY_VERSIONS):
            for policy, version, digest, packed, _, recorded_at, index in page:
                live = self.scratch.policies.get(policy)
                yield (
                    f"version {version} of {policy}",
                    policy_line(
                        policy=policy,
                        version=version,
                        digest=digest,
                        document=parse(packed.encode())["document"],
                        recorded_at=recorded_at,
                        index=index,
                        in_force=live is not None and live.version == version and not live.retired,
                    ),
                )

    def conclude(self) -> None:
        """Check what takes whole tables. Raises EnoughFound; ValueError for a row that the log makes twice."""
        if self.log.followed or self.alone:
            texts = settle_bundle_texts(
                self.log, self.scratch, self.kept, self.findings, first=self.first, without=self._without
            )
            self.notes += texts.notes()
            self.texts_unproved = texts.redacted_later
        else:
            # Which records redact is not known where they were not followed.
            self.log.texts_missing = sum(self.scratch.texts.count())
        if self.log.followed and not self.findings.differences:
            self.scratch.write()
            for difference in check_invariants(self.kept, self.scratch, self.log):
                self.findings.add(difference)

    def verdicts(self) -> list[Verdict]:
        """What the checkpoints that were given say of the records."""
        if not self.against.claims:
            return []
        # Of a span alone only keys that were given are known.
        keys = [] if self.alone else list(self.scratch.all_signing_keys())
        return self.against.verdicts(self.log.position, keys)

    def _differ(self, table: str, what: str, column: str = "", expected: str = "", found: str = "") -> None:
        self.findings.add(Difference(table, what, None, "", column, expected, found))

    def close(self) -> None:
        """Drop what is on disk."""
        self.scratch.close()
        self.kept.close()


@contextmanager
def passing(
    paths: Sequence[Path],
    trusted: Sequence[VerifierKey],
    *,
    differences_max: int,
    progress: Callable[[str, int, int], None] | None = None,
    keep_transfers: bool = False,
    against: Sequence[Claim] = (),
    proofs: Sequence[Consistency] = (),
    watch: BundleWatch | None = None,
) -> Iterator[tuple[BundlePass, BundleReport]]:
    """Verify bundles that follow one another, and keep what the way through them gave until the block ends.

    ``trusted`` are the keys (``VerifierKey``) one of which must have signed each checkpoint; none: those that the log
    names. ``against`` are checkpoints that the log must extend, with ``proofs`` that lead to later ones; ``watch`` sees
    the records on their way. Raises BundleInvalid where a file is no bundle, cut off, or does not follow the one
    before, and ClaimUnusable for a checkpoint of another book, which could say nothing of this one; and what ``watch``
    raises.
    """
    started = time.monotonic()
    findings = Findings(differences_max)
    made: BundlePass | None = None
    complete = False
    try:
        try:
            for path in paths:
                with open_bundle(path) as bundle:
                    if made is None:
                        _check_claims(against, bundle)
                        made = BundlePass(
                            bundle, findings, Against(against, proofs, trusted),
                            progress=_named(bundle, progress), keep_transfers=keep_transfers, watch=watch,
                        )  # fmt: skip
                        if watch is not None:
                            watch.begin(made)
                    made.take(bundle, trusted)
            if made is None:
                raise BundleInvalid("no bundle was given")
            made.conclude()
            complete = made.log.followed or made.alone
        except EnoughFound:
            pass
        except ClaimUnusable:
            raise
        except BundleInvalid as error:
            if not findings.differences or made is None:
                raise
            findings.differences.append(Difference("bundle", str(error)))
        except ValueError as error:
            findings.differences.append(Difference("log_records", str(error)))
        if made is None:
            raise BundleInvalid("no bundle was given")
        yield made, _report(made, complete, time.monotonic() - started)
    finally:
        if made is not None:
            made.close()


def _check_claims(claims: Sequence[Claim], bundle: Bundle) -> None:
    """Every checkpoint must be of the bundle's book. Raises ClaimUnusable."""
    book = bundle.manifest.book
    for claim in claims:
        if not claim.is_of(book.book_id):
            raise ClaimUnusable(
                f"{claim.source} is a checkpoint of {claim.origin}, and not of the book in the bundle, {book.name} "
                f"with the code {book_code(book.book_id)}"
            )


def _named(bundle: Bundle, progress: Callable[[str, int, int], None] | None) -> Progress:
    name = bundle.manifest.book.name
    return NO_PROGRESS if progress is None else lambda done, total: progress(name, done, total)


def _report(made: BundlePass, complete: bool, seconds: float) -> BundleReport:
    log, manifest = made.log, made.manifest
    return BundleReport(
        BookReport(
            manifest.book.book_id,
            manifest.book.name,
            log.position - made.first,
            log.frontier.root().hex(),
            complete,
            log.texts,
            log.texts_missing,
            seconds,
            made.findings.differences,
            verdicts=made.verdicts(),
            texts_redacted=log.texts_redacted,
            texts_unproved=made.texts_unproved,
        ),
        made.first,
        manifest.texts,
        tuple(made.signings),
        (*made.notes, *(note for signing in made.signings for note in signing.notes)),
        tuple(made.digests),
    )


def verify_bundles(
    paths: Sequence[Path],
    trusted: Sequence[VerifierKey] = (),
    *,
    differences_max: int = 10,
    progress: Callable[[str, int, int], None] | None = None,
    against: Sequence[Claim] = (),
    proofs: Sequence[Consistency] = (),
) -> BundleReport:
    """Verify bundles that follow one another. Raises as ``passing``."""
    with passing(
        paths, trusted, differences_max=differences_max, progress=progress, against=against, proofs=proofs
    ) as (_, report):
        return report
