"""Write a bundle's folder: wheels, models, notebooks, the installation scripts, and checksums of all files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import nbtools
from nbtools.bundle import check_bundle, install
from nbtools.bundle.install import DEFAULT_FOLDER, MANIFEST, SUMS, sha256
from nbtools.notebooks.catalog import NUMBERED
from nbtools.storage import atomic_folder, write_text
from nbtools.system import progress
from tools.bundle.pool import DISTRIBUTION, link_or_copy
from tools.bundle.targets import Target
from tools.bundle.wheels import Wheel

TEMPLATES = Path(__file__).parent / "templates"
SCHEMA = 1


@dataclass(frozen=True)
class Made:
    """The result of making a bundle.

    folder   the bundle
    bytes    its size
    wheels   their number
    changed  whether anything was written
    """

    folder: Path
    bytes: int
    wheels: int
    changed: bool


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    clone     the course's folder, for the notebooks
    profiles  the profiles that can be used with it
    models    profile -> folder of a model that is not in the course's own wheel
    wheels    target -> everything to install there
    """

    clone: Path
    profiles: Sequence[str]
    models: Mapping[str, Path]
    wheels: Mapping[Target, Sequence[Wheel]]


def write_bundle(out: Path, new: Path, contents: Contents, say: Callable[[str], None]) -> Made:
    """Write everything into the temporary folder `new`, and give it the name `out`.

    An existing bundle whose files are all the same is left as it is.
    """
    if new.exists():
        shutil.rmtree(new)
    paths = {wheel.path for wheels in contents.wheels.values() for wheel in wheels}
    for path in sorted(paths):
        link_or_copy(path, new / "wheels" / path.name)
    notebooks = contents.clone / "notebooks"
    for file in sorted([*notebooks.glob(NUMBERED), *notebooks.glob("*.md")]):
        _copy(file, new / "notebooks" / file.name)
    for name, folder in contents.models.items():
        say(f"Copying {name}.")
        for file in sorted(folder.iterdir()):
            _copy(file, new / "models" / name / file.name)
    targets = {}
    for target, wheels in contents.wheels.items():
        requirements = f"requirements-{target.name}.txt"
        targets[target.name] = {"requirements": requirements, "wheels": sorted(wheel.path.name for wheel in wheels)}
        write_text(new / requirements, _requirements(wheels))
    _write_scripts(new, contents.profiles, list(contents.wheels))
    sizes = {file.relative_to(new).as_posix(): file.stat().st_size for file in sorted(new.rglob("*")) if file.is_file()}
    manifest = {
        "schema": SCHEMA,
        "course": DISTRIBUTION,
        "version": nbtools.__version__,
        "profiles": list(contents.profiles),
        "models": sorted(contents.models),
        "targets": targets,
        "bytes": sizes,
    }
    write_text(new / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    names = progress(sorted([*sizes, MANIFEST]), "checksums", unit="file")
    sums = "".join(f"{sha256(new / name)}  {name}\n" for name in names)
    write_text(new / SUMS, sums)
    changed = not ((out / SUMS).is_file() and (out / SUMS).read_text(encoding="utf8") == sums and not check_bundle(out))
    if changed:
        with atomic_folder(out, "bundle") as folder:
            for path in new.iterdir():
                path.replace(folder / path.name)
    return Made(out, sum(sizes.values()), len(paths), changed)


def _requirements(wheels: Iterable[Wheel]) -> str:
    """A requirements file with the version and checksum of every wheel."""
    lines = (f"{wheel.name}=={wheel.version} --hash=sha256:{sha256(wheel.path)}\n" for wheel in wheels)
    return "".join(sorted(lines))


def _write_scripts(new: Path, profiles: Sequence[str], targets: Sequence[Target]) -> None:
    pythons = sorted({target.python for target in targets}, key=lambda version: int(version.split(".")[1]))
    words = {
        "pythons": " ".join(pythons),
        "python": pythons[0],
        "pythons_said": " or ".join(pythons),
        "target": targets[0].name,
        "targets": "".join(f"  {target.name}\n" for target in targets),
        "profiles": " ".join(f"--profile {name}" for name in profiles),
        "folder": DEFAULT_FOLDER,
    }
    for template in sorted(TEMPLATES.iterdir()):
        text = Template(template.read_text(encoding="utf8")).substitute(words)
        script = new / template.name
        write_text(script, text.replace("\n", "\r\n") if script.suffix == ".bat" else text)
        if script.suffix == ".sh":
            script.chmod(0o755)
    _copy(Path(install.__file__), new / "install.py")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
