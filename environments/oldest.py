"""The oldest versions that pyproject.toml allows for its direct dependencies, and the suite with them. torch keeps the version
of this environment, as in `environments.newest`.

python -m environments.oldest [signatures] [suite] [notebooks]
"""

from __future__ import annotations

import sys

from environments.versions import check_versions

if __name__ == "__main__":
    sys.exit(check_versions("oldest", "the oldest versions that pyproject.toml allows, but for torch", "lowest-direct", sys.argv[1:]))
