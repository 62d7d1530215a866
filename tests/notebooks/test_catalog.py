from pathlib import Path

import pytest

from nbtools.errors import InputError
from nbtools.notebooks import choose_notebooks, read_notebook
from nbtools.notebooks.catalog import find_notebooks
from tests.runs.small_notebooks import write_notebook


@pytest.fixture
def course(tmp_path, monkeypatch):
    for name in ("00_setup", "01_attention", "04_finetuning"):
        write_notebook(tmp_path / "notebooks", name, "1", title=f"About {name}")
    write_notebook(tmp_path / "notebooks", "my notes", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROOT = Path(__file__).resolve().parents[2]


def test_the_course_is_found_from_the_clone_from_notebooks_and_from_below(course, monkeypatch):
    names = [path.stem for path in find_notebooks()]
    assert names == ["00_setup", "01_attention", "04_finetuning"]
    (course / "deep" / "er").mkdir(parents=True)
    for place in ("notebooks", "deep/er"):
        monkeypatch.chdir(course / place)
        assert [path.stem for path in find_notebooks()] == names


@pytest.mark.parametrize("name", ["4", "04", "04_finetuning", "finetuning", "notebooks/04_finetuning.ipynb"])
def test_a_number_a_name_and_a_path_mean_the_same_notebook(course, name):
    assert [notebook.name for notebook in choose_notebooks([name])] == ["04_finetuning"]


def test_order_is_as_given_and_each_notebook_once(course):
    assert [notebook.name for notebook in choose_notebooks(["4", "00", "04_finetuning"])] == ["04_finetuning", "00_setup"]


def test_unknown_name_suggests_the_nearest(course):
    with pytest.raises(InputError) as caught:
        choose_notebooks(["attentoin"])
    assert "Did you mean '01_attention'?" in caught.value.remedy


def test_two_notebooks_with_the_same_name_cannot_share_a_run(course):
    other = write_notebook(course / "mine", "00_setup", "2")
    with pytest.raises(InputError, match="Two notebooks are called 00_setup"):
        choose_notebooks(["0", str(other)])


def test_a_file_that_is_not_a_notebook_is_refused(tmp_path):
    (tmp_path / "text.ipynb").write_text("hello")
    (tmp_path / "old.ipynb").write_text('{"nbformat": 3, "worksheets": []}')
    for name, words in (("text", "cannot be read"), ("old", "not a notebook of format 4"), ("absent", "There is no notebook")):
        with pytest.raises(InputError, match=words):
            read_notebook(tmp_path / f"{name}.ipynb")


def test_without_notebooks_the_error_has_a_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nbtools.notebooks.catalog.CLONE", tmp_path / "no-clone")
    with pytest.raises(InputError, match="no folder notebooks/"):
        find_notebooks()


def test_a_copy_of_a_notebook_outside_the_clone_finds_the_courses_notebooks(tmp_path, monkeypatch):
    """In a learner's folder, or with papermill in the home folder, `ParameterForm("04")` ended the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NBTOOLS_NOTEBOOKS", raising=False)
    assert choose_notebooks(["04"])[0].path == ROOT / "notebooks" / "04_finetuning.ipynb"


def test_without_a_clone_the_copies_in_the_wheel_are_used(tmp_path, monkeypatch):
    """Colab opens one notebook without a clone, but `ParameterForm("04")` and a sweep of 04 need that file."""
    write_notebook(tmp_path / "package", "04_finetuning", "1")
    monkeypatch.setattr("nbtools.notebooks.catalog.PACKAGED", tmp_path / "package")
    (tmp_path / "content").mkdir()
    monkeypatch.chdir(tmp_path / "content")
    assert choose_notebooks(["04"])[0].path == tmp_path / "package" / "04_finetuning.ipynb"
    nearer = write_notebook(tmp_path / "content" / "notebooks", "04_finetuning", "2")
    assert choose_notebooks(["04"])[0].path == nearer
