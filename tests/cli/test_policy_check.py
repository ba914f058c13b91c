"""`bursar policy`: what `check` and `schema` print, and the status that a pipeline goes by."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger.cli.policy import VERBS, command

ROOT = Path(__file__).resolve().parents[2]
POLICY = """policy: p
applies_to: {book: true}
currency: USD
timezone: UTC
allow: {payees: [openai]}
limits:
  - {id: each, per: authorization, max: "5.00"}
  - {id: day, per: day, max: "10.00", max_count: 5}
  - {id: rolling, per: hour, rolling: true, max: "8.00", match: {labels: {team: [blue]}}, by: agent}
approval: [{id: ask, above: "2.00"}]
loops: {same_request: 3, within: 10m}
when: [{id: morning, expression: "hour < 20"}]
"""


def case(expect: str, *, amount: str = "1.00", rest: str = "", facts: str = "{}", payee: str = "openai") -> str:
    """One case of a request to pay openai."""
    request = f'{{amount: {{amount: "{amount}", currency: USD}}, category: inference, payee: {payee}{rest}}}'
    return f"- {{name: one, request: {request}, facts: {facts}, expect: {expect}}}\n"


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write files into an empty folder and run `bursar policy check` in it."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **files: str) -> Result:
        (tmp_path / "policies").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / "policies" / f"{name}.yaml").write_text(text, encoding="utf-8")
        return CliRunner().invoke(command, ["check", *arguments])

    return run


CASES = [
    (case("{outcome: approved, code: approved}"), None),
    (case("{outcome: denied}"), ("outcome", "denied", "approved")),
    (case("{outcome: denied, code: payee_not_allowed, rule: allow.payees}", payee="acme"), None),
    (case("{outcome: pending_approval, rule: ask}", amount="2.01", rest=", accept_pending: true"), None),
    (case("{outcome: denied, code: approval_required, rule: ask}", amount="2.01"), None),
    (case("{outcome: denied, code: limit_too_small, rule: day}", amount="5.01"), ("rule", "day", "each")),
    (case("{outcome: approved}", facts='{used: {day: {amount: "9.00", count: 4}}}'), None),
    (case("{outcome: denied, code: limit_exceeded, rule: day}", facts="{used: {day: {count: 5}}}"), None),
    (
        case(
            "{outcome: denied, code: limit_held, rule: day}",
            facts='{used: {day: {amount: "5.00", held: "4.01"}}}',
        ),
        None,
    ),
    (
        case(
            '{outcome: denied, code: limit_exceeded, rule: day, fits_at: "2026-03-03T00:00:00Z"}',
            facts='{used: {day: {amount: "9.01"}}}',
        ),
        None,
    ),
    (
        case('{outcome: denied, fits_at: "2026-03-04T00:00:00Z"}', facts='{used: {day: {amount: "9.01"}}}'),
        ("fits_at", "2026-03-04T00:00:00Z", "2026-03-03T00:00:00.000000Z"),
    ),
    (
        case(
            "{outcome: denied, rule: rolling}",
            rest=", labels: {team: Blue}",
            facts='{used: {rolling: {amount: "8.00"}}}',
        ),
        None,
    ),
    (case("{outcome: approved}", rest=", labels: {team: red}", facts='{used: {rolling: {amount: "8.00"}}}'), None),
    (
        case(
            "{outcome: approved}",
            rest=", labels: {team: blue}",
            facts='{used: {rolling: {amount: "8.00", at: "2026-03-02T10:58:00Z"}}}',
        ),
        None,
    ),
    (
        case(
            "{outcome: denied, code: velocity}",
            rest=", labels: {team: blue}",
            facts='{used: {rolling: {amount: "8.00", at: "2026-03-02T11:00:20Z"}}}',
        ),
        None,
    ),
    (case("{outcome: approved}", facts="{attempts: 2}"), None),
    (case("{outcome: denied, code: loop_detected, rule: loops}", facts="{attempts: 3}"), None),
    (
        case("{outcome: denied, code: condition_not_met, rule: morning}", rest=', at: "2026-03-02T20:00:00Z"'),
        None,
    ),
]


@pytest.mark.parametrize(("cases", "difference"), CASES, ids=range(len(CASES)))
def test_a_case_is_judged_by_the_rules_that_decide(check, cases: str, difference: tuple[str, str, str] | None) -> None:
    """What was expected and what was found stand beside each other, and the status tells."""
    result = check("--json", p=POLICY, p_cases=cases)
    answer = json.loads(result.output)
    found = [(each["field"], each["expected"], each["found"]) for each in answer["files"][0]["differences"]]
    assert answer["files"][0]["problems"] == []
    assert found == ([] if difference is None else [difference])
    assert (answer["ok"], result.exit_code) == (difference is None, 0 if difference is None else 1)


def test_failures_are_a_table(check) -> None:
    """Where the case stands, which it is, what differs."""
    cases = case("{outcome: approved}").replace("one", "two") + case("{outcome: denied, code: velocity}")
    result = check(p=POLICY, p_cases=cases)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].split() == ["WRONG", "policies/p.yaml", "p,", "1", "of", "2", "cases"]
    assert lines[2].split() == ["WHERE", "CASE", "FIELD", "EXPECTED", "FOUND"]
    assert [line.split() for line in lines[3:5]] == [
        ["policies/p_cases.yaml:2", "one", "outcome", "denied", "approved"],
        ["policies/p_cases.yaml:2", "one", "code", "velocity", "approved"],
    ]
    assert lines[-1] == "1 policy, 2 cases: 1 WRONG"


def test_a_policy_without_cases_is_a_warning(check) -> None:
    """It may be right; nobody knows."""
    result = check(p=POLICY)
    assert result.exit_code == 0
    assert "warning: no cases: write p_cases.yaml" in result.output


def test_a_policy_in_shadow_is_tried_as_if_it_were_not(check) -> None:
    """Its cases say what it will do."""
    cases = case("{outcome: denied, code: payee_not_allowed}", payee="acme")
    assert check(p=POLICY + "shadow: true\n", p_cases=cases).exit_code == 0


def test_every_wrong_file_is_told_with_its_place(check) -> None:
    """One that cannot be read does not keep the others from being checked."""
    result = check(p=POLICY, p_cases=case("{outcome: approved}"), a="policy: a\nlimit: 1\n", b="a: [")
    assert result.exit_code == 1
    assert 'policies/a.yaml:2:1: limit: unknown field "limit": did you mean "limits"?' in result.output
    assert "policies/b.yaml:1:5: this is not YAML" in result.output
    assert "ok     policies/p.yaml  p, 1 of 1 cases" in result.output
    assert result.output.endswith("3 policies, 1 cases: 2 WRONG\n")


def test_two_files_of_one_name_are_wrong(check) -> None:
    """Applying both would make each a version of the other."""
    result = check(a=POLICY, b=POLICY)
    assert result.exit_code == 1
    assert 'policies/b.yaml: the policy is named "p" as in policies/a.yaml: rename one' in result.output


def test_cases_without_their_policy_are_wrong(check) -> None:
    """A renamed policy must not leave its cases behind unseen."""
    result = check(p_cases=case("{outcome: approved}"))
    assert result.exit_code == 1
    assert "policies/p.yaml: there is no such policy, and cases for it in policies/p_cases.yaml" in result.output


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ("a: b\n", 'begin each with "- name: ..."'),
        ("[]\n", "write 1 to 1000"),
        (case("{outcome: aproved}"), '[0].expect.outcome: "aproved" is not possible here: did you mean "approved"?'),
        (case("{outcom: approved}"), 'unknown field "outcom": did you mean "outcome"?'),
        (case("{outcome: approved}") * 2, "[1].name: case 1 has this name too: choose another"),
        (case("{outcome: approved}", facts="{used: {dya: {count: 1}}}"), "did you mean day?"),
        (case("{outcome: approved}", facts="{used: {each: {count: 1}}}"), '"each" counts nothing in this policy'),
        (case("{outcome: approved}", facts='{used: {day: {amount: "0.0000000001"}}}'), "more than 9 digits"),
        (case("{outcome: approved}", amount="0.0000000001"), "more than 9 digits"),
        (case("{outcome: approved}", rest=", at: noon"), "write one such as 2026-03-02T10:00:00Z"),
        (
            case("{outcome: approved}", facts='{used: {day: {count: 1, at: "2026-03-02T12:00:01Z"}}}'),
            "this is after the request",
        ),
        (case("{outcome: approved}").replace('"1.00"', "1.00"), 'put it in quotes, amount: "1.00"'),
    ],
)
def test_a_mistake_in_a_case_is_told(check, cases: str, message: str) -> None:
    """As in a policy: the place, and what to change."""
    result = check(p=POLICY, p_cases=cases)
    assert result.exit_code == 1
    assert message in result.output
    assert "policies/p_cases.yaml:1:" in result.output or "policies/p_cases.yaml:2:" in result.output


def test_paths_may_be_files_and_folders(check, tmp_path: Path) -> None:
    """Files of cases stand for their policy, folders for all below them; hidden ones are passed over."""
    check(p=POLICY, q=POLICY.replace("policy: p", "policy: q"), p_cases=case("{outcome: approved}"))
    for folder in ("more/deep", "more/.hidden"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "r.yml").write_text(POLICY.replace("policy: p", "policy: r"), encoding="utf-8")
    result = check("--json", "policies/p_cases.yaml", "policies/p.yaml", "more")
    assert [each["path"] for each in json.loads(result.output)["files"]] == ["more/deep/r.yml", "policies/p.yaml"]


def test_a_file_that_is_no_text_is_told(check, tmp_path: Path) -> None:
    """No traceback for what an editor saved in another encoding."""
    check()
    (tmp_path / "policies" / "p.yaml").write_bytes(b"policy: \xff\n")
    result = check()
    assert (result.exit_code, "save the file as UTF-8" in result.output) == (1, True)


def test_nothing_to_check_is_no_success(check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped path in a pipeline must not pass."""
    empty = check()
    assert (empty.exit_code, "no policy (NAME.yaml) in policies" in empty.output) == (2, True)
    assert check("nowhere").exit_code == 2
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = CliRunner().invoke(command, ["check"])
    assert (result.exit_code, "there is no folder policies/ here" in result.output) == (2, True)


def test_the_shipped_policies_answer_as_their_cases_say() -> None:
    """Each has cases, and each case comes out as it says."""
    result = CliRunner().invoke(command, ["check", "--json", str(ROOT / "policies")])
    answer = json.loads(result.output)
    assert answer["ok"], answer
    assert all(each["cases"] >= 3 and not each["warnings"] for each in answer["files"])


def test_the_schema_is_printed_as_it_is_published() -> None:
    """`bursar policy schema > policies/policy.schema.json` changes nothing."""
    result = CliRunner().invoke(command, ["schema"])
    assert result.exit_code == 0
    assert result.output == (ROOT / "policies" / "policy.schema.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_of_the_group_loads_and_is_documented(verb: str) -> None:
    """The list of verbs stands apart from their files; docs/policies.md or another page shows each."""
    assert CliRunner().invoke(command, [verb, "--help"]).exit_code == 0
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"bursar policy {verb}" in page.read_text(encoding="utf-8") for page in pages)


def test_the_help_of_the_group_imports_no_verb() -> None:
    """Listing the verbs costs an import of click only."""
    program = (
        "import sys; from click.testing import CliRunner; from ledger.cli.policy import command;"
        "result = CliRunner().invoke(command, ['--help']); print(result.output);"
        "sys.exit(result.exit_code or ('pydantic' in sys.modules) or ('yaml' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"  {verb} " in done.stdout for verb in VERBS)
