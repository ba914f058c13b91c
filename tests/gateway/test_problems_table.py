"""Ways in which gateways in front of models failed their users elsewhere, and the tests that show it does not happen.

Owns the table ``PROBLEMS``. What concerns the ledger behind the gateway stands in ``concurrency/test_problems.py``.
"""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ANSWERS = "gateway/test_metering_answers.py::"
CALLS = "gateway/test_calls.py::"
ENDS = "gateway/test_failures_ends.py::"
ERRORS = "gateway/test_provider_errors.py::"
FAILURES = "gateway/test_failures.py::"
POLICIES = "gateway/test_inference_policies.py::"
STREAMS = "gateway/test_metering_streams.py::"
TARIFF = "gateway/test_tariff.py::"
PROBLEMS: dict[str, tuple[str, ...]] = {
    "other routes of the gateway evade the budget": (
        CALLS + "test_what_is_refused_reaches_no_provider",
        "gateway/test_failures_bytes.py::test_paths_and_methods_that_are_no_call_reach_no_provider",
    ),
    "a request that cannot be priced gets no hold": (
        "gateway/test_client_refusals.py::test_a_model_without_a_price",
        TARIFF + "test_no_price_is_no_tariff",
        CALLS + "test_denials_of_the_gateway_are_on_record",
    ),
    "a hold is shrunk while the call may cost more": (
        POLICIES + "test_a_call_is_lowered_to_what_its_budget_affords",
        POLICIES + "test_a_floor_denies_what_would_be_lowered_below_it",
    ),
    "a fixed tiny hold": (
        TARIFF + "test_no_cost_is_above_its_ceiling",
        "gateway/estimate/test_soundness.py::test_a_conversation_is_billed_no_more_than_its_bound",
    ),
    "what nothing bounds is forwarded": ("gateway/test_client_refusals.py::test_what_nothing_bounds",),
    "a stream goes over its cap": (POLICIES + "test_a_stream_is_cut_where_its_money_ends",),
    "an error before the first chunk leaks the hold": (FAILURES + "test_each_failure_of_a_provider_has_one_rule",),
    "worst-case holds fill the budget": (
        POLICIES + "test_a_stream_starts_small_and_grows",
        "gateway/test_client_refusals.py::test_money",
    ),
    "streams are invoiced and not recorded": (
        CALLS + "test_everything_that_was_billed_is_in_the_books",
        STREAMS + "test_a_chat_stream_with_its_usage_at_the_end",
    ),
    "Responses are recorded at zero": (STREAMS + "test_a_responses_stream_ends_in_one_of_three_ways",),
    "a client that disconnects is not charged": (
        ENDS + "test_a_client_that_leaves_while_its_answer_is_made_pays_for_it",
        ENDS + "test_a_stream_whose_client_left_may_be_cut_instead",
    ),
    "a client that left is still forwarded": (
        ENDS + "test_a_client_that_leaves_the_line_holds_nothing_and_is_not_forwarded",
        ERRORS + "test_a_client_that_leaves_the_line_with_a_request_behind_it_is_not_forwarded",
    ),
    "calls that timed out are billed": (FAILURES + "test_each_failure_of_a_provider_has_one_rule",),
    "errors that are billed": (ERRORS + "test_an_error_is_free_only_where_nothing_says_otherwise",),
    "unsettled holds vanish": (
        "crash/test_gateway_kill.py::"
        "test_a_gateway_that_is_killed_in_mid_stream_leaves_books_that_explain_the_bill",
    ),
    "retries of SDKs count once or twice": (ENDS + "test_each_attempt_of_the_real_clients_is_a_call_of_its_own",),
    "cache writes are charged twice, or at the wrong lifetime": (
        TARIFF + "test_costs",
        TARIFF + "test_an_hours_write_without_a_price_costs_twice_the_input_at_least",
    ),
    "cache reads are charged in full": (TARIFF + "test_costs", ANSWERS + "test_usage_in_one_form"),
    "the tier that was asked for is charged": (
        TARIFF + "test_the_served_tier_decides",
        ANSWERS + "test_the_tier_is_the_one_that_served",
    ),
    "a zero is replaced by an estimate": (
        ANSWERS + "test_no_usage_is_not_zero_usage",
        STREAMS + "test_a_zero_in_a_stream_is_a_zero",
    ),
    "totals include their parts at one provider and not at another": (ANSWERS + "test_usage_in_one_form",),
    "cumulative usage is added up": (STREAMS + "test_anthropic_usage_is_cumulative_and_may_come_several_times",),
    "fees of tools are forgotten": (
        ANSWERS + "test_tools_of_responses_are_counted_from_the_items",
        STREAMS + "test_tools_of_a_responses_stream_are_counted_once",
    ),
    "compaction stands outside the totals": (ANSWERS + "test_usage_in_one_form",),
    "unknown usage costs nothing in silence": (
        ANSWERS + "test_what_nobody_knows_is_named",
        TARIFF + "test_what_has_no_price_is_named",
        FAILURES + "test_a_usage_key_that_nobody_knows_is_flagged",
        ERRORS + "test_a_usage_key_with_a_control_character_is_flagged",
    ),
    "a negotiated price is not that of the answer": (
        TARIFF + "test_a_books_prices_follow_a_model_through_its_names",
        ERRORS + "test_negotiated_prices_hold_for_what_answered_under_its_date",
    ),
    "a mistyped price is mended by deleting rows": (
        "gateway/test_reprice_cli.py::test_a_price_ten_times_too_dear_is_mended",
    ),
    "a conversation loops until something kills it": ("gateway/test_client_refusals.py::test_a_loop",),
    "refusals are repeated until the money is gone": (
        ENDS + "test_the_real_clients_do_not_repeat_what_bursar_denied",
    ),
    "an agent learns a provider's key": (
        CALLS + "test_no_provider_key_is_ever_shown",
        ERRORS + "test_an_error_repeats_no_key",
    ),
}  # fmt: skip


def test_every_problem_has_its_tests() -> None:
    """The table names tests that exist."""
    for problem, names in PROBLEMS.items():
        assert names, problem
        for name in names:
            file, _, function = name.partition("::")
            tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert function in found, f"{problem}: there is no {name}"
