"""Replay a trace of real inference requests against a running server, and compare the books to the atom.

    python bench/replay_trace.py TRACE.csv --url http://127.0.0.1:8000 --admin-key bk_admin_…
    python bench/replay_trace.py TRACE.csv --self-contained

The work is in `bench/replay.py`; this file only lets it be run as a script.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own directory comes first on the path; its imports are relative to the project's root.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from bench.replay import main

    main()
