"""Install the course from this folder, without a network. install.sh and install.bat run it; it is the same file in every bundle.

    python3 install.py [FOLDER]                            from a USB stick or a copy of the bundle
    python3 install.py --from http://HOST:8000 [FOLDER]    from a served bundle: only what this machine needs is downloaded

Every file is checked against SHA256SUMS, and every wheel is inspected before anything is unpacked. The wheels are then installed into
FOLDER/.venv by their checksums, with pip's index switched off, and `python -m nbtools.bundle.finish` completes the installation. The same
command continues an interrupted installation.

Only the standard library is needed. The steps are in the folder `installer` next to this file, which --from downloads first.
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

MODULES = ("__init__", "files", "download", "packages")  # of `installer`
DEFAULT_FOLDER = "~/attention-course"


def get_installer(address: str, folder: Path) -> None:
    """Download the `installer` of a served bundle into `folder`; it comes from the same server as this file."""
    (folder / "installer").mkdir()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a server in the room is reached directly
    for module in MODULES:
        with opener.open(f"{address.rstrip('/')}/installer/{module}.py", timeout=30) as answer:
            (folder / "installer" / f"{module}.py").write_bytes(answer.read())


def run(bundle: Path, address: str | None, folder: Path) -> int:
    """Install the course and return the exit code.

    bundle   the folder that contains `installer`
    address  where a bundle is served; None if `bundle` is one
    folder   where the course is installed
    """
    sys.path.insert(0, str(bundle))
    sys.dont_write_bytecode = True  # so that the bundle is not changed
    files, download, packages = (importlib.import_module(f"installer.{module}") for module in MODULES[1:])
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
            stream.reconfigure(errors="backslashreplace")  # on Windows a path may contain characters that a redirected stream cannot encode
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
        print(f"The system reported: {error}\n  -> Check the disk and the permissions there, then run the command again.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. The same command continues the installation.", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
