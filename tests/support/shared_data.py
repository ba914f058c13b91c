"""Where the data is that other people publish and that tests read, which is no part of the project.

It lies in ``shared/data`` beside the project or in any folder above, or where ``BURSAR_SHARED_DATA`` says. A test that
lacks it is skipped, and the reason says so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]


def shared_data(name: str) -> Path:
    """The path of a file or folder in the shared data, whether it is there or not."""
    told = os.environ.get("BURSAR_SHARED_DATA")
    places = [Path(told)] if told else [parent / "shared" / "data" for parent in ROOT.parents]
    return next((place / name for place in places if (place / name).exists()), places[0] / name)


def needs(path: Path) -> pytest.MarkDecorator:
    """Skip where the data is not there."""
    reason = f"{path} is absent: set BURSAR_SHARED_DATA to the folder that has {path.name}"
    return pytest.mark.skipif(not path.exists(), reason=reason)
