"""What policies say about inference: how a section is read, how several come together, and that no decision looks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.estimate import reading
from ledger.core.canonical import canonical_bytes
from ledger.core.inference import (
    ANY,
    CEILING_KEYS,
    NO_RULES,
    FallbackPrice,
    InferenceRules,
    StreamStart,
    merge,
    rules_of,
    rules_on_path,
)
from ledger.core.policy_row import Policy
from ledger.services.policies.document_inference import Ceilings
from tests.support.policed import USD, Policed, decision, limit, status

FULL: dict[str, Any] = {
    "default_max_output_tokens": 4096,
    "min_output_tokens": 64,
    "ceilings": {"previous_response": "0.50", "url_input": "0.20"},
    "fallback_price": {"input_mtok": "5.00", "output_mtok": "25.00"},
    "unknown": "settle",
    "stream": {"start_tokens": 500, "lookahead_tokens": 1000},
}
FULL_RULES = InferenceRules(
    4096, 64, (("previous_response", USD // 2), ("url_input", USD // 5)), FallbackPrice(5 * USD, 25 * USD), "settle",
    StreamStart(500, 1000),
)  # fmt: skip


def document(section: dict[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """A canonical document with this section."""
    made = {"policy": "p", "applies_to": {"book": True}, "currency": "USD"} | fields
    return made if section is None else made | {"inference": section}


def row(section: dict[str, Any] | None, *, digits: dict[str, int] | None = None, **fields: Any) -> Policy:
    """The row of a live policy with this section."""
    packed = {"document": document(section, **fields), "digits": {"USD": 9} if digits is None else digits, "meters": []}
    return Policy(1, "p", "pol_1", 1, "book", "", "d", canonical_bytes(packed).decode(), False, 1, 1)


def ceilings(**amounts: int) -> InferenceRules:
    """Rules with these ceilings alone."""
    return InferenceRules(ceilings=tuple(sorted(amounts.items())))


def test_the_fields_of_a_document_are_the_keys_of_the_core() -> None:
    """A ceiling that may be written and is not known to the gateway would bound nothing."""
    assert tuple(Ceilings.model_fields) == CEILING_KEYS


def test_whatever_an_estimate_names_has_a_ceiling_of_its_own() -> None:
    """Else only ``any`` could let it pass, which lets everything else pass too."""
    named = {value for name, value in vars(reading).items() if name.isupper() and isinstance(value, str)}
    assert named == set(CEILING_KEYS) - {ANY}


@pytest.mark.parametrize(
    ("made", "currency", "expected"),
    [
        (document(None), "USD", NO_RULES),
        (document(FULL), "USD", FULL_RULES),
        (document({"unknown": "keep"}), "USD", NO_RULES),
        # No rate is known between two currencies, so amounts in another one bound nothing.
        (document(FULL), "EUR", InferenceRules(4096, 64, (), None, "settle", StreamStart(500, 1000))),
        (document(FULL), None, InferenceRules(4096, 64, (), None, "settle", StreamStart(500, 1000))),
    ],
)
def test_a_section_is_read(made: dict[str, Any], currency: str | None, expected: InferenceRules) -> None:
    """Amounts become atoms, prices atoms per million tokens."""
    assert rules_of(made, {"USD": 9}, currency=currency) == expected


MERGES = [
    ([], NO_RULES),
    ([NO_RULES, FULL_RULES], FULL_RULES),
    ([InferenceRules(100), InferenceRules(50), NO_RULES], InferenceRules(50)),
    ([InferenceRules(None, 10), InferenceRules(None, 64)], InferenceRules(None, 64)),
    ([ceilings(url_input=5, any=9), ceilings(url_input=7)], ceilings(url_input=5, any=9)),
    ([ceilings(url_input=9), ceilings(any=4)], ceilings(url_input=4, any=4)),
    ([ceilings(url_input=9, any=1), NO_RULES], ceilings(url_input=9, any=1)),
    ([ceilings(url_input=9), ceilings(url_input=0)], ceilings(url_input=0)),
    (
        [InferenceRules(fallback_price=FallbackPrice(5, 10)), InferenceRules(fallback_price=FallbackPrice(3, 25))],
        InferenceRules(fallback_price=FallbackPrice(5, 25)),
    ),
    ([InferenceRules(unknown="settle"), NO_RULES], InferenceRules(unknown="settle")),
    (
        [InferenceRules(stream=StreamStart(500, 10)), InferenceRules(stream=StreamStart(50, 1000)), NO_RULES],
        InferenceRules(stream=StreamStart(50, 1000)),
    ),
]


@pytest.mark.parametrize(("several", "expected"), MERGES, ids=range(len(MERGES)))
def test_policies_come_together(several: list[InferenceRules], expected: InferenceRules) -> None:
    """The strictest word of each, in any order."""
    assert merge(several) == expected
    assert merge(reversed(several)) == expected


@pytest.mark.parametrize(
    ("rules", "key", "expected"),
    [
        (NO_RULES, "url_input", None),
        (ceilings(url_input=5), "url_input", 5),
        (ceilings(url_input=5), "background", None),
        (ceilings(url_input=5, any=9), "background", 9),
        (ceilings(url_input=5, any=9), "something_new", 9),
        (ceilings(url_input=0, any=9), "url_input", None),
        (ceilings(any=0), "background", None),
    ],
)
def test_what_a_call_is_held_at(rules: InferenceRules, key: str, expected: int | None) -> None:
    """Its own ceiling, else that of anything; one of zero denies."""
    assert rules.ceiling(key) == expected


def test_rows_that_say_nothing() -> None:
    """A policy that is only tried, and one that cannot be read: both leave what others say."""
    good = row({"min_output_tokens": 7})
    tried = row({"min_output_tokens": 9}, shadow=True)
    broken = [
        row({"ceilings": {"any": "much"}}),
        row({"ceilings": {"any": "1"}}, digits={}),
        row({"stream": {"start_tokens": 1}}),
        row({"fallback_price": "dear"}),
        Policy(1, "p", "pol_1", 1, "book", "", "d", "{", False, 1, 1),
    ]
    assert rules_on_path([good, tried, *broken], currency="USD") == InferenceRules(None, 7)
    assert rules_on_path([], currency="USD") == NO_RULES


tokens = st.none() | st.integers(1, 9)
rules = st.builds(
    InferenceRules,
    tokens,
    tokens,
    st.dictionaries(st.sampled_from(CEILING_KEYS), st.integers(0, 9)).map(lambda made: tuple(sorted(made.items()))),
    st.none() | st.builds(FallbackPrice, st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from(["keep", "settle"]),
    st.none() | st.builds(StreamStart, st.integers(1, 9), st.integers(1, 9)),
)


@given(st.lists(rules, max_size=5), rules)
def test_another_policy_never_loosens_a_bound_that_one_has_set(
    several: list[InferenceRules], more: InferenceRules
) -> None:
    """Whatever a call has in it, it is held at no more than each policy that bounds it says; the order says nothing."""
    merged = merge([*several, more])
    assert merged == merge([more, *reversed(several)])
    for one in (*several, more):
        for key in CEILING_KEYS:
            own, together = dict(one.ceilings), merged.ceiling(key)
            if (said := own.get(key, own.get("any"))) is not None:
                assert (together or 0) <= said
        if one.default_max_output_tokens is not None:
            assert (merged.default_max_output_tokens or 0) <= one.default_max_output_tokens
        assert (merged.min_output_tokens or 0) >= (one.min_output_tokens or 0)
    assert merge([merged]) == merged


def test_no_decision_looks_at_it() -> None:
    """A policy with the section alone approves what none would have refused, an edit of the section keeps what a limit
    has counted, and the fold and the replay agree."""
    world = Policed()
    world.policy("how", inference=FULL)
    outcome = world.authorize(world.crawler, "3")
    assert status(outcome) == "approved"
    assert world.bodies()[-1]["decision"]["policies"][0][:2] == ["how", 1]
    assert decision(outcome)["limits"] == []
    world.policy("caps", limits=[limit("day", maximum="5")])
    world.policy("caps", limits=[limit("day", maximum="5")], inference=FULL)
    assert [count for _, _, count in world.counters("day").values()] == [1]
    assert status(world.authorize(world.crawler, "3")) == "limit_held"
    world.prove()
