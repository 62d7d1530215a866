"""The process that holds one measurement: reads the request, calls the function, writes what it returns. Started by `harness.measure`."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from nbtools.system import peak_memory


def main() -> None:
    """Standard input holds `function` ("module:name"), `arguments` (keywords) and `answer` (the file to write)."""
    request = json.load(sys.stdin)
    start = time.perf_counter()
    module, _, name = request["function"].partition(":")
    row = getattr(importlib.import_module(module), name)(**request["arguments"])
    row |= {"wall_seconds": round(time.perf_counter() - start, 3), "peak_memory_bytes": peak_memory()}
    Path(request["answer"]).write_text(json.dumps(row), encoding="utf8")


if __name__ == "__main__":
    main()
