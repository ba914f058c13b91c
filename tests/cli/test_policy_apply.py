"""`bursar policy apply`, `show`, `history`, `rollback` and `retire` on real databases, as their owner types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ledger.cli.policy import command as policy_group
from ledger.services.policies.document import load_policy
from ledger.services.policies.document_files import policy_files, read_policy
from ledger.services.policies.document_writing import policy_yaml
from ledger.services.verify import verify_books
from tests.support.running_app import RunningApp, authorization

ROOT = Path(__file__).resolve().parents[2]
CAPS = """\
policy: caps
applies_to: {team: team-of-crawler}
currency: USD
limits:
  - {id: day, per: day, max: "10.00"}
  - {id: rate, per: hour, rolling: true, max_count: 30}
loops: {same_request: 9, within: 10m}
"""


class Desk:
    """Somebody at the database's machine, with a folder of policies."""

    def __init__(self, app: RunningApp, folder: Path) -> None:
        self.app = app
        self.folder = folder / "policies"
        self.folder.mkdir()

    def write(self, text: str, name: str = "caps") -> Path:
        """Write a policy file."""
        path = self.folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def type(self, *arguments: str | Path, answer: str | None = None) -> Result:
        """Type `bursar policy ARGUMENTS`, and an answer to what is asked."""
        words = [str(argument) for argument in arguments]
        environment = {"BURSAR_DATABASE_URL": self.app.database_url}
        return CliRunner().invoke(policy_group, words, input=answer, env=environment)

    def live(self, name: str = "caps") -> int:
        """The version that decides now, as the server says."""
        return int(self.app.get(f"/v1/policies/{name}").json["version"])


@pytest.fixture
def desk(own_app: RunningApp, tmp_path: Path) -> Desk:
    """A desk on SQLite while a server runs."""
    own_app.make_agent("crawler", budget="research")
    return Desk(own_app, tmp_path)


@pytest.fixture
def own_app(tmp_path: Path):
    """A running app on SQLite."""
    with RunningApp(f"sqlite:///{tmp_path / 'bursar.db'}") as app:
        yield app


@pytest.fixture
def any_desk(database_url: str, tmp_path: Path):
    """A desk on either database while a server runs."""
    with RunningApp(database_url) as app:
        app.make_agent("crawler", budget="research")
        yield Desk(app, tmp_path)


def test_what_is_applied_decides_at_once_in_a_running_server(any_desk: Desk) -> None:
    """Filled from what the server had decided before; on record; and the books verify."""
    desk = any_desk
    key = desk.app.make("/v1/keys", {"role": "agent", "agent": "crawler"})["key"]
    desk.app.make("/v1/authorizations", authorization("6.00"), key=key)
    desk.write(CAPS)
    done = desk.type("apply", desk.folder, "--yes", "--reason", "caps for all")
    assert done.exit_code == 0, done.output
    assert "caps: nothing -> version 1" in done.output
    assert "  limit day begins with what the book's history says" in done.output
    assert "  loops begins with nothing" in done.output
    assert "caps: version 1 decides, from log record" in done.output
    refused = desk.app.post("/v1/authorizations", authorization("5.00"), key=key)
    assert refused.code == "limit_held"
    version = desk.app.get("/v1/policies/caps/versions/1").json
    assert (version["made_by"], version["reason"]) == ("system:database-owner", "caps for all")
    (report,) = verify_books(desk.app.database_url)
    assert report.verified


def test_the_difference_is_shown_and_asked_about(desk: Desk) -> None:
    """A unified diff, what becomes of each limit, and nothing without a yes."""
    path = desk.write(CAPS)
    for answer, sentence in (("n\n", "nothing was changed"), ("", "use --yes where nobody can")):
        refused = desk.type("apply", path, answer=answer)
        assert refused.exit_code == 1
        assert sentence in refused.output
    assert desk.app.get("/v1/policies/caps").status == 404
    assert desk.type("apply", path, answer="y\n").exit_code == 0
    desk.write(CAPS.replace('"10.00"', '"12.00"').replace("per: hour", "per: minute").replace("loops", "# loops"))
    asked = desk.type("apply", path, "--dry-run")
    assert asked.exit_code == 0
    for line in (
        "caps: version 1 -> version 2",
        "--- caps version 1",
        f"+++ {path}",
        '-  - {id: day, per: day, max: "10.00"}',
        '+  - {id: day, per: day, max: "12.00"}',
        "-loops: {same_request: 9, within: 600, then: deny}",
        "  limit day keeps what it has counted",
        "  limit rate begins with what the book's history says",
        "  loops is dropped",
        "nothing was changed (--dry-run)",
    ):
        assert line in asked.output.splitlines(), asked.output
    assert desk.live() == 1


def test_what_says_the_same_changes_nothing(desk: Desk) -> None:
    """Comments, the order of fields and the way a duration is written are no change; the status is 0."""
    path = desk.write(CAPS)
    desk.type("apply", path, "--yes")
    size = desk.app.log_size()
    desk.write("# a comment\n" + CAPS.replace("within: 10m", "within: 600"))
    same = desk.type("apply", path)
    assert (same.exit_code, same.output) == (0, "caps: unchanged, version 1 says the same\n")
    assert desk.app.log_size() == size


def test_nothing_is_applied_when_any_file_is_wrong(desk: Desk) -> None:
    """Every problem with its place; a case that fails counts too; so does what the book does not have."""
    desk.write(CAPS)
    other = desk.write(CAPS.replace("policy: caps", "policy: other").replace("per: day", "per: dy"), "other")
    wrong = desk.type("apply", desk.folder, "--yes")
    assert wrong.exit_code == 1
    assert f"{other}:5:15: limits[0].per" in wrong.output
    assert "nothing was applied" in wrong.output
    other.unlink()
    asked = "{amount: {amount: '11.00', currency: USD}, category: a, payee: b}"
    cases = f"- name: too much\n  request: {asked}\n  expect: {{outcome: approved}}\n"
    (desk.folder / "caps_cases.yaml").write_text(cases, encoding="utf-8")
    failed = desk.type("apply", desk.folder, "--yes")
    assert failed.exit_code == 1
    assert "caps_cases.yaml:1: case too much: outcome is denied, expected approved" in failed.output
    assert "nothing was applied" in failed.output
    (desk.folder / "caps_cases.yaml").unlink()
    desk.write(CAPS.replace("team-of-crawler", "nowhere"))
    for flag in ("--yes", "--dry-run"):
        unknown = desk.type("apply", desk.folder, flag)
        assert unknown.exit_code == 1
        assert "there is no team nowhere" in unknown.output
    assert desk.app.get("/v1/policies?retired=true").json["items"] == []


def test_several_files_are_asked_about_together(desk: Desk) -> None:
    """One question, one version each; those that are unchanged are said to be."""
    desk.write(CAPS)
    desk.type("apply", desk.folder, "--yes")
    for name in ("one", "two"):
        desk.write(CAPS.replace("policy: caps", f"policy: {name}"), name)
    done = desk.type("apply", desk.folder, answer="y\n")
    assert done.exit_code == 0
    assert "caps: unchanged" in done.output
    assert done.output.count("Apply 2 policies?") == 1
    assert (desk.live("caps"), desk.live("one"), desk.live("two")) == (1, 1, 1)


def test_history_show_rollback_and_retire(desk: Desk) -> None:
    """A file that is shown can be applied again; a rollback is a new version; a retired policy binds nobody."""
    path = desk.write(CAPS)
    desk.type("apply", path, "--yes", "--reason", "first")
    desk.write(CAPS.replace('"10.00"', '"99.00"'))
    desk.type("apply", path, "--yes", "--reason", "a typo")

    shown = desk.type("show", "caps", "--version", "1")
    assert shown.output.startswith("# caps version 1 (version 2 is live)\n")
    assert load_policy(shown.output, source="shown").canonical() == load_policy(CAPS, source="caps").canonical()
    assert desk.type("show", "caps").output.startswith("# caps version 2 (live)\n")

    asked = desk.type("rollback", "caps", "--to", "1", answer="y\n")
    assert asked.exit_code == 0, asked.output
    assert "caps: version 3, which says what version 1 said, decides" in asked.output
    assert desk.type("rollback", "caps", "--to", "1").output == "caps: unchanged, version 3 says the same\n"
    desk.write(shown.output)
    assert desk.type("apply", path).output == "caps: unchanged, version 3 says the same\n"

    lines = [json.loads(line) for line in desk.type("history", "caps", "--json").output.splitlines()]
    assert [(line["version"], line["live"], line.get("reason")) for line in lines] == [
        (3, True, None),
        (2, False, "a typo"),
        (1, False, "first"),
    ]
    table = desk.type("history", "caps").output.splitlines()
    assert table[0].split() == ["VERSION", "MADE", "BY", "DIGEST", "LOG", "REASON"]
    assert table[1].split()[:2] == ["3", "live"]
    assert table[3].endswith("first")

    assert desk.type("retire", "caps", answer="n\n").exit_code == 1
    assert desk.live() == 3
    assert desk.type("retire", "caps", "--yes").output.startswith("caps: retired, from log record")
    assert desk.app.get("/v1/policies").json["items"] == []
    assert desk.type("retire", "caps").output == "caps: retired already\n"
    assert desk.type("show", "caps").output.startswith("# caps version 3 (retired)\n")
    assert desk.type("rollback", "caps", "--to", "3", "--yes").exit_code == 0
    assert desk.live() == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "none"), "there is no policy none; this book has none yet"),
        (("history", "none"), "there is no policy none"),
        (("retire", "none", "--yes"), "there is no policy none"),
        (("rollback", "none", "--to", "1"), "there is no policy none"),
    ],
)
def test_a_policy_that_is_not_there(desk: Desk, arguments: tuple[str, ...], sentence: str) -> None:
    """One sentence, and which there are."""
    missing = desk.type(*arguments)
    assert missing.exit_code == 1
    assert sentence in missing.output
    assert missing.output.count("\n") == 1


def test_a_version_that_is_not_there(desk: Desk) -> None:
    """Told with the command that lists those there are."""
    desk.type("apply", desk.write(CAPS), "--yes")
    for arguments in (("show", "caps", "--version", "7"), ("rollback", "caps", "--to", "7")):
        missing = desk.type(*arguments)
        assert missing.exit_code == 1
        assert "there is no version 7 of caps: 'bursar policy history caps'" in missing.output


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """One sentence, and no file is left behind."""
    (tmp_path / "caps.yaml").write_text(CAPS, encoding="utf-8")
    url = f"sqlite:///{tmp_path / 'none.db'}"
    words = ["apply", str(tmp_path / "caps.yaml"), "--yes", "--database-url", url]
    missing = CliRunner().invoke(policy_group, words)
    assert missing.exit_code == 1
    assert "there is no database file" in missing.output
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("path", policy_files([ROOT / "policies"]), ids=lambda path: path.stem)
def test_a_shipped_policy_reads_back_as_it_was(path: Path) -> None:
    """What `show` prints is the same policy."""
    document = read_policy(path).canonical()
    assert load_policy(policy_yaml(document), source="shown").canonical() == document


@pytest.mark.parametrize(
    "text", ["1e3", ".5", "0x1F", "12:30", "yes", "null", "~", "2026-11-01", "=", "-", "é ü", "a: b"]
)
def test_odd_texts_read_back_as_text(text: str) -> None:
    """Whatever YAML could take for something else."""
    rule = {"id": "a", "per": "day", "max": "1", "match": {"labels": {"key": [text]}}}
    plain = {"policy": "p", "applies_to": {"book": True}, "currency": "USD", "description": text, "limits": [rule]}
    assert load_policy(policy_yaml(plain), source="shown").canonical() == plain


def test_what_it_says_of_inference_is_a_version_like_the_rest(any_desk: Desk) -> None:
    """Shown in the difference line by line and by `show`, with a digest of its own; limits keep what they counted; and
    the books verify."""
    desk = any_desk
    desk.write(CAPS)
    assert desk.type("apply", desk.folder, "--yes").exit_code == 0
    desk.write(CAPS + 'inference:\n  min_output_tokens: 64\n  ceilings: {url_input: "0.20"}\n')
    first = desk.type("apply", desk.folder, "--yes")
    for line in ("+inference:", "+  min_output_tokens: 64", '+  ceilings: {url_input: "0.20"}', "+  unknown: keep"):
        assert line in first.output.splitlines(), first.output
    assert "limit day" in first.output
    assert "begins with" not in first.output
    desk.write(CAPS + 'inference:\n  min_output_tokens: 64\n  ceilings: {url_input: "0.30"}\n')
    second = desk.type("apply", desk.folder, "--yes").output.splitlines()
    assert '-  ceilings: {url_input: "0.20"}' in second
    assert '+  ceilings: {url_input: "0.30"}' in second
    shown = desk.type("show", "caps").output
    assert 'ceilings: {url_input: "0.30"}' in shown
    assert load_policy(shown, source="shown").inference is not None
    versions = desk.app.get("/v1/policies/caps/versions").json["items"]
    assert [item["version"] for item in versions] == [3, 2, 1]
    assert len({item["digest"] for item in versions}) == 3
    assert desk.type("history", "caps").exit_code == 0
    (report,) = verify_books(desk.app.database_url)
    assert report.verified
