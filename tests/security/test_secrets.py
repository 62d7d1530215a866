"""A Hub token that the course finds is said to be there, and no piece of it is shown or stored anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub import contents
from tests.hub.standin import HubStandIn
from tests.runs.small_sweeps import write_tiny

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_" + "Qw7Er9Ty2Ui5Op8As3Df6Gh1Jk4"
WINDOW = 8  # characters: so long a piece of a token is not there by chance

COLAB = """
class userdata:
    @staticmethod
    def get(name):
        if name != "HF_TOKEN":
            raise KeyError(name)
        return "TOKEN"
""".replace('TOKEN"\n', TOKEN + '"\n')

FAILING = """
import os
import huggingface_hub, nbtools
from nbtools.system import hub_token_source
token = huggingface_hub.get_token()
assert token and hub_token_source(), "this test has no token to look for"
print(hub_token_source())
def deeper(secret):
    local = secret[::-1]
    return nbtools.load_model("someone/nothing")
"""


def leaks(text: str) -> list[str]:
    return [TOKEN[at : at + WINDOW] for at in range(len(TOKEN) - WINDOW + 1) if TOKEN[at : at + WINDOW] in text]


def leaks_under(folder: Path) -> list[str]:
    """Every file below `folder` that holds a piece of the token, in whatever encoding."""
    found = []
    for file in folder.rglob("*"):
        if file.is_file() and leaks(file.read_bytes().decode("latin-1")):
            found.append(str(file))
    return found


@pytest.fixture(params=["environment", "file", "colab"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder to work in, and an environment that has the token in one of the three places."""
    home = tmp_path / "home"
    (home / "google" / "colab").mkdir(parents=True)
    (home / "google" / "colab" / "__init__.py").write_text(COLAB)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("HF_T", "COLAB", "NBTOOLS_RUNS"))}
    variables |= {
        "HF_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(home)]),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    if request.param == "environment":
        variables["HF_TOKEN"] = TOKEN
    elif request.param == "file":
        (home / "token").write_text(TOKEN)
    else:
        variables["COLAB_RELEASE_TAG"] = "release-colab"
    (tmp_path / "work").mkdir()
    return tmp_path / "work", variables


def nbtools(place: tuple[Path, dict[str, str]], *words: str) -> tuple[int, str]:
    folder, variables = place
    done = subprocess.run(
        [sys.executable, "-m", "nbtools.cli", *words], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("place", ["colab"], indirect=True)
def test_doctor_says_where_colabs_secret_is_and_shows_none_of_it(place: tuple[Path, dict[str, str]]) -> None:
    _, written = nbtools(place, "doctor", "--json")
    (found,) = [check["value"] for check in json.loads(written)["checks"] if check["name"] == "Hub token"]
    assert found == "set (Colab secret HF_TOKEN)" and leaks(written) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", ["environment"], indirect=True)
def test_notebook_00_and_everything_a_run_leaves_hold_none_of_the_token(place: tuple[Path, dict[str, str]]) -> None:
    folder, _ = place
    code, written = nbtools(
        place, "run", str(ROOT / "notebooks" / "00_setup.ipynb"), "-p", "max_steps", "2", "-p", "first_steps", "4", "--out", "run"
    )
    assert code == 0 and leaks(written) == [], written[-2000:]
    assert "environment variable HF_TOKEN" in (folder / "run" / "00_setup.ipynb").read_text("utf8")
    assert (folder / "run" / "index.html").is_file() and leaks_under(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_traceback_and_a_sweeps_plan_status_and_report_hold_none_of_the_token(place: tuple[Path, dict[str, str]]) -> None:
    folder, _ = place
    write_tiny(
        folder,
        FAILING,
        "if rate > 0.15:\n    deeper(token)",
        "if rate > 0.12:\n    {'token': token}['no such key'] + token",
        name="03_tiny",
    )
    (folder / "sweep.yaml").write_text("notebook: 03_tiny.ipynb\ngrid: {rate: [0.1, 0.13, 0.2]}\n")
    commands = {
        ("sweep", "sweep.yaml", "--out", "swept", "--dry-run"): 0,
        ("sweep", "sweep.yaml", "--out", "swept", "--workers", "3"): 1,
        ("sweep", "--status", "swept"): 0,
        ("report", "swept"): 0,
    }
    for words, expected in commands.items():
        code, written = nbtools(place, *words)
        assert code == expected and leaks(written) == [], (words, written[-2000:])
    page = (folder / "swept" / "index.html").read_text("utf8")
    assert "someone/nothing" in page and "KeyError" in page, "both kinds of error are on the page, and neither shows a local value"
    assert leaks_under(folder) == []


ENDS = ["", "\n", "\r\n", "\nX-Other: 1", "é", "\x00", " and a word"]
ASK = """
import contextlib, io, os, sys, traceback
from pathlib import Path
import nbtools
from nbtools.health import doctor
for end in eval(sys.argv[2]):
    Path(os.environ["HF_HOME"], "token").write_text(sys.argv[1] + end, encoding="utf8")
    try:
        nbtools.load_model("openai-community/gpt2")
    except BaseException:
        traceback.print_exc()
print(doctor())
"""


@pytest.mark.slow
def test_a_token_that_no_header_can_hold_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    """With a control character pasted along, the Hub's client raised an error that quoted the header, token and all."""
    with HubStandIn() as hub:
        hub.add("openai-community/gpt2", contents.model_files(tmp_path / "model"))
        variables = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
        variables |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", ASK, TOKEN, repr([*ENDS, "\x00"])]
        done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert leaks(done.stdout + done.stderr) == []
    assert "another character that no token has" in done.stderr and "an invalid character" in done.stdout
    assert done.stdout.count("gpt2: GPT2LMHeadModel") >= 2, "a line break at the end does no harm: the client cuts it off"
    assert {asked.authorization for asked in hub.requests} <= {None, f"Bearer {TOKEN}"}
