import sys

import nbformat
import papermill
import pytest

from nbtools.errors import InputError
from nbtools.runs import Job, execute
from tests.runs.small_notebooks import SLEEPS, printed, processes_with, write_notebook

pytestmark = pytest.mark.slow(5)

ENVIRONMENT = (
    "import os\nprint(*(os.environ.get(n) for n in ('NBTOOLS_RUNS', 'NBTOOLS_PROGRESS', 'NBTOOLS_HEADLESS', 'EXTRA')), os.getcwd())"
)


def run(tmp_path, *sources, parameters=None, **options):
    # Braces: papermill formats the paths that it is given.
    notebook = write_notebook(tmp_path / "in {x}", "01_test", *sources, parameters=parameters)
    output, watch = tmp_path / "out {y}" / "01_test.ipynb", options.pop("watch", lambda execution: None)
    return execute(Job(str(notebook), options.pop("given", {}), **options), output, runs=tmp_path / "runs", watch=watch)


def test_a_notebook_runs_with_its_parameters_folder_and_environment(tmp_path):
    seen = []
    execution = run(
        tmp_path, "print(steps + 1)", ENVIRONMENT, parameters="steps: int = 1", given={"steps": 41}, environment={"EXTRA": "more"},
        watch=lambda execution: seen.append((execution.cell, execution.total)),
    )  # fmt: skip
    assert execution.failure is None and execution.output == tmp_path / "out {y}" / "01_test.ipynb"
    assert printed(execution.output) == f"42\n{tmp_path / 'runs'} 0 1 more {tmp_path / 'in {x}'}\n"
    assert (4, 4) in seen and len(execution.cell_seconds) == 4
    assert [file.name for file in execution.output.parent.iterdir()] == ["01_test.ipynb"]


def test_peak_memory_is_the_kernels_and_survives_the_release(tmp_path):
    execution = run(tmp_path, "block = bytearray(300_000_000)\nblock[::1000] = b'1' * 300_000\ndel block")
    assert 300e6 < execution.peak_memory_bytes < 900e6


def test_a_child_of_the_kernel_counts_as_memory_too(tmp_path):
    hog = "b = bytearray(200_000_000); b[::1000] = b'1' * 200_000; print('held', flush=True); input()"
    start = (
        f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {hog!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)"
    )
    execution = run(tmp_path, f"{start}\nchild.stdout.readline()", "child.communicate()")
    assert execution.failure is None and execution.peak_memory_bytes > 240e6


def test_a_failing_cell_is_named_and_the_partial_copy_kept(tmp_path):
    execution = run(tmp_path, "print('before')", "1 / 0", "print('after')")
    failure = execution.failure
    assert (failure.kind, failure.cell, failure.total, failure.source) == ("error", 2, 3, "1 / 0")
    assert failure.lines[-1] == "ZeroDivisionError: division by zero" and not any("\x1b" in line for line in failure.lines)
    assert [file.name for file in execution.output.parent.iterdir()] == ["01_test.failed.ipynb"]
    assert printed(execution.output) == "before\n"


def test_a_course_error_shows_its_two_lines_only(tmp_path):
    execution = run(tmp_path, "from nbtools.errors import InputError\nraise InputError('Wrong.', 'Mend it.')")
    assert execution.failure.lines == ["InputError: Wrong.", "  -> Mend it."]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_kernel_that_dies_is_a_failure_whatever_papermill_saved(tmp_path, end):
    execution = run(tmp_path, "print('before')", f"import os\n{end}")
    assert (execution.failure.kind, execution.failure.cell) == ("dead", 2)
    assert execution.output.name == "01_test.failed.ipynb"
    statuses = [cell.metadata.papermill.status for cell in nbformat.read(execution.output, as_version=4).cells]
    assert "failed" not in statuses  # the trap: the saved copy alone does not tell


def test_a_time_limit_ends_a_hanging_cell_and_its_kernel(tmp_path):
    execution = run(tmp_path, "print('before')", SLEEPS, timeout_seconds=2)
    assert (execution.failure.kind, execution.failure.cell, execution.failure.source) == ("time", 2, SLEEPS)
    assert printed(execution.output).startswith("before\n")
    assert processes_with(str(tmp_path)) == []


def test_a_cell_that_refuses_to_stop_is_ended_with_what_it_started(tmp_path):
    apart = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    deaf = "while True:\n    try:\n        time.sleep(600)\n    except KeyboardInterrupt:\n        pass"
    execution = run(tmp_path, f"{apart}\n{deaf}", timeout_seconds=2)
    assert execution.failure.kind == "time"
    assert processes_with(str(tmp_path)) == []


def test_an_interrupt_in_the_parent_leaves_no_process(tmp_path):
    def interrupt(execution):
        if execution.cell:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SLEEPS, watch=interrupt)
    assert processes_with(str(tmp_path)) == []
    assert list((tmp_path / "out {y}").iterdir()) == []


def test_c_level_output_of_the_kernel_does_not_disturb_the_events(tmp_path):
    execution = run(tmp_path, "import os\nos.write(1, b'{not json\\n')", "print('fine')")
    assert execution.failure is None and printed(execution.output) == "fine\n"


def test_a_kernel_name_that_is_not_installed_does_not_matter(tmp_path):
    path = write_notebook(tmp_path, "01_test", "import sys\nprint(sys.executable)")
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = {"kernelspec": {"name": "someone-elses", "display_name": "Someone else's"}}
    nbformat.write(notebook, path)
    execution = execute(Job(str(path), {"a": 1}), tmp_path / "out.ipynb", runs=tmp_path)
    assert execution.failure is None and printed(execution.output) == f"{sys.executable}\n"


def test_a_secret_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(InputError, match="looks like a secret"):
        run(tmp_path, "1", given={"hf_token": "x"})
    assert not (tmp_path / "out {y}").exists()


def test_plain_papermill_runs_the_same_notebook(tmp_path):
    path = write_notebook(tmp_path, "01_test", "print(steps + 1)", parameters="steps: int = 1")
    papermill.execute_notebook(str(path), str(tmp_path / "out.ipynb"), {"steps": 2}, progress_bar=False)
    assert printed(tmp_path / "out.ipynb") == "3\n"
