"""`bursar reprice` against a scripted server: what it reads, shows, sends, and never sends twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from gateway.cli.reprice import command

PRICES = 'prices: [{provider: lab, model: "m?", prices: {input_mtok: "1.00", output_mtok: "2.00"}}]'


def row(number: int, settled: str, **fields: Any) -> dict[str, Any]:
    """A settled call of 1,000 tokens in and 500 out, whose right price is 0.002."""
    metering = {
        "provider": "lab",
        "model": "m1",
        "tier": "standard",
        "input_tokens": "1000",
        "output_tokens": "500",
        "price.input_mtok": "10",
        "price.output_mtok": "20",
        "price.source": "prices.yaml 000000000000",
    }
    return {
        "id": f"auth_{number}",
        "state": "settled",
        "settled": {"amount": settled, "currency": "USD"},
        "repriced": {"amount": "0.00", "currency": "USD"},
        "flags": [],
        "created_at": "2026-11-03T10:00:00.000000Z",
        "metering": metering | fields.pop("metering", {}),
        **fields,
    }


class Office:
    """A server of Bursar's as far as the verb needs it: lists rows two a page, and reprices as the ledger does."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.listed: list[dict[str, list[str]]] = []
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.answered: dict[str, dict[str, Any]] = {}
        self.refuses: set[str] = set()
        self.asks_another: dict[str, str] = {}
        self.forgets_to_answer = 0

    def list(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """One page."""
        self.listed.append(query)
        start = int(query.get("cursor", ["0"])[0])
        after = str(start + 2) if start + 2 < len(self.rows) else None
        return {"items": self.rows[start : start + 2], "next_cursor": after}

    def reprice(self, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Record a correction, once for a key."""
        self.posted.append((key, body))
        if body["authorization"] in self.asks_another:
            state = self.asks_another[body["authorization"]]
            return 202, {"id": "cor_1", "operation": "reprice", "state": state}
        if key not in self.answered:
            if body["authorization"] in self.refuses:
                return 409, {"code": "reprice_stale", "detail": "look at it again"}
            found = next(each for each in self.rows if each["id"] == body["authorization"])
            before = float(found["settled"]["amount"])
            found["repriced"]["amount"] = f"{float(body['amount']['amount']) - before:.9f}"
            self.answered[key] = {"id": "adj_1", "kind": "adjustment"}
        if self.forgets_to_answer:
            self.forgets_to_answer -= 1
            return 503, {"code": "outcome_unknown"}
        return 201, self.answered[key]


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start servers for offices; the address of each."""
    servers = []

    def start(office: Office) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.headers["authorization"] == "Bearer bk_finance_x"
                self._answer(200, office.list(parse_qs(urlsplit(self.path).query)))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert self.path == "/v1/reprices"
                self._answer(*office.reprice(self.headers["idempotency-key"], body))

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.send_header("retry-after", "0")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def run(serve, tmp_path: Path):
    """Run the verb on an office."""
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES, encoding="utf-8")

    def go(office: Office, *more: str, prices: Path = path, typed: str = "") -> Result:
        arguments = ["--url", serve(office), "--key", "bk_finance_x", "--provider", "lab", "--model", "m*"]
        arguments += ["--from", "2026-11-01", "--to", "2026-11-07", "--prices", str(prices), "--reason", "a zero"]
        return CliRunner().invoke(command, [*arguments, *more], input=typed)

    return go


def office() -> Office:
    """Five calls: two ten times too dear, one right, one of another provider, one of another model."""
    return Office(
        [
            row(1, "0.02"),
            row(2, "0.002"),
            row(3, "0.02", metering={"model": "m2"}),
            row(4, "0.02", metering={"provider": "openai"}),
            row(5, "0.02", metering={"model": "other"}),
        ]
    )


def test_a_price_ten_times_too_dear_is_mended(run) -> None:
    """Each wrong call gets one correction that names both prices; all pages are read; the rest is left alone."""
    there = office()
    done = run(there, "--yes")
    assert done.exit_code == 0, done.output
    assert [query["from"] + query["to"] for query in there.listed] == [
        ["2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z"]
    ] * 3
    assert {query["state"][0] for query in there.listed} == {"settled"}
    assert [body["authorization"] for _, body in there.posted] == ["auth_1", "auth_3"]
    body = there.posted[0][1]
    assert (body["settled"], body["amount"]) == (
        {"amount": "0.02", "currency": "USD"},
        {"amount": "0.002", "currency": "USD"},
    )
    assert body["old_price"] == {
        "price.input_mtok": "10", "price.output_mtok": "20", "price.source": "prices.yaml 000000000000",
    }  # fmt: skip
    assert body["new_price"]["price.input_mtok"] == "1.00"
    assert body["new_price"]["price.source"].startswith("prices.yaml ")
    assert body["reason"] == "a zero"
    lines = [line.split() for line in done.output.splitlines()]
    assert ["m1", "1", "0.02", "0.002", "-0.018"] in lines
    assert ["total", "2", "0.04", "0.004", "-0.036"] in lines
    assert "3 calls in the period, 1 right as they are, 2 to correct." in done.output
    assert done.output.splitlines()[-1] == "2 corrected, 0 refused."


def test_run_again_it_corrects_nothing(run) -> None:
    """What is recorded is what was settled and repriced."""
    there = office()
    run(there, "--yes")
    sent = len(there.posted)
    done = run(there, "--yes")
    assert (done.exit_code, len(there.posted)) == (0, sent)
    assert "3 right as they are, 0 to correct" in done.output


def test_an_answer_that_was_lost_doubles_nothing(run) -> None:
    """The same correction has the same key, in this run and in another one; another file has another."""
    there = office()
    there.forgets_to_answer = 2
    assert run(there, "--yes").exit_code == 0
    keys = [key for key, body in there.posted if body["authorization"] == "auth_1"]
    assert (len(keys), len(set(keys)), len(there.answered)) == (3, 1, 2)
    again = office()
    run(again, "--yes")
    assert [key for key, _ in again.posted] == list(dict.fromkeys(key for key, _ in there.posted))


def test_another_file_is_another_correction(run, tmp_path: Path) -> None:
    """A price corrected wrongly can be corrected once more, and back."""
    there = office()
    other = tmp_path / "other.yaml"
    other.write_text(PRICES.replace("1.00", "3.00"), encoding="utf-8")
    for prices in ({}, {"prices": other}, {}):
        assert run(there, "--yes", **prices).exit_code == 0
    assert len({key for key, _ in there.posted}) == len(there.posted)
    amounts = [body["amount"]["amount"] for _, body in there.posted if body["authorization"] == "auth_1"]
    assert amounts == ["0.002", "0.004", "0.002"]


@pytest.mark.parametrize(("more", "typed"), [(("--dry-run",), ""), ((), "n\n")])
def test_nothing_is_sent_without_consent(run, more: tuple[str, ...], typed: str) -> None:
    """What would change is shown all the same."""
    there = office()
    done = run(there, *more, typed=typed)
    assert (done.exit_code, there.posted) == (0, [])
    assert "-0.036" in done.output
    assert done.output.splitlines()[-1].endswith("Nothing was changed.")


def test_consent_may_be_typed(run) -> None:
    """Asked once for all."""
    there = office()
    assert run(there, typed="y\n").exit_code == 0
    assert len(there.posted) == 2


def test_a_refusal_stops_nothing_else_and_is_status_1(run) -> None:
    """Somebody repriced it meanwhile."""
    there = office()
    there.refuses = {"auth_1"}
    done = run(there, "--yes")
    assert done.exit_code == 1
    assert "refused  auth_1  look at it again (reprice_stale)" in done.output
    assert "1 corrected, 1 refused." in done.output


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        ("pending", 0, ("waiting  cor_1", "1 corrected, 1 waiting for a second person, 0 refused.")),
        ("approved", 0, ("2 corrected, 0 refused.",)),
        ("refused", 1, ("refused  auth_1  cor_1 is refused", "1 corrected, 1 refused.")),
    ],
)
def test_what_a_second_person_is_asked_for_is_told_apart(run, state: str, status: int, words: tuple[str, ...]) -> None:
    """It is not corrected yet; a repeat is told what has become of it."""
    there = office()
    there.asks_another = {"auth_1": state}
    done = run(there, "--yes")
    assert done.exit_code == status
    assert all(word in done.output for word in words), done.output


def test_what_cannot_be_corrected_is_told(run) -> None:
    """With its reason, and never guessed."""
    there = Office(
        [
            row(1, "0.02", metering={"input_tokens": "", "output_tokens": ""}),
            row(2, "0.05"),
            row(3, "0.02") | {"settled": {"amount": "0.02", "currency": "EUR"}},
            row(4, "0.02", metering={"unknown": "usage.moon"}),
            row(5, "0.002"),
            row(6, "0.02") | {"metering": None},
            row(7, "0.02", metering={"model": "m-of-nobody", "provider": "lab"}),
            row(8, "0.02", metering={"price.source": "bill"}),
        ]
    )
    done = run(there, "--yes", "--json")
    found = json.loads(done.output)
    assert found["skipped"] == {
        "no usage is recorded with them": 1,
        "what was settled is not what their recorded usage cost at the recorded price": 1,
        "they were not settled in USD": 1,
        "nobody has a price for their model": 1,
        "they were settled by the provider's bill": 1,
    }
    assert (found["seen"], found["right"], found["to_correct"], found["unpriced"]) == (7, 1, 1, 1)
    assert (found["corrected"], found["recorded"], found["corrected_total"]) == (1, "0.02", "0.002")


@pytest.mark.parametrize(
    "more",
    [("--to", "2026-10-01"), ("--reason", " "), ("--json",), ("--prices", "no-such.yaml")],
)
def test_what_was_typed_wrong_is_status_2(run, more: tuple[str, ...]) -> None:
    """Before anything is asked."""
    there = office()
    assert run(there, *more).exit_code == 2
    assert there.listed == []
