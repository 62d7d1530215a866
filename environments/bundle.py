"""The workshop's bundle, where there really is no network: made, carried, served, installed, and the course run from it.

    python -m environments.bundle [--keep DIR]

The bundle is made here, with whatever network there is. Everything afterwards happens in a network namespace made for it, which has a
loopback and nothing else; that it has nothing else is a check of its own. `--keep DIR` keeps the bundle there (and uses one that is there).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from environments.record import ROOT, Record
from nbtools.storage import resolve_path
from tests.notebooks.test_papermill import SMALL

LAN = "10.77.0.1"  # an address on the namespace's loopback, so that pip sees a host of the room and not "localhost"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the workshop's bundle and run the course from it without a network.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the bundle there")
    parser.add_argument("--inside", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return inside(given.inside)
    record = Record("bundle", "A bundle on a stick, without any network", "python -m environments.bundle")
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        work = Path(name)
        bundle = resolve_path(given.keep or work / "stick")
        make(record, bundle)
        if not record.failed:
            without_a_network(record, bundle, work)
    return record.write()


def make(record: Record, bundle: Path) -> None:
    command = [sys.executable, "-m", "nbtools.cli", "bundle", "--profile", "mini", "--out", bundle]
    record.run("nbtools bundle --profile mini", command)
    if record.failed:
        return
    files = [path for path in bundle.rglob("*") if path.is_file()]
    wheels = [path for path in files if path.suffix == ".whl"]
    size = sum(path.stat().st_size for path in files)
    record.checks[-1].detail = f"{len(wheels)} wheels, {size / 1e6:.0f} MB"
    record.versions |= {path.name.split("-")[0].replace("_", "-"): path.name.split("-")[1] for path in sorted(wheels)}
    done = record.run("the same command again brings nothing", command)
    if "Everything was there already" not in done.stdout:
        record.checks[-1].outcome = "failed"
    record.run("sha256sum -c SHA256SUMS", ["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=bundle)


def namespace() -> list[str] | None:
    """The command that runs another one in a network namespace of its own, where this system lets us make one."""
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


def without_a_network(record: Record, bundle: Path, work: Path) -> None:
    enter = namespace()
    if enter is None:
        for what in ("the network is really gone", "install.sh", "nbtools doctor --offline", "the course", "served on a LAN"):
            record.not_run(what, "no network namespace can be made here (unshare -n needs rights)")
        return
    # A copy, as on a stick: nothing in the working folder or in this environment can be reached by a relative path.
    stick = work / "a stick"
    shutil.copytree(bundle, stick)
    report = work / "inside.json"
    # Nor may this machine's settings of pip help: a folder with wheels, say.
    folder = {
        "PYTHONPATH": str(ROOT),
        "PIP_CONFIG_FILE": os.devnull,
        "REPORT": str(report),
        "HOME": str(work / "home"),
        "XDG_CACHE_HOME": str(work / "cache"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "NBTOOLS_", "HF_"))}
    done = subprocess.run([*enter, sys.executable, "-m", "environments.bundle", "--inside", work], env=kept | folder, check=False)
    if report.is_file():
        for check in json.loads(report.read_text(encoding="utf8")):
            record.note(check["what"], check["outcome"] == "passed", check["detail"], check["seconds"])
    if done.returncode:
        record.note("the checks in the namespace ended", False, f"exit code {done.returncode}")


def inside(work: Path) -> int:
    """All that happens without a network; leaves its checks in the file that REPORT names."""
    record = Record("bundle", "", "")
    stick, report = work / "a stick", Path(os.environ.pop("REPORT"))
    os.environ.pop("PYTHONPATH")  # what is installed is used, not the clone
    (work / "home").mkdir(exist_ok=True)
    bring_up_loopback()
    refused = no_network()
    record.note(
        "the network is really gone", all(refused.values()), "; ".join(f"{name}: {how or 'ANSWERED'}" for name, how in refused.items())
    )
    if not record.failed:
        from_the_stick(record, stick, work)
        from_the_lan(record, stick, work)
    report.write_text(json.dumps([vars(check) for check in record.checks]), encoding="utf8")
    return 1 if record.failed else 0


def bring_up_loopback() -> None:
    """Loopback up, with a second address, by the two ioctls that `ip` would use (man 7 netdevice)."""
    import fcntl  # not on every system

    set_address, get_flags, set_flags, up = 0x8916, 0x8913, 0x8914, 0x1

    def request(name: str, rest: bytes) -> bytes:
        return struct.pack("16s24s", name.encode(), rest)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, get_flags, request("lo", b""))
        flags = struct.unpack_from("H", answer, 16)[0]
        fcntl.ioctl(control, set_flags, request("lo", struct.pack("H", flags | up)))
        fcntl.ioctl(control, set_address, request("lo:1", struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(LAN))))


def no_network() -> dict[str, str]:
    """Three ways out, each with the error that it met; empty where something answered."""

    def error_of(ask: Callable[[], object]) -> str:
        try:
            ask()
        except OSError as error:
            return str(getattr(error, "reason", error))
        return ""

    return {
        "a name": error_of(lambda: socket.getaddrinfo("pypi.org", 443)),
        "an address": error_of(lambda: socket.create_connection(("1.1.1.1", 443), timeout=5).close()),
        "a web page": error_of(lambda: urllib.request.urlopen("https://pypi.org/simple/", timeout=5).close()),
        "devices": "lo alone" if sorted(name for _, name in socket.if_nameindex()) == ["lo"] else "",
    }


def from_the_stick(record: Record, stick: Path, work: Path) -> None:
    folder = work / "home" / "attention-course"
    done = record.run(
        "install.sh into a fresh folder", ["sh", stick / "install.sh", folder], cwd=work, environment={"PYTHON": sys.executable}
    )
    if done.returncode:
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    record.checks[-1].detail = f"{size / 1e9:.2f} GB on disk"
    shutil.move(stick, work / "stick put away")
    nbtools = folder / ".venv" / "bin" / "nbtools"
    done = record.run("nbtools doctor --offline", [nbtools, "doctor", "--offline", "--json"], cwd=folder)
    if done.returncode == 0:
        findings = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        record.checks[-1].detail = f"{findings['offline packages']['value']}; mini {findings['offline mini']['value']}"
    for name, parameters in SMALL.items():
        words = [
            word
            for name, value in parameters.items()
            for word in ("-p", name, json.dumps(value) if isinstance(value, list) else str(value))
        ]
        record.run(f"nbtools run {name}", [nbtools, "run", name, *words], cwd=folder, environment={"NBTOOLS_PROGRESS": "0"})
    serve_lab(record, folder)
    shutil.move(work / "stick put away", stick)


def serve_lab(record: Record, folder: Path) -> None:
    """start.sh opens JupyterLab, and its server lists the notebooks."""
    port = free_port()
    words = ["--no-browser", f"--port={port}", "--IdentityProvider.token=", "--allow-root"]
    start = time.monotonic()
    server = subprocess.Popen(["sh", folder / "start.sh", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    names: list[str] = []
    try:
        while not names and server.poll() is None and time.monotonic() - start < 120:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents", timeout=5) as answer:
                    names = [entry["name"] for entry in json.load(answer)["content"]]
            except OSError:
                time.sleep(0.5)
    finally:
        server.terminate()
        server.wait()
    record.note(
        "start.sh serves the notebooks in JupyterLab", "04_finetuning.ipynb" in names, f"{len(names)} files", time.monotonic() - start
    )


def from_the_lan(record: Record, stick: Path, work: Path) -> None:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--directory", stick], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://{LAN}:{port}"
    try:
        wait_for(address)
        alone = work / "home" / "by-pip"
        record.run("a fresh environment for pip alone", [sys.executable, "-m", "venv", alone], cwd=work)
        [requirements] = [path.name for path in stick.glob("requirements-*.txt")]
        words = [
            "install",
            "--quiet",
            "--no-index",
            "--trusted-host",
            LAN,
            "--find-links",
            f"{address}/wheels/",
            "-r",
            f"{address}/{requirements}",
        ]
        record.run("served by http.server: pip --find-links", [alone / "bin" / "python", "-m", "pip", *words], cwd=work)
        record.run("there: nbtools doctor --offline", [alone / "bin" / "nbtools", "doctor", "--offline"], cwd=work)
        urllib.request.urlretrieve(f"{address}/install.py", work / "home" / "install.py")
        folder = work / "home" / "from-lan"
        record.run(
            "served by http.server: install.py --from", [sys.executable, work / "home" / "install.py", "--from", address, folder], cwd=work
        )
        nbtools = folder / ".venv" / "bin" / "nbtools"
        record.run("there: nbtools run 03", [nbtools, "run", "03", "-p", "max_new_tokens", "10"], cwd=folder)
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{address}/SHA256SUMS", timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} does not answer")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
