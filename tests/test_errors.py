import subprocess
import sys

import pytest

from nbtools import errors


def test_every_error_is_a_course_error_with_a_problem_and_a_remedy():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5 and all(issubclass(kind, errors.CourseError) for kind in kinds)
    error = errors.InputError("This is wrong.", "Do that.")
    assert str(error) == "This is wrong.\n  -> Do that."


def test_a_notebook_shows_two_lines_and_no_traceback():
    """IPython calls the exception's own method for rendering; tested with IPython itself."""
    pytest.importorskip("IPython")
    program = (
        "from IPython.core.interactiveshell import InteractiveShell as S; from nbtools.errors import InputError\n"
        's = S.instance(); s.run_cell(\'from nbtools.errors import InputError\\nraise InputError("This is wrong.", "Do that.")\')'
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    output = shown.stdout + shown.stderr
    assert "InputError: This is wrong." in output and "-> Do that." in output
    assert "Traceback" not in output and "line 1" not in output


def test_importing_the_package_does_not_import_torch():
    program = "import sys, nbtools; assert not {'torch', 'transformers', 'datasets'} & set(sys.modules); print(nbtools.__version__)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_every_public_name_exists_and_an_unknown_name_raises():
    import nbtools

    for name in nbtools.__all__:
        assert getattr(nbtools, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = nbtools.nothing_like_it
