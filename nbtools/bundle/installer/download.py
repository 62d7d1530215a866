"""Download a bundle that somebody serves, without the wheels for other machines."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from .files import BLOCK, MANIFEST, SUMS, InstallError, Progress, choose_target, read_manifest, read_sums, sha256


def download(address: str, bundle: Path) -> Path:
    """Download what this machine needs into `bundle`, and return it; files that are already complete are kept.

    Raises InstallError if the server does not answer, has no bundle, or has none for this machine.
    """
    address = address.rstrip("/")
    # A server in the local network is reached directly, whatever proxy is configured.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(name: str, progress: Progress | None = None) -> Path:
        file = bundle / name
        part = file.with_name(f"{file.name}.part")
        file.parent.mkdir(parents=True, exist_ok=True)
        with opener.open(f"{address}/{name}", timeout=30) as answer, part.open("wb") as output:
            while block := answer.read(BLOCK):
                output.write(block)
                if progress is not None:
                    progress.add(len(block))
        part.replace(file)
        return file

    try:
        sums = read_sums(get(SUMS).read_text(encoding="utf8"))
        if sha256(get(MANIFEST)) != sums.get(MANIFEST):
            raise InstallError(f"{MANIFEST} does not match {SUMS}.", "Ask the person who serves the bundle to run: sha256sum -c SHA256SUMS")
        manifest = read_manifest(bundle / MANIFEST)
        wheels = {f"wheels/{name}" for name in choose_target(manifest)["wheels"]}
        wanted = {name: digest for name, digest in sums.items() if name in wheels or not name.startswith("wheels/")}
        missing = [name for name in wanted if not (bundle / name).is_file() or sha256(bundle / name) != wanted[name]]
        print(f"Downloading {len(missing)} of {len(wanted)} files from {address}.", flush=True)
        progress = Progress("downloaded", sum(manifest["bytes"].get(name, 0) for name in missing))
        for name in missing:
            get(name, progress)
        (bundle / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in wanted.items()), encoding="utf8")
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError) as error:
        raise InstallError(
            f"{address} does not give the bundle: {error}", "Check the address and the network, then run it again."
        ) from None
    return bundle
