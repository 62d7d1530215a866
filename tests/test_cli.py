import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from nbtools.cli import join_parameters
from tests.runs.small_notebooks import SLEEPS, printed, processes_with, write_notebook

ENVIRONMENT = {**os.environ, "COLUMNS": "200", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
ENVIRONMENT.pop("NBTOOLS_RUNS", None)
COMMANDS = ("doctor", "fetch", "run", "sweep", "report", "solve", "refresh", "bundle")


def nbtools(*arguments, cwd=None, **environment):
    command = [sys.executable, "-m", "nbtools.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path):
    write_notebook(
        tmp_path / "notebooks", "00_setup", "print(steps)", parameters="profile: str = 'mini'\nmax_steps: int = 3\nsteps = max_steps"
    )
    write_notebook(tmp_path / "notebooks", "01_next", "print('next')")
    return tmp_path


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=lambda command: " ".join(command) or "nbtools")
def test_help_ends_with_an_example(command):
    result = nbtools(*command, "--help")
    assert result.returncode == 0
    assert result.stdout.strip().splitlines()[-1].strip().startswith(f"Example: nbtools {' '.join(command)}".strip())


def test_help_does_not_load_torch_or_transformers_or_papermill():
    code = (
        "import sys\nfrom nbtools.cli import main\n"
        "try:\n    main(['run', '--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('HEAVY', [name for name in ('torch', 'transformers', 'papermill', 'matplotlib', 'datasets') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert result.stdout.endswith("HEAVY []\n")


def test_pairs_of_name_and_value_are_joined_whatever_the_value():
    given = ["run", "04", "-p", "prompt", "a = b", "-p", "seed", "-1", "-p", "top_k=5", "--out", "x", "-p"]
    assert join_parameters(given) == ["run", "04", "-p", "prompt=a = b", "-p", "seed=-1", "-p", "top_k=5", "--out", "x", "-p"]


@pytest.mark.slow(7)
def test_a_run_writes_its_folder_exits_with_0_and_is_not_repeated(clone):
    result = nbtools("run", "-p", "max_steps", "5", cwd=clone)
    folder = clone / "runs" / "course"
    assert result.returncode == 0, result.stderr
    assert {"status.json", "metrics.json", "index.html", "00_setup.ipynb", "01_next.ipynb", "notebooks"} <= {
        file.name for file in folder.iterdir()
    }
    assert json.loads((folder / "status.json").read_text())["command"] == ["nbtools", "run", "-p", "max_steps", "5"]
    assert "[2/2] done   01_next" in result.stdout
    again = nbtools("run", "-p", "max_steps", "5", cwd=clone)
    assert again.returncode == 0 and "Nothing was left to do." in again.stdout and "started" not in again.stdout


def test_the_list_shows_notebooks_and_parameters_and_runs_nothing(clone):
    result = nbtools("run", "--list", cwd=clone)
    assert result.returncode == 0 and "00_setup" in result.stdout and "max_steps=3" in result.stdout
    assert not (clone / "runs").exists()


TRAINS = "reviews = load_reviews('package')\ntuned = finetune(lm)\nraise SystemExit('this ran')"
SMALL = (
    'profile: str = "mini"\nmax_reviews: int = 40\nblock_size: int = 64\nmax_steps: int = 3\nbatch_size: int = 2\noutput_dir: str = None'
)


@pytest.mark.slow(10)
def test_a_dry_run_estimates_the_cost_and_runs_and_writes_nothing(clone):
    write_notebook(clone / "notebooks", "04_train", TRAINS, parameters=SMALL, tags={0: "finetune"})
    before = sorted(clone.rglob("*"))
    result = nbtools("run", "4", "1", "--dry-run", "-p", "max_steps", "5", cwd=clone)
    assert result.returncode == 0, result.stderr
    [train] = [line for line in result.stdout.splitlines() if line.strip().startswith("04_train")]
    assert "max_steps 5" in train and " GB" in train
    assert "01_next" in result.stdout and "never recorded" in result.stdout and "free:" in result.stdout
    assert sorted(clone.rglob("*")) == before


@pytest.mark.slow(8)
def test_a_dry_run_that_does_not_fit_ends_with_advice_and_exit_code_1(clone):
    write_notebook(clone / "notebooks", "04_train", TRAINS, parameters=SMALL, tags={0: "finetune"})
    result = nbtools("run", "4", "--dry-run", "-p", "batch_size", "100000", cwd=clone)
    assert result.returncode == 1 and "04_train" in result.stdout
    problem, remedy = result.stderr.splitlines()
    assert "GB of memory" in problem and "a batch_size below 100000" in remedy
    assert not (clone / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "max_step", "3"], "Did you mean 'max_steps'?"),
        (["-p", "max_steps", "many"], "must be a whole number"),
        (["-p", "max_steps", "0"], "Give a whole number from 1"),
        (["-p", "hf_token", "abcdefgh"], "looks like a secret"),
        (["--profile", "minni"], "Did you mean 'mini'?"),
        (["7"], "There is no notebook called '7'"),
    ],
)
def test_an_invalid_value_prints_two_lines_and_exits_with_1_before_anything_starts(clone, arguments, words):
    result = nbtools("run", *arguments, cwd=clone)
    assert result.returncode == 1 and words in result.stderr and "abcdefgh" not in result.stderr
    problem, remedy = result.stderr.splitlines()
    assert remedy.startswith("  -> ") and problem and result.stdout == ""
    assert not (clone / "runs").exists()


@pytest.mark.parametrize(
    "arguments", [["run", "-p", "seed"], ["run", "--timeout", "soon"], ["nonsense"], ["fetch"], ["run", "--timeout", "0"]]
)
def test_wrong_usage_is_exit_code_2(clone, arguments):
    result = nbtools(*arguments, cwd=clone)
    assert result.returncode == 2 and "Traceback" not in result.stderr


@pytest.mark.slow(4)
def test_a_failing_notebook_shows_its_cell_and_stops_the_run(clone):
    write_notebook(clone / "notebooks", "00_setup", "fine = 1", "broken = 1 / 0")
    result = nbtools("run", cwd=clone)
    assert result.returncode == 1
    for words in (
        "00_setup, code cell 2 of 2: the cell raised an error.",
        "broken = 1 / 0",
        "ZeroDivisionError: division by zero",
        "Not run: 01_next.",
    ):
        assert words in result.stdout
    assert "00_setup.failed.ipynb" in result.stdout and "01_next" not in [file.stem for file in (clone / "runs" / "course").iterdir()]
    assert "ZeroDivisionError" in (clone / "runs" / "course" / "index.html").read_text()


@pytest.mark.slow(7)
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_kernel_keeps_finished_notebooks_and_prints_how_to_continue(clone, number, code):
    write_notebook(clone / "notebooks", "01_next", SLEEPS)
    mark = f"mark-{clone.name}-{number}"
    command = [sys.executable, "-m", "nbtools.cli", "run"]
    variables = ENVIRONMENT | {"NBTOOLS_TEST_MARK": mark}
    process = subprocess.Popen(command, cwd=clone, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        part = clone / "runs" / "course" / "01_next.part.ipynb"
        while not (part.is_file() and "running" in part.read_text()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        assert len(processes_with(mark)) >= 2  # the command and the kernel
        process.send_signal(number)
        _, error = process.communicate()
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in error
    assert "To continue: nbtools run" in error
    assert processes_with(mark) == []
    status = json.loads((clone / "runs" / "course" / "status.json").read_text())
    assert {name: entry["state"] for name, entry in status["notebooks"].items()} == {"00_setup": "done", "01_next": "stopped"}
    assert printed(clone / "runs" / "course" / "00_setup.ipynb") == "3\n"


@pytest.mark.slow(6)
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_a_killed_command_leaves_no_kernel_behind(clone):
    write_notebook(clone / "notebooks", "00_setup", SLEEPS)
    mark = f"mark-{clone.name}-9"
    process = subprocess.Popen([sys.executable, "-m", "nbtools.cli", "run", "0"], cwd=clone, env=ENVIRONMENT | {"NBTOOLS_TEST_MARK": mark})
    part = clone / "runs" / "00_setup" / "00_setup.part.ipynb"
    while not (part.is_file() and "running" in part.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    while processes_with(mark):  # kernels end once they notice that the parent is gone; the test fails by a time-out if they do not
        time.sleep(0.2)


@pytest.mark.slow(5)
def test_solve_writes_a_copy_with_the_stub_replaced(clone):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("def divisor(d_k, s):\n    return ...\n\ncheck('01-scale', divisor)")]
    )
    notebook.cells[0].metadata["tags"] = ["exercise"]
    notebook.cells[0].source = notebook.cells[0].source.replace("'", '"')
    nbformat.write(notebook, clone / "mine.ipynb")
    result = nbtools("solve", "mine.ipynb", "--out", "solved.ipynb", cwd=clone)
    assert result.returncode == 0, result.stderr
    source = nbformat.read(clone / "solved.ipynb", as_version=4).cells[0].source
    assert "..." not in source and source.endswith('check("01-scale", divisor)')
    assert nbtools("solve", "mine.ipynb", "--out", "mine.ipynb", cwd=clone).returncode == 1


def test_fetch_refuses_a_model_that_need_not_be_fetched():
    result = nbtools("fetch", "mini")
    assert result.returncode == 1 and "comes with the course" in result.stderr


@pytest.mark.slow(20)
def test_doctor_prints_json_and_its_exit_code_is_its_verdict():
    result = nbtools("doctor", "--json")
    health = json.loads(result.stdout)
    assert result.returncode == (0 if health["ok"] else 1)
    assert nbtools("doctor").returncode == result.returncode
