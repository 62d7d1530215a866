"""The newest versions that the package index serves, and the suite with them. torch keeps the version of this environment: a build for
processors is not on every index, and one with CUDA is several gigabytes.

python -m environments.newest [signatures] [suite] [notebooks]
"""

from __future__ import annotations

import sys

from environments.versions import check_versions

if __name__ == "__main__":
    sys.exit(check_versions("newest", "the newest versions that the package index serves, but for torch", "highest", sys.argv[1:]))
