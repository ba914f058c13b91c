"""Schemathesis against the OpenAPI document: whatever is sent, the answer is one that the document names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.api.test_serve import open_in, serving
from tests.support.databases import sqlite_url

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance"


def test_no_input_makes_the_server_fail(tmp_path: Path) -> None:
    """No 5xx, no status and no shape of answer that is not documented."""
    database_url, key = open_in(sqlite_url(tmp_path))
    with serving(database_url) as (_, port):
        root = f"http://127.0.0.1:{port}"
        command = [SCHEMATHESIS, "run", f"{root}/openapi.json", "-H", f"Authorization: Bearer {key}"]
        command += ["--checks", CHECKS, "--max-examples", "2", "--seed", "7", "--phases", "examples,coverage,fuzzing"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
