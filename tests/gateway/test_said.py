"""The x-bursar headers: what they may say, and that a mistake in one is told and not passed over."""

import pytest

from gateway.refusals import Refusal
from gateway.said import NOTHING_SAID, Said, said_in


def headers(**said: str) -> list[tuple[bytes, bytes]]:
    return [(b"accept", b"*/*"), *((f"x-bursar-{name}".encode(), text.encode()) for name, text in said.items())]


def test_nothing() -> None:
    assert said_in(headers()) is NOTHING_SAID


def test_everything() -> None:
    assert said_in(
        headers(budget="research", run="Run:42", intent="summarize ticket 4711", labels="prompt=v7&customer=a%20b")
    ) == Said("research", "Run:42", "summarize ticket 4711", (("customer", "a b"), ("prompt", "v7")))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("budgett", "research", "is not one that Bursar knows"),
        ("budget", "Research", "neither a budget's name nor its id"),
        ("budget", "", "neither a budget's name nor its id"),
        ("run", "a b", "neither a run's name nor its id"),
        ("intent", "x" * 2001, "at most 2000 characters"),
        ("intent", "bell\x07", "none of them control characters"),
        ("labels", "prompt", "form-encoded"),
        ("labels", "prompt=v7&prompt=v8", "names a label twice"),
        ("labels", "-x=1", "form-encoded"),
        ("labels", "x=%0a", "form-encoded"),
        ("labels", "&".join(f"l{number}=1" for number in range(17)), "at most 16 labels"),
    ],
)
def test_a_wrong_form_is_told(name: str, text: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        said_in(headers(**{name: text}))
    assert caught.value.status == 400
    assert says in caught.value.message


def test_a_header_given_twice_is_refused() -> None:
    with pytest.raises(Refusal, match="given twice"):
        said_in([*headers(budget="a"), *headers(budget="b")])
