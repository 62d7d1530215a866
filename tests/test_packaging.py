"""Dependencies: installed versions, pins, and consistency of all files that list them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from environments.versions import read_pins
from tools import make_venv

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

# What Colab has, of what the course needs. Its own parts break where one of these is replaced: environments/colab.py asks a resolver.
COLAB = read_pins(ROOT / "environments" / "colab.txt")

# Packages that the code imports and that a declared dependency always installs.
BROUGHT_BY = {
    "pandas": "datasets",
    "pyarrow": "datasets",
    "markupsafe": "jinja2",
    "packaging": "transformers",
    "tokenizers": "transformers",
    "traitlets": "ipywidgets",
}
DISTRIBUTION_OF = {
    "sklearn": "scikit-learn",
    "IPython": "ipykernel",
    "jupyter_client": "nbclient",
    "markdown_it": "markdown-it-py",
    "yaml": "pyyaml",
}


def expand(extra: str) -> list[Requirement]:
    """The requirements of an extra, with the extras of this project that it names resolved."""
    found = []
    for line in EXTRAS[extra]:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            found += [inner for name in sorted(requirement.extras) for inner in expand(name)]
        else:
            found.append(requirement)
    return found


def core() -> list[Requirement]:
    return [Requirement(line) for line in PROJECT["dependencies"]]


def listed(requirements: list[Requirement]) -> set[str]:
    return {f"{canonicalize_name(requirement.name)}{requirement.specifier}" for requirement in requirements}


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {}
    for requirement in requirements:
        [pin] = requirement.specifier
        assert pin.operator == "==" and canonicalize_name(requirement.name) not in found, requirement
        found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


def environment(path: str) -> tuple[list[str], list[str]]:
    """conda's own dependencies and pip's, of an environment file."""
    content = yaml.safe_load((ROOT / path).read_text(encoding="utf8"))
    [pip] = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return [entry for entry in content["dependencies"] if isinstance(entry, str)], pip


@pytest.mark.parametrize("path", ["environment.yml", "binder/environment.yml"])
def test_the_environment_files_hold_the_dependencies_of_the_project(path: str) -> None:
    conda, pip = environment(path)
    assert conda == ["python=3.11", "pip"]
    named = {canonicalize_name((one := Requirement(line)).name): one for line in pip if not line.startswith("-")}
    if path.startswith("binder"):
        # Binder builds what was tried: its PyTorch is the one of constraints.txt, which the project's own bounds let through.
        assert str(named["torch"].specifier) == f"=={pins()['torch']}"
        [named["torch"]] = [one for one in core() if one.name == "torch"]
    assert listed(list(named.values())) == listed([*core(), *expand("lab")])


def test_each_environment_installs_the_course_itself() -> None:
    assert environment("environment.yml")[1][-1] == "--editable ."
    post_build = ROOT / "binder" / "postBuild"
    assert "pip install --no-cache-dir --no-deps --editable ." in post_build.read_text(encoding="utf8")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no executable bit")
@pytest.mark.parametrize("path", ["binder/postBuild", ".ci/run"])
def test_scripts_are_executable_and_parse(path: str) -> None:
    assert (ROOT / path).stat().st_mode & 0o111 == 0o111
    subprocess.run(["bash", "-n", str(ROOT / path)], check=True)
    assert "set -euo pipefail" in (ROOT / path).read_text(encoding="utf8")


def test_every_dependency_has_a_pin_that_fits() -> None:
    pinned = pins()
    for requirement in [*core(), *(inner for extra in EXTRAS for inner in expand(extra))]:
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert version in requirement.specifier, requirement


def test_torch_is_pinned_without_a_build() -> None:
    """ "2.13.0" admits a CPU build ("2.13.0+cpu"), and pip prefers it where it finds one; a pin with a build would demand it."""
    assert pins()["torch"].local is None


def test_transitive_dependencies_are_pinned() -> None:
    """Followed from the installed packages, with what this system and this Python need."""
    waiting = [(requirement, frozenset(requirement.extras)) for requirement in [*core(), *expand("dev")]]
    pinned, seen, missing = pins(), set(), set()
    while waiting:
        requirement, extras = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in pinned:
            missing.add(name)
        for line in metadata.distribution(name).requires or []:
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append((inner, frozenset(inner.extras)))
    assert len(seen) > 100
    assert missing <= {"setuptools"}  # comes with the environment


def test_colabs_versions_are_recorded() -> None:
    text = (ROOT / "environments" / "colab.txt").read_text(encoding="utf8")
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", text) and "https://github.com/googlecolab/" in text
    assert {"anywidget", "datasets", "ipykernel", "ipython", "ipywidgets", "torch", "traitlets", "transformers"} <= COLAB.keys()


@pytest.mark.parametrize("name", sorted(COLAB))
def test_the_course_accepts_colabs_versions(name: str) -> None:
    for requirement in [*core(), *expand("course")]:
        if canonicalize_name(requirement.name) == name:
            assert COLAB[name] in requirement.specifier


def test_the_core_does_not_install_jupyter() -> None:
    names = {canonicalize_name(requirement.name) for requirement in core()}
    assert not names & {"jupyterlab", "ipykernel", "notebook", "nbclient", "papermill", "nbformat", "ipython", "traitlets"}
    # Where Colab's ipywidgets stays, its ipykernel and traitlets do too: no upper or lower bound of ours touches them.
    assert {"ipywidgets", "torch", "transformers", "datasets", "anywidget"} <= names
    assert all(specifier.operator == ">=" for requirement in core() for specifier in requirement.specifier)


def imports(folder: Path) -> set[str]:
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"nbtools", "google"}


def test_every_import_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in [*core(), *(inner for extra in EXTRAS for inner in expand(extra))]}
    found = imports(ROOT / "nbtools")
    assert {"torch", "transformers"} <= found
    for module in found:
        name = DISTRIBUTION_OF.get(module, module)
        carrier = BROUGHT_BY.get(name)
        if carrier:
            brought = {canonicalize_name(Requirement(line).name) for line in metadata.requires(carrier) or []}
            assert name in brought, f"{carrier} no longer brings {name}"
        assert canonicalize_name(carrier or name) in declared, f"{module} is imported, and no dependency says so"


def test_the_name_on_an_index_is_not_that_of_the_import() -> None:
    """`nbtools` on PyPI is another project: no text may say to install it."""
    assert PROJECT["name"] == "attention-to-finetuning"
    # README.md and notebooks are read for this in their own tests.
    files = [ROOT / name for name in ("Makefile", "constraints.txt", "environment.yml", "binder/environment.yml", "binder/postBuild")]
    for file in [*files, *(ROOT / "nbtools").rglob("*.py")]:
        assert not re.search(r"install\s+(-\S+\s+)*['\"]?nbtools\b", file.read_text(encoding="utf8")), file


def test_the_python_versions_agree() -> None:
    oldest = PROJECT["requires-python"]
    assert oldest == ">=3.11"
    assert "sys.version_info < (3, 11)" in (ROOT / "Makefile").read_text(encoding="utf8")
    assert sys.version_info[:2] >= (3, 11) and "3.11" in SpecifierSet(oldest)


def test_the_citation_names_the_course_and_the_three_papers() -> None:
    import nbtools

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["cff-version"] == "1.2.0" and citation["license"] == PROJECT["license"] == "MIT"
    assert citation["version"] == nbtools.__version__
    first = {(paper["authors"][0]["family-names"], paper["year"]) for paper in citation["references"]}
    assert first == {("Radford", 2019), ("Vaswani", 2017), ("Maas", 2011)}
    assert "MIT License" in (ROOT / "LICENSE").read_text(encoding="utf8")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMake:
    """What make would do in a clone where nothing is installed yet: `make -n` prints it and does nothing."""

    @pytest.fixture
    def clone(self, tmp_path: Path) -> Path:
        folder = tmp_path / "a clone with spaces"
        folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        return folder

    def plan(self, clone: Path, *arguments: str, code: int = 0, dry: bool = True) -> str:
        command = ["make", *(["-n"] if dry else []), *arguments]
        done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def installed(self, clone: Path, stamp: str) -> None:
        (clone / ".venv").mkdir(exist_ok=True)
        (clone / ".venv" / stamp).touch()

    def test_course_makes_the_environment_installs_and_runs(self, clone: Path) -> None:
        plan = self.plan(clone, "course")
        steps = ["tools/make_venv.py course", "HF_HUB_OFFLINE=1 .venv/bin/python -m nbtools run --out runs/course"]
        assert [plan.index(step) for step in steps] == sorted(plan.index(step) for step in steps)
        assert self.plan(clone) == plan  # `make` alone is `make course`

    def test_a_second_time_nothing_is_installed(self, clone: Path) -> None:
        self.installed(clone, "installed-course")
        assert "make_venv" not in self.plan(clone, "course")

    def test_course_and_test_do_not_install_past_each_other(self, clone: Path) -> None:
        self.installed(clone, "installed-course")
        assert "make_venv.py dev" in self.plan(clone, "test")
        self.installed(clone, "installed-dev")
        for target in ("course", "lab", "refresh", "check", "test"):
            assert "make_venv" not in self.plan(clone, target), target

    @pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
    def test_a_changed_dependency_is_installed(self, clone: Path, file: str) -> None:
        import os

        self.installed(clone, "installed-dev")
        later = (clone / ".venv" / "installed-dev").stat().st_mtime + 10
        os.utime(clone / file, (later, later))
        assert "make_venv.py dev" in self.plan(clone, "course")

    def test_only_torch_comes_from_its_own_index(self, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert 'make_venv.py course --torch-index "https://example.org/cpu"' in self.plan(
            clone, "course", "TORCH_INDEX=https://example.org/cpu"
        )
        assert "--torch-index" not in self.plan(clone, "course")
        monkeypatch.chdir(clone)
        called: list[list[str]] = []
        monkeypatch.setattr(make_venv.subprocess, "run", lambda words, **_: called.append(words) or subprocess.CompletedProcess(words, 0))
        make_venv.install(Path("python"), "course", "https://example.org/cpu")
        assert called[0][-6:] == ["--no-deps", "-c", "constraints.txt", "--index-url", "https://example.org/cpu", "torch"]
        assert "--index-url" not in called[1] and called[1][-2:] == ["-e", ".[course]"] and len(called) == 2

    @pytest.mark.parametrize("python", ["no-such-python", "false", ""])
    def test_an_unsuitable_python_is_refused_in_two_lines(self, clone: Path, python: str) -> None:
        said = self.plan(clone, "course", f"PYTHON={python}", code=2, dry=False)
        assert "needs Python 3.11 or later" in said and "make course PYTHON=" in said
        assert not (clone / ".venv").exists()

    @pytest.mark.slow(7)
    def test_a_target_that_does_nothing_is_left_out(self, clone: Path) -> None:
        text = (clone / "Makefile").read_text(encoding="utf8")
        [phony] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
        assert phony.split() == ["course", "lab", "check", "style", "test", "check-all", "refresh", "site", "publish", "pictures", "bench"]
        for target in phony.split():
            assert ".venv/bin/" in self.plan(clone, target)
