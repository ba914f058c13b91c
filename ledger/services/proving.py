"""Proofs over the stored log: inclusion, consistency and roots of any size, each checked before it is handed out.

Owns ``Prover``. Invariants: a proof is handed out only if it leads to the root in the book's head, which the last
decision wrote; so a tile that was changed is made again and never believed; the work is bounded by the depth of the
tree and one tile's worth of rows a level, however long the log.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

from ledger.core.merkle import EMPTY_ROOT, Frontier
from ledger.core.proofs import (
    Node,
    ProofInvalid,
    Span,
    check_consistency,
    check_inclusion,
    consistency_spans,
    inclusion_spans,
    make_proof,
    nodes_of,
    span_root,
    wanted_nodes,
)
from ledger.core.tiles import Tile, is_full, place_of
from ledger.services.errors import UnknownBook
from ledger.services.tiling import LogDamaged, NodeReader, TilePlace, Tiler, TilesMissing
from ledger.storage import queries_log, tile_rows
from ledger.storage.archive_rows import last_range

ROUNDS_MAX: Final = 6
Proof = TypeVar("Proof")


class OutsideLog(LookupError):
    """An index or a size that the log has not. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a record is in the log of ``size`` records; hashes of 32 bytes."""

    index: int
    size: int
    leaf: bytes
    proof: tuple[bytes, ...]
    root: bytes


class Consistency(NamedTuple):
    """That the log of ``first`` records is the beginning of that of ``second``; hashes of 32 bytes."""

    first: int
    second: int
    proof: tuple[bytes, ...]
    first_root: bytes
    second_root: bytes


class _Known(NamedTuple):
    size: int
    root: bytes
    nodes: dict[Node, bytes]
    leaves: dict[int, bytes]


class _Wanted(NamedTuple):
    """The spans of a proof, and the sizes whose roots are told with it."""

    spans: list[Span]
    sizes: tuple[int, ...]

    def all(self, size: int) -> list[Span]:
        """With what shows that those roots lead to the head's, of ``size`` records."""
        spans = list(self.spans)
        for whole in self.sizes:
            if whole:
                spans += [(0, whole), *consistency_spans(whole, size)]
        return spans


class Prover:
    """Makes proofs of any book of a database. Each call reads in one short transaction, more only where tiles lack."""

    def __init__(self, engine: Engine, tiler: Tiler) -> None:
        self._engine = engine
        self._tiler = tiler

    def inclusion(self, book_id: int, index: int, size: int | None = None) -> Inclusion:
        """Proof that record ``index`` is in the log of ``size`` records (None: as it is now). Raises OutsideLog,
        ProofUnavailable, StorageError."""
        return self.inclusions(book_id, [index], size)[0]

    def inclusions(self, book_id: int, indexes: Sequence[int], size: int | None = None) -> list[Inclusion]:
        """As ``inclusion``, of several records together: what their proofs have in common is read once."""

        def make(known: _Known, whole: int) -> list[Inclusion]:
            root = self._root(known, whole)
            made = []
            for index in indexes:
                proof = make_proof(inclusion_spans(index, whole), known.nodes.__getitem__)
                leaf = known.leaves.get(index, b"")
                check_inclusion(leaf=leaf, index=index, size=whole, proof=proof, root=root)
                made.append(Inclusion(index, whole, leaf, tuple(proof), root))
            return made

        def spans(whole: int) -> _Wanted:
            for index in indexes:
                if not 0 <= index < whole:
                    raise OutsideLog(f"there is no record {index} in a log of {whole} records")
            return _Wanted([span for index in indexes for span in inclusion_spans(index, whole)], (whole,))

        return self._make(book_id, size, spans, make, leaves=indexes)

    def consistency(self, book_id: int, first: int, second: int | None = None) -> Consistency:
        """Proof that the log of ``first`` records is the beginning of that of ``second`` (None: as it is now). Raises
        as ``inclusion``."""

        def make(known: _Known, whole: int) -> Consistency:
            proof = make_proof(consistency_spans(first, whole), known.nodes.__getitem__) if first else []
            roots = {"first_root": self._root(known, first), "second_root": self._root(known, whole)}
            check_consistency(first=first, second=whole, proof=proof, **roots)
            return Consistency(first, whole, tuple(proof), **roots)

        def spans(whole: int) -> _Wanted:
            if not 0 <= first <= whole:
                raise OutsideLog(f"no proof leads from a log of {first} records to one of {whole}")
            return _Wanted(consistency_spans(first, whole) if first else [], (first, whole))

        return self._make(book_id, second, spans, make)

    def frontier(self, book_id: int, size: int) -> Frontier:
        """The frontier of the log of ``size`` records. Raises as ``inclusion``."""
        nodes = nodes_of((0, size))

        def make(known: _Known, whole: int) -> Frontier:
            made = Frontier(whole, [known.nodes[node] for node in nodes])
            if made.root() != self._root(known, whole):
                raise ProofInvalid("the nodes of the frontier do not give the root")
            return made

        return self._make(book_id, size, lambda whole: _Wanted([(0, whole)] if whole else [], (whole,)), make)

    @staticmethod
    def _root(known: _Known, size: int) -> bytes:
        """The root of a size, once it was shown to lead to the head's. Raises ProofInvalid."""
        if not size:
            return EMPTY_ROOT
        root = span_root((0, size), known.nodes.__getitem__)
        proof = make_proof(consistency_spans(size, known.size), known.nodes.__getitem__)
        check_consistency(first=size, second=known.size, first_root=root, second_root=known.root, proof=proof)
        return root

    def _make(
        self,
        book_id: int,
        size: int | None,
        spans: Callable[[int], _Wanted],
        make: Callable[[_Known, int], Proof],
        *,
        leaves: Sequence[int] = (),
    ) -> Proof:
        made: dict[TilePlace, Tile] = {}
        healed = 0
        for _ in range(ROUNDS_MAX):
            with self._engine.connect() as connection:
                head = queries_log.head(connection, book_id)
                if head is None:
                    raise UnknownBook
                whole = head.size if size is None else size
                if whole > head.size:
                    raise OutsideLog(f"the log has {head.size} records, not {whole}")
                wanted = wanted_nodes(spans(whole).all(head.size))
                try:
                    reader = NodeReader(connection, book_id, head.size, made)
                    nodes = reader.read(wanted)
                    found = _leaves(connection, book_id, reader, leaves)
                except TilesMissing as missing:
                    lacking: Sequence[TilePlace] = missing.places
                else:
                    known = _Known(head.size, head.root, nodes, found)
                    try:
                        return make(known, whole)
                    except ProofInvalid as error:
                        # First from what the tiles below hold, then from the leaves below.
                        if healed == 2:
                            raise LogDamaged(
                                f"the log does not lead to the root in its head; run 'bursar verify' ({error})"
                            ) from error
                        lacking, healed = _tiles_of(wanted, head.size), healed + 1
            made |= self._tiler.make(book_id, lacking, again=healed > 0, from_leaves=healed == 2)
        raise LogDamaged("tiles go away as they are written")


def _leaves(connection: Connection, book_id: int, reader: NodeReader, indexes: Sequence[int]) -> dict[int, bytes]:
    """Leaf hashes: the records' own, or their tiles' where records are archived; none where there is neither. Raises
    TilesMissing, LogDamaged."""
    found = tile_rows.leaves_at(connection, book_id, indexes)
    lacking = [index for index in indexes if index not in found]
    archived = last_range(connection, book_id) if lacking else None
    if archived is not None:
        nodes = reader.read([(0, index) for index in lacking if index < archived.stop])
        found |= {index: node for (_, index), node in nodes.items()}
    return found


def _tiles_of(nodes: list[Node], size: int) -> list[TilePlace]:
    """Every full tile that these nodes, or the hashes of a tile that is not full, come from."""
    places = set()
    for node in nodes:
        level, position, first, width = place_of(node)
        if is_full(level, position, size):
            places.add((level, position))
        elif level:
            places.update((level - 1, (position << 8) + at) for at in range(first, first + width))
    return sorted(places)
