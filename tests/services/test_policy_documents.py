"""Policy documents: what a file may say, what each mistake is answered, and the form that the log keeps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from ledger.core.canonical import check_value
from ledger.services.policies.cases import load_cases
from ledger.services.policies.document import FIELDS, PolicyFileError, document_from_json, load_policy
from ledger.services.policies.document_files import policy_files, read_policy
from ledger.services.policies.document_schema import json_schema, published_text
from ledger.services.policies.document_yaml import BYTES_MAX, YamlText

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "policies.md"
SHIPPED = policy_files([ROOT / "policies"])
BASE = "policy: p\napplies_to: {book: true}\ncurrency: USD\n"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def limit(fields: str) -> str:
    """A policy with one limit, whose id is there already."""
    return f"{BASE}limits: [{{id: a, {fields}}}]\n"


def approval(fields: str) -> str:
    """A policy with one approval rule."""
    return f'{BASE}approval: [{{above: "1", {fields}}}]\n'


def refusal(text: str) -> PolicyFileError:
    """How a file is refused."""
    with pytest.raises(PolicyFileError) as caught:
        load_policy(text, source="p.yaml")
    return caught.value


def in_json(text: str) -> object:
    """What the same file says as JSON."""
    return YamlText(text, source="p.yaml").data


def test_the_canonical_form_is_what_the_log_keeps() -> None:
    """Shorthands are written out, defaults that have a meaning too, and what is not set is absent."""
    document = load_policy(
        """
policy: all
applies_to: {team: research}
currency: USD
shadow: false
allow: {payees: [no, on, "gpt-*"]}
hours: {days: [fri, mon], from: 07:00}
limits:
  - {id: a, per: hour, rolling: true, max: "10.00", by: resource, match: {labels: {k: [v]}}}
  - {id: b, per: day, rolling: false, max_count: 0, by: []}
  - {id: c, per: lifetime, max_count: 3, on: runs}
approval:
  - {above: "2.00"}
  - {above: "3", approvers: person:ann, expires_after: 2d, per: day, by: [agent, label.team]}
inference: {ceilings: {url_input: "0.20"}, stream: {start_tokens: 5, lookahead_tokens: 9}}
loops: {same_request: 2, within: 90s}
overrun: {}
mismatch: {more_than: 1}
when: []
""",
        source="all.yaml",
    )
    assert document.canonical() == {
        "policy": "all",
        "applies_to": {"team": "research"},
        "currency": "USD",
        "allow": {"payees": ["no", "on", "gpt-*"]},
        "hours": {"days": ["mon", "fri"], "from": "07:00", "to": "24:00"},
        "limits": [
            {
                "id": "a",
                "per": "hour",
                "rolling": True,
                "max": "10.00",
                "match": {"labels": {"k": ["v"]}},
                "by": ["resource"],
            },
            {"id": "b", "per": "day", "max_count": 0},
            {"id": "c", "per": "lifetime", "max_count": 3, "on": "runs"},
        ],
        "approval": [
            {
                "id": "approval-1",
                "above": "2.00",
                "per": "authorization",
                "approvers": ["approver"],
                "quorum": 1,
                "expires_after": 86400,
            },
            {
                "id": "approval-2",
                "above": "3",
                "per": "day",
                "by": ["agent", "label.team"],
                "approvers": ["person:ann"],
                "quorum": 1,
                "expires_after": 172800,
            },
        ],
        "loops": {"same_request": 2, "within": 90, "then": "deny"},
        "overrun": {"tolerance_percent": 0, "then": "flag"},
        "mismatch": {"more_than": 1, "then": "flag"},
        "inference": {
            "ceilings": {"url_input": "0.20"},
            "unknown": "keep",
            "stream": {"start_tokens": 5, "lookahead_tokens": 9},
        },
    }


GOOD = [
    BASE,
    "policy: p\napplies_to: {budget: b}\nlimits: [{id: a, per: day, max_count: 1}]\n",
    limit('per: day, max: "0"'),
    limit("per: day, max_count: 0"),
    limit('per: year, rolling: true, max: "0.000000001"'),
    limit('per: month, max: "5", currency: tokens'),
    limit("per: lifetime, max_count: 3, on: runs, by: agent, match: {agents: [a]}"),
    limit("per: run, max_count: 5, by: [label.a/b, agent]"),
    approval("approvers: [person:ann, person:bob], quorum: 2"),
    approval("approvers: admin, quorum: 10, expires_after: 60"),
    approval("expires_after: 30d"),
    BASE + "hours: {from: 22:00, to: 04:00, days: [sat]}\n",
    BASE + 'hours: {from: "00:00", to: "24:00"}\n',
    BASE + "timezone: Asia/Kathmandu\n",
    BASE + "a: &a x\n".replace("a: &a x", "allow: {payees: &names [a, b], categories: *names}"),
    BASE + "when: [{id: c, expression: 'amount < 5'}]\n",
    BASE + "inference: {unknown: settle}\n",
    BASE
    + "inference: {default_max_output_tokens: 64, min_output_tokens: 64, ceilings: {any: '0.50', fast_mode: '0'}}\n",
    BASE + "inference: {fallback_price: {input_mtok: '5.00', output_mtok: '25'}}\n",
    "policy: p\napplies_to: {agent: a}\ninference: {min_output_tokens: 1}\n",
    BASE + "limits: [" + ", ".join(f"{{id: l{n}, per: day, max_count: 1}}" for n in range(64)) + "]\n",
    BASE + "allow: {payees: [" + ", ".join(f"p{n}" for n in range(500)) + "]}\n",
]


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_good_documents_load_and_keep_their_form(text: str) -> None:
    """Reading the canonical form again gives the same form, and the log can take it."""
    document = load_policy(text, source="good.yaml")
    canonical = document.canonical()
    check_value(canonical)
    again = document_from_json(json.loads(json.dumps(canonical)))
    assert (again.canonical(), again.digest()) == (canonical, document.digest())
    assert document_from_json(in_json(text)).canonical() == canonical


YAML_PROBLEMS = [
    ("", 1, 1, "", "the file is empty: write a document"),
    ("a: [", 1, 5, "", "check the indentation, brackets and quotes"),
    (BASE + "\t- x", 4, 1, "", "indent with spaces instead of tabs"),
    (BASE + "x: a\x01", 4, 5, "", "remove it, or write it as an escape"),
    ("--- {}\n--- {}", 2, 1, "", "write one document in each file"),
    (BASE + "policy: q\n", 4, 1, "policy", "stands here a second time, first in line 1: keep one of them"),
    (limit('per: day, per: day, max: "1"'), 4, 28, "limits[0].per", "a second time"),
    (limit("per: day, max: 5.00"), 4, 33, "limits[0].max", 'put it in quotes, max: "5.00"'),
    (limit("per: day, max: 1e3"), 4, 33, "limits[0].max", 'put it in quotes, max: "1e3"'),
    (limit("per: day, max_count: 12345678901234567890"), 4, 39, "limits[0].max_count", "write a smaller number"),
    (BASE + "limits:\n", 4, 8, "limits", "there is no value here: write one, or leave the field out"),
    (BASE + "timezone: ~\n", 4, 11, "timezone", "leave the field out"),
    (BASE + "allow: {payees: [*]}\n", 4, 19, "", 'put a text that starts with * in quotes, "*"'),
    (BASE + "allow: *a\n", 4, 8, "", "name an anchor (&) that stands above"),
    (BASE + "x: &a [*a]\n", 4, 4, "x[0]", "write the values out"),
    (BASE + "x: !!python/name:os.system a\n", 4, 4, "x", "tags such as"),
    (BASE + "x: !new a\n", 4, 4, "x", "write the plain value"),
    (BASE + "? [a]\n: b\n", 4, 3, "", "a field's name is one word"),
    ("[" * 100, 1, 17, "", "nests deeper than 16 levels"),
    ("a: " + "{a: " * 100, 1, 61, "", "nests deeper than 16 levels"),
]


@pytest.mark.parametrize(("text", "line", "column", "path", "message"), YAML_PROBLEMS, ids=range(len(YAML_PROBLEMS)))
def test_what_is_no_plain_yaml_is_told_with_its_place(
    text: str, line: int, column: int, path: str, message: str
) -> None:
    """The place, counted from 1, and what to change."""
    error = refusal(text)
    assert message in error.message
    assert (error.line, error.column, error.path) == (line, column, path)
    assert str(error).startswith(f"p.yaml:{line}:{column}: ")


PROBLEMS = [
    ("- a\n", "", "begin with policy: NAME"),
    ("policy: p\n", "applies_to", 'the field "applies_to" is missing: add it'),
    (BASE + "limit: []\n", "limit", 'did you mean "limits"?'),
    (BASE + "applies-to: {}\n", "applies-to", 'did you mean "applies_to"?'),
    (BASE + "zzz: 1\n", "zzz", "remove it; the fields here are policy, description"),
    (BASE + "<<: {a: 1}\n", "<<", "merge keys (<<) are not taken: write the fields out"),
    (BASE + "shadow: yes\n", "shadow", "neither true nor false: write one of the two"),
    (BASE + "description: 5\n", "description", 'write description: "5"'),
    (BASE + "description: ''\n", "description", "this text is empty"),
    (BASE + 'description: "a\\u0007"\n', "description", "control character"),
    (BASE + "timezone: europe/pari\n", "timezone", "did you mean Europe/Paris?"),
    (BASE + "timezone: localtime\n", "timezone", "not a known time zone"),
    (BASE + "timezone: ../etc/passwd\n", "timezone", "not a known time zone"),
    ("policy: P\napplies_to: {book: true}\n", "policy", "write lower-case letters"),
    ("policy: p\napplies_to: {book: false}\n", "applies_to.book", "write true"),
    ("policy: p\napplies_to: {}\n", "applies_to", "name exactly one of book, team, agent, budget; there is none"),
    ("policy: p\napplies_to: {team: a, agent: b}\n", "applies_to", "there are 2: team, agent"),
    ("policy: p\napplies_to: research\n", "applies_to", "a set of fields, of book, team, agent, budget"),
    ("policy: p\napplies_to: {book: true}\ncurrency: usd\n", "currency", "write it in capitals, USD"),
    ("policy: p\napplies_to: {book: true}\ncurrency: QQQ\n", "currency", "ISO 4217 code such as USD"),
    (BASE + "allow: {payees: []}\n", "allow.payees", "leave the field out, or name at least one"),
    (BASE + "allow: {payees: openai}\n", "allow.payees", "write [openai]"),
    (BASE + "allow: {payees: [7]}\n", "allow.payees[0]", '"7"'),
    (BASE + "allow: {}\n", "allow", "name categories, payees or resources in it, or leave it out"),
    (BASE + "deny: {payee: [a]}\n", "deny.payee", 'did you mean "payees"?'),
    (BASE + f"deny: {{payees: [{'x' * 257}]}}\n", "deny.payees[0]", "write 1 to 256 characters"),
    (BASE + "deny: {payees: [" + "a, " * 500 + "a]}\n", "deny.payees", "write at most 500"),
    (BASE + "hours: {from: 7:00}\n", "hours.from", 'write two digits each, such as "07:00"'),
    (BASE + 'hours: {from: "24:00"}\n', "hours.from", "not a time of day"),
    (BASE + 'hours: {to: "24:01"}\n', "hours.to", "not a time of day"),
    (BASE + "hours: {from: 08:00, to: 08:00}\n", "hours.to", "leave both out for the whole day"),
    (BASE + "hours: {days: [mon, mon]}\n", "hours.days", "stands here twice: write it once"),
    (BASE + "hours: {days: [monday]}\n", "hours.days[0]", 'did you mean "mon"?'),
    (limit("per: day"), "limits[0]", 'max: "5.00" (money) or max_count: 10'),
    (limit('per: dya, max: "1"'), "limits[0].per", 'did you mean "day"?'),
    (limit('per: day, max: "1", maxcount: 2'), "limits[0].maxcount", 'did you mean "max_count"?'),
    (limit("per: day, max: 5"), "limits[0].max", 'write max: "5"'),
    (limit('per: day, max: "-5"'), "limits[0].max", "not an amount"),
    (limit('per: day, max: "1,000"'), "limits[0].max", 'without separators, such as "1000.00"'),
    (limit('per: day, max: "5 USD"'), "limits[0].max", "currency has a field of its own"),
    (limit('per: day, max: "0.0000000001"'), "limits[0].max", "more than 9 digits after the point of USD"),
    (limit('per: day, max: "99999999999"'), "limits[0].max", "write a smaller amount"),
    (limit('per: day, max: "0.0000001", currency: JPY'), "limits[0].max", "more than 6 digits"),
    (limit("per: day, max_count: '5'"), "limits[0].max_count", "write the whole number without quotes, 5"),
    (limit("per: day, max_count: -1"), "limits[0].max_count", "write at least 0"),
    (limit("per: day, max_count: true"), "limits[0].max_count", "not a whole number"),
    (limit("per: day, max_count: 1, currency: EUR"), "limits[0].currency", "says nothing without max"),
    (limit('per: lifetime, rolling: true, max: "1"'), "limits[0].rolling", "can roll, not lifetime: remove rolling"),
    (limit('per: run, rolling: true, max: "1"'), "limits[0].rolling", "can roll, not run"),
    (limit("per: authorization, max_count: 1"), "limits[0].max_count", "a window of time, such as day"),
    (limit('per: authorization, max: "1", by: agent'), "limits[0].by", "remove by"),
    (limit('per: run, max: "1", by: run'), "limits[0].by[0]", "remove run from by"),
    (limit('per: day, max: "1", by: agnet'), "limits[0].by[0]", "did you mean agent?"),
    (limit('per: day, max: "1", by: [agent, agent]'), "limits[0].by", "stands here twice"),
    (limit('per: day, max: "1", by: label.'), "limits[0].by[0]", "or label.KEY"),
    (limit('per: day, max: "1", match: {}'), "limits[0].match", "name what must match, or leave it out"),
    (limit('per: day, max: "1", match: {labels: {"ä": [a]}}'), "limits[0].match.labels.ä", "is not a label"),
    (limit('per: day, max: "1", match: {agent: [a]}'), "limits[0].match.agent", 'did you mean "agents"?'),
    (limit('per: day, max: "1", on: runs'), "limits[0].max", "write max_count with on: runs"),
    (limit("per: run, max_count: 1, on: runs"), "limits[0].per", "write minute, hour, day, ... or lifetime"),
    (limit("per: day, max_count: 1, on: runs, match: {payees: [a]}"), "limits[0].match.payees", "match agents"),
    (limit("per: day, max_count: 1, on: runs, by: payee"), "limits[0].by[0]", "write by: agent, or nothing"),
    (
        "policy: p\napplies_to: {book: true}\nlimits: [{id: a, per: day, max: '1'}]\n",
        "limits[0].max",
        "add currency: USD",
    ),
    (
        BASE + "limits: [" + ", ".join(f"{{id: l{n}, per: day, max_count: 1}}" for n in range(65)) + "]\n",
        "limits",
        "write at most 64",
    ),
    (
        BASE + "limits: [{id: a, per: day, max_count: 1}, {id: a, per: day, max_count: 2}]\n",
        "limits[1].id",
        "of limits[0]",
    ),
    (
        BASE + "limits: [{id: approval-1, per: day, max_count: 1}]\napproval: [{above: '1'}]\n",
        "approval[0].id",
        "another",
    ),
    (
        BASE + "limits: [{id: a, per: day, max_count: 1}]\nwhen: [{id: a, expression: 'true'}]\n",
        "when[0].id",
        "another",
    ),
    (approval("approvers: boss"), "approval[0].approvers[0]", "write approver, finance, admin or person:NAME"),
    (approval("approvers: []"), "approval[0].approvers", "name at least one"),
    (approval("approvers: [person:ann], quorum: 2"), "approval[0].quorum", "name more approvers, or a role"),
    (approval("quorum: 11"), "approval[0].quorum", "write at most 10"),
    (approval("quorum: 0"), "approval[0].quorum", "write at least 1"),
    (approval("expires_after: 59s"), "approval[0].expires_after", "write 1 minute to 30 days"),
    (approval("expires_after: 31d"), "approval[0].expires_after", "write 1 minute to 30 days"),
    (approval("expires_after: 1 hour"), "approval[0].expires_after", '"90s", "10m", "1h", "2d"'),
    (approval("by: agent"), "approval[0].by", "remove by"),
    (approval("per: week"), "approval[0].per", "write authorization, run or day"),
    (BASE + "approval: [{id: a}]\n", "approval[0].above", "is missing: add it"),
    (BASE + "loops: {same_request: 1, within: 1m}\n", "loops.same_request", "write at least 2"),
    (BASE + "loops: {same_request: 2, within: 31d}\n", "loops.within", "write 1 second to 30 days"),
    (BASE + "loops: {same_request: 2, within: 1m, then: freez}\n", "loops.then", 'did you mean "freeze"?'),
    (BASE + "overrun: {tolerance_percent: -1}\n", "overrun.tolerance_percent", "write at least 0"),
    (BASE + "mismatch: {}\n", "mismatch.more_than", "is missing: add it"),
    (BASE + "when: [{id: a, expression: 'amount <'}]\n", "when[0].expression", "line 1, column"),
    (BASE + "when: [{id: a, expression: 'amount'}]\n", "when[0].expression", "compare it to something"),
    (BASE + "inference: {}\n", "inference", "say how calls are treated in it, or leave it out"),
    (BASE + "inference: {ceilings: {}}\n", "inference.ceilings", "name an amount in it, or leave it out"),
    (BASE + "inference: {ceilings: {urlinput: '1'}}\n", "inference.ceilings.urlinput", 'did you mean "url_input"?'),
    (BASE + "inference: {ceilings: {any: 1}}\n", "inference.ceilings.any", 'write any: "1"'),
    (BASE + "inference: {ceilings: {any: '-1'}}\n", "inference.ceilings.any", "not an amount"),
    (BASE + "inference: {ceilings: {any: '0.0000000001'}}\n", "inference.ceilings.any", "more than 9 digits"),
    (
        "policy: p\napplies_to: {book: true}\ninference: {ceilings: {any: '1'}}\n",
        "inference.ceilings.any",
        "add currency: USD",
    ),
    (BASE + "inference: {fallback_price: {input_mtok: '5'}}\n", "inference.fallback_price.output_mtok", "is missing"),
    (BASE + "inference: {stream: {start_tokens: 5}}\n", "inference.stream.lookahead_tokens", "is missing: add it"),
    (BASE + "inference: {min_output_tokens: 0}\n", "inference.min_output_tokens", "write at least 1"),
    (
        BASE + "inference: {default_max_output_tokens: '9'}\n",
        "inference.default_max_output_tokens",
        "without quotes, 9",
    ),
    (BASE + "inference: {unknown: settled}\n", "inference.unknown", 'did you mean "settle"?'),
    (
        BASE + "inference: {default_max_output_tokens: 63, min_output_tokens: 64}\n",
        "inference.min_output_tokens",
        "write a smaller floor, or a larger default",
    ),
]


@pytest.mark.parametrize(("text", "path", "message"), PROBLEMS, ids=range(len(PROBLEMS)))
def test_a_mistake_is_answered_with_what_to_change(text: str, path: str, message: str) -> None:
    """In a file with its line; as JSON in the same words, without one."""
    error = refusal(text)
    assert message in error.message, error.message
    assert error.path == path
    assert 1 <= error.line <= text.count("\n")
    with pytest.raises(PolicyFileError) as caught:
        document_from_json(in_json(text))
    assert (caught.value.path, caught.value.message, caught.value.line) == (path, error.message, 0)


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (None, "", "null is not taken"),
        ([], "", "begin with policy: NAME"),
        ({"policy": None}, "policy", "give a value, or leave the field out"),
        ({"policy": 5.5}, "policy", 'write it as text, "policy": "5.5"'),
        ({"limits": [{"max": 1.0}]}, "limits[0].max", '"max": "1.0"'),
        ({"policy": "p", "applies_to": {"book": True}, "description": "\ud800"}, "description", "half a character"),
        (json.loads("[" * 40 + "]" * 40), "[0]" * 16, "nests deeper than 16 levels"),
    ],
)
def test_what_only_json_can_say_is_refused(value: object, path: str, message: str) -> None:
    """The HTTP API has the same checks, and no canonical form with a null or a fraction can come of it."""
    with pytest.raises(PolicyFileError) as caught:
        document_from_json(value)
    assert caught.value.path == path
    assert message in caught.value.message


def test_every_mistake_of_a_file_is_told_in_its_order() -> None:
    """Who wrote it mends them at once, not one a run."""
    error = refusal("policy: P\nzzz: 1\napplies_to: {book: true}\nlimits: [{id: a, per: dya, max: 5}]\n")
    assert [problem.path for problem in error.problems] == ["policy", "zzz", "limits[0].per", "limits[0].max"]
    assert len(str(error).splitlines()) == 4


def test_aliases_cannot_blow_up() -> None:
    """Ten lines of aliases stand for 10^9 values in readers that put them in."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "write fewer" in refusal("\n".join(lines)).message


def test_a_large_file_is_refused_unread() -> None:
    """A byte too many is enough."""
    assert "split it into several" in refusal("#" * (BYTES_MAX + 1)).message
    assert load_policy(BASE + "#" * (BYTES_MAX - len(BASE)), source="p.yaml").policy == "p"


def test_a_large_policy_is_refused_as_json_too() -> None:
    """No list is too long by itself; together they are."""
    globs = [f"{n:04}{'x' * 250}" for n in range(500)]
    value = {"policy": "p", "applies_to": {"book": True}, "deny": {"payees": globs, "categories": globs}}
    assert document_from_json(value).policy == "p"
    with pytest.raises(PolicyFileError, match="split it into several"):
        document_from_json({**value, "allow": {"resources": globs}})


def test_other_loaders_keep_their_own_rules() -> None:
    """The resolvers of YAML 1.2 are this loader's only."""
    assert yaml.safe_load("[no, 5.0, on]") == [False, 5.0, True]


def test_the_schema_is_valid_and_published() -> None:
    """Editors read the file in policies/, which is what the command prints."""
    schema = json_schema()
    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"$id", "title", "examples"} <= set(schema)
    assert (ROOT / "policies" / "policy.schema.json").read_text(encoding="utf-8") == published_text()


def test_every_field_of_the_schema_has_a_description() -> None:
    """It is what an editor shows."""
    schema = json_schema()
    parts = [schema, *schema["$defs"].values()]
    assert [name for part in parts for name, field in part["properties"].items() if not field.get("description")] == []


@pytest.mark.parametrize("text", [*GOOD, *EXAMPLES[:-1]], ids=range(len(GOOD) + len(EXAMPLES) - 1))
def test_the_schema_takes_what_the_reader_takes(text: str) -> None:
    """Shorthands and the canonical form; otherwise an editor would mark what is right."""
    validator = jsonschema_rs.Draft202012Validator(json_schema())
    validator.validate(in_json(text))
    validator.validate(load_policy(text, source="p.yaml").canonical())


@pytest.mark.parametrize(
    "text",
    [
        limit("per: day, max: 5"),
        limit("per: day"),
        limit("per: dya, max: '1'"),
        BASE + "limit: []\n",
        BASE + "allow: {}\n",
        BASE + "loops: {same_request: 1, within: 1m}\n",
        approval("expires_after: 59"),
        approval("approvers: boss"),
        BASE + "inference: {}\n",
        BASE + "inference: {ceilings: {}}\n",
        BASE + "inference: {ceilings: {any: 1}}\n",
        BASE + "inference: {stream: {start_tokens: 5}}\n",
        "policy: p\napplies_to: {team: a, agent: b}\n",
    ],
)
def test_the_schema_refuses_common_mistakes(text: str) -> None:
    """So that an editor marks them while they are typed."""
    assert not jsonschema_rs.Draft202012Validator(json_schema()).is_valid(in_json(text))


def test_the_schema_has_examples_that_load() -> None:
    """An example that is wrong teaches the wrong thing."""
    for example in json_schema()["examples"]:
        jsonschema_rs.Draft202012Validator(json_schema()).validate(example)
        assert document_from_json(example).policy == example["policy"]


def test_five_policies_are_shipped() -> None:
    """The tests below would pass on none."""
    assert [path.stem for path in SHIPPED] == [
        "cautious-default",
        "inference-team",
        "purchasing-agent",
        "read-only",
        "sandbox-run",
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_policy_is_exemplary(path: Path) -> None:
    """It is named as its file, keeps its form, is valid by the schema that its first line names, and is listed."""
    document = read_policy(path)
    text = path.read_text(encoding="utf-8")
    assert document.policy == path.stem
    assert document_from_json(document.canonical()).canonical() == document.canonical()
    jsonschema_rs.Draft202012Validator(json_schema()).validate(in_json(text))
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == ROOT / "policies" / "policy.schema.json"
    assert path.name in (ROOT / "policies" / "README.md").read_text(encoding="utf-8")


def test_every_field_is_in_the_page() -> None:
    """docs/policies.md has each field of each part as a row of a table."""
    page = PAGE.read_text(encoding="utf-8")
    rows = {
        name
        for line in page.splitlines()
        if line.startswith("|")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert {name for names in FIELDS.paths().values() for name in names} - rows == set()


def test_every_example_of_the_page_loads() -> None:
    """The last is a case, and it is about the first."""
    *policies, cases = EXAMPLES
    assert len(policies) >= 3
    loaded = [load_policy(text, source="docs/policies.md") for text in policies]
    assert len(load_cases(cases, source="docs/policies.md", document=loaded[0]).cases) == 1


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("{id: runs, per: day, on: runs, max_count: 3}", "a run belongs to no budget"),
        ('{id: loops, per: day, max: "1"}', "loops is the name of the loop rule"),
    ],
)
def test_what_a_limit_of_a_budget_cannot_be(limit: str, says: str) -> None:
    """Bound to a budget, a limit on opening runs would never apply; an id must not read like the loop rule."""
    text = f"policy: p\napplies_to: {{budget: research}}\ncurrency: USD\nlimits:\n  - {limit}\n"
    with pytest.raises(PolicyFileError, match=says):
        load_policy(text, source="p.yaml")
