"""The pages of the project: their links lead somewhere, and the commands they show exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
MAKE_TARGET = re.compile(r"(?:^|`|\$ )make ([a-z]+)\b", re.MULTILINE)
PINNED = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+")


def test_there_are_pages() -> None:
    """The tests below would pass on nothing."""
    assert {Path("README.md"), Path("CHANGELOG.md")} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    """A relative link names a file of the project."""
    targets = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (ROOT / page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_targets_exist(page: Path) -> None:
    """A page shows only targets that the Makefile has."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(MAKE_TARGET.findall((ROOT / page).read_text(encoding="utf-8"))) <= targets


def test_constraints_are_versions_only() -> None:
    """No path of a machine and no host of an index: the file means the same everywhere."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert len(lines) > 50
    assert [line for line in lines if not PINNED.fullmatch(line)] == []
