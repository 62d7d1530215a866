"""How the package's C++ is compiled and loaded, and when it is not."""

import subprocess
import sys

import pytest

from nbtools.accel import available, native
from nbtools.accel.native import native_library

needs_it = pytest.mark.skipif(not available("adamw"), reason="no C++ compiler here")


@needs_it
@pytest.mark.parametrize("source", [pytest.param("decode_kernel", marks=pytest.mark.slow(14)), "adamw"])
def test_it_is_compiled_once_and_found_again(fresh_native, source, monkeypatch, tmp_path):
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    assert native_library(source) is not None
    (built,) = (tmp_path / "kernels").iterdir()
    written = built.stat().st_mtime_ns
    native_library.cache_clear()
    assert native_library(source) is not None and built.stat().st_mtime_ns == written


@needs_it
def test_a_compiler_that_fails_is_reported_and_nothing_is_stored(fresh_native, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "FLAGS", [*native.FLAGS, "-no-such-flag"])
    assert native_library("decode_kernel") is None
    assert "decode_kernel.cpp could not be compiled" in capsys.readouterr().err
    assert not list((tmp_path).rglob("*.so"))


@needs_it
def test_it_leaves_the_processors_handling_of_small_numbers_as_it_was():
    """A library linked with -ffast-math flushes them to zero in the whole process."""
    code = (
        "from nbtools.accel import available; available('decode_kernel'); import numpy; print(numpy.float32(1e-38) / numpy.float32(10) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@needs_it
@pytest.mark.parametrize("place", [".", "kernels", "the library"])
def test_a_library_that_others_could_have_put_there_is_not_loaded(fresh_native, monkeypatch, tmp_path, capsys, place):
    """Whoever can write to a shared cache folder could have had a library of theirs loaded into this process."""
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    assert native_library("adamw") is not None
    (built,) = (tmp_path / "kernels").iterdir()
    open_to_all = {".": tmp_path, "kernels": built.parent, "the library": built}[place]
    open_to_all.chmod(0o777)
    native_library.cache_clear()
    assert native_library("adamw") is None and "can be written by others" in capsys.readouterr().err
    open_to_all.chmod(0o755)
    native_library.cache_clear()
    assert native_library("adamw") is not None


@pytest.mark.parametrize("variable", ["NBTOOLS_KERNEL", "NBTOOLS_ACCEL"])
def test_switched_off_nothing_is_compiled(fresh_native, variable, monkeypatch, tmp_path):
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    monkeypatch.setenv(variable, "0")
    assert not available("adamw") and not available("decode_kernel")
    assert not list(tmp_path.rglob("*.so"))
