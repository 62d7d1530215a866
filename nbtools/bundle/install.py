"""Install the course from this folder, without a network. install.sh and install.bat run it; it is the same file in every bundle.

    python3 install.py [FOLDER]                            from a stick or a copy of the bundle
    python3 install.py --from http://HOST:8000 [FOLDER]    from a served bundle: only what this machine needs is downloaded

Every file is checked against SHA256SUMS, and every wheel is looked into before anything is unpacked. The wheels are then installed into
FOLDER/.venv by their checksums, with pip's index switched off, and `python -m nbtools.bundle.finish` there does the rest. The same command
continues an interrupted installation.

It needs the standard library only. The steps are in the folder `installer` beside it, which --from downloads first.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

PARTS = ("__init__", "files", "download", "packages")  # the modules of `installer`
DEFAULT_FOLDER = "~/attention-course"


def get_installer(address: str, folder: Path) -> None:
    """Download the `installer` of a served bundle into `folder`; it comes from the same server as this file."""
    (folder / "installer").mkdir()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a server in the room is reached directly
    for part in PARTS:
        with opener.open(f"{address.rstrip('/')}/installer/{part}.py", timeout=30) as answer:
            (folder / "installer" / f"{part}.py").write_bytes(answer.read())


def run(bundle: Path, address: str | None, folder: Path) -> int:
    """Install into `folder`, from `address` if there is one, and return the exit code; `bundle` holds `installer`."""
    sys.path.insert(0, str(bundle))
    sys.dont_write_bytecode = True  # the stick stays as it is
    files, download, packages = (importlib.import_module(f"installer.{part}") for part in PARTS[1:])
    try:
        if address:
            packages.claim(folder)
            bundle = download.download(address, folder / ".bundle")
        return packages.install(bundle, folder)
    except files.InstallError as error:
        print(error, file=sys.stderr)
        return 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Install the course from this folder, without a network.")
    parser.add_argument("folder", nargs="?", default=DEFAULT_FOLDER, help=f"where it goes (default: {DEFAULT_FOLDER})")
    parser.add_argument("--from", dest="address", metavar="URL", help="a bundle that somebody serves, such as http://192.168.1.10:8000")
    given = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # on Windows a path may hold what a redirected stream cannot encode
    folder = Path(given.folder).expanduser().resolve()
    try:
        if not given.address:
            return run(Path(__file__).resolve().parent, None, folder)
        with tempfile.TemporaryDirectory() as temporary:
            try:
                get_installer(given.address, Path(temporary))
            except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError) as error:
                print(f"{given.address} does not give the bundle: {error}", file=sys.stderr)
                print("  -> Check the address and the network, then run it again.", file=sys.stderr)
                return 1
            return run(Path(temporary), given.address, folder)
    except OSError as error:
        print(f"The system refused: {error}\n  -> Check the disk and the rights there, then run the same command again.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. The same command continues the installation.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
