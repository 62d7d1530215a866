"""Give the project its public address: in pyproject.toml, the README's badges and links, and the notebooks' install cell.

    python tools/publish.py https://github.com/OWNER/REPO      (make publish ADDRESS=…)

Only files of this clone are written, and each that changed is named. The pages' own links come from pyproject.toml when they are built.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ADDRESS = re.compile(r"https://github\.com/[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
FIELD = re.compile(r'^repository = ".*"$', re.MULTILINE)
NEXT = """\
What is left for you:
  -> Commit and push this, and push the tag v{version}: the install cell in Colab asks for it.
  -> On GitHub, Settings > Pages: choose GitHub Actions as the source; the workflow `pages` then publishes {pages}
  -> For releases on an index, register the workflow `release` there as a trusted publisher.
"""


def checked(address: str) -> str:
    """The address without a slash or ".git" at its end. Exits with a sentence for anything else than a repository on GitHub."""
    plain = address.strip().rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(plain):
        raise SystemExit(f"{address!r} is not the address of a repository.\n  -> Give one like https://github.com/OWNER/REPO")
    return plain


def pages_address(address: str) -> str:
    """Where GitHub Pages shows the pages of a repository."""
    owner, name = address.removeprefix("https://github.com/").split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def main(address: str, root: Path = ROOT) -> int:
    """Write the address and everything that follows from it; say what changed."""
    plain = checked(address)
    watched = [
        root / "pyproject.toml",
        root / "README.md",
        *sorted((root / "notebooks").glob("*.ipynb")),
        *sorted((root / "docs").glob("*.md")),
    ]
    before = {path: path.read_bytes() for path in watched}
    project = root / "pyproject.toml"
    text, count = FIELD.subn(f'repository = "{plain}"', project.read_text(encoding="utf8"))
    if count != 1:
        raise SystemExit(
            "pyproject.toml has no line `repository = ...` under [tool.course].\n  -> Restore it from the repository's history."
        )
    project.write_text(text, encoding="utf8")
    for tool in ("install_cell.py", "refresh_readme.py"):
        subprocess.run([sys.executable, str(root / "tools" / tool)], cwd=root, check=True)
    changed = [str(path.relative_to(root)) for path, content in before.items() if path.read_bytes() != content]
    print("Changed: " + (", ".join(changed) or "nothing, because the address was there already"))
    version = re.search(r'__version__ = "(.+?)"', (root / "nbtools" / "__init__.py").read_text(encoding="utf8"))
    print(NEXT.format(version=version[1] if version else "", pages=pages_address(plain)), end="")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Which repository?\n  -> make publish ADDRESS=https://github.com/OWNER/REPO")
    sys.exit(main(sys.argv[1]))
