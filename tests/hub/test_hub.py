"""The real client libraries against the stand-in Hub, each in a process of its own, because they read their settings once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub import contents
from tests.hub.standin import HubStandIn
from tests.small_models import tiny

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_" + "StandInSecret0123456789"

# Prints, as JSON, what became of each name: what load_model shows, or the kind and the two lines of its error.
LOAD = """
import contextlib, io, json, sys
from nbtools import CourseError, load_model
found = {}
for name in sys.argv[1:]:
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            lm = load_model(name)
        found[name] = {"shown": shown.getvalue(), "weights": float(lm.model.transformer.wte.weight.double().sum())}
    except CourseError as error:
        found[name] = {"error": type(error).__name__, "problem": error.problem, "remedy": error.remedy}
print(json.dumps(found))
"""
READ = """
import json
from nbtools import CourseError, load_reviews
try:
    reviews = load_reviews("hub", unlabelled=True)
    print(json.dumps({
        "shown": repr(reviews), "source": reviews.source, "unlabelled": reviews.unlabelled, "official": list(reviews.official_test["text"]),
        **{part: list(reviews.part(part)["text"]) for part in ("train", "validation", "test")},
    }))
except CourseError as error:
    print(json.dumps({"error": type(error).__name__, "problem": error.problem, "remedy": error.remedy}))
"""


def run(code: str, endpoint: str, home: Path, *arguments: str, **more: str) -> tuple[dict[str, Any], str]:
    """Run `code` as a learner's kernel would, with the Hub at `endpoint`: what it printed last, and all that it wrote."""
    apart = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "huggingface"),
        "NBTOOLS_CACHE": str(home / "cache"),
        "PYTHONPATH": str(ROOT),
        # Names other than loopback lead nowhere: whatever goes past the stand-in fails, and here at once.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | apart | more
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def asked_once(test: Any) -> Any:
    """Mark a test that looks at the visits of other tests: they share a process, and the first of them waits for a visit."""
    return pytest.mark.xdist_group("hub")(pytest.mark.slow(8)(test))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return contents.model_files(tmp_path_factory.mktemp("tiny"))


class Visit:
    """What one learner met who asked the stand-in for several models, with a token set."""

    names = ("gpt2", "someone/only-pickle", "someone/own-code", "someone/own-code-over-gpt2", "someone/no-such-model", "nosuchmodel")

    def __init__(self, files: dict[str, bytes], home: Path) -> None:
        self.mark = home / "own-code-ran"
        with HubStandIn() as hub:
            hub.add("openai-community/gpt2", files)
            hub.add("someone/only-pickle", contents.with_weights_as_pickle(files))
            hub.add("someone/own-code", contents.with_code_of_its_own(files, self.mark, "own"))
            hub.add("someone/own-code-over-gpt2", contents.with_code_of_its_own(files, self.mark, "gpt2"))
            self.found, self.written = run(LOAD, hub.url, home, *self.names, HF_TOKEN=TOKEN)
            self.endpoint, self.hub = hub.url, hub
        # The server is gone by now; what the client keeps is still there.
        self.later, self.written_later = run(LOAD, self.endpoint, home, "gpt2", "distilgpt2", HF_HUB_OFFLINE="1")


@pytest.fixture(scope="module")
def visit(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return Visit(files, tmp_path_factory.mktemp("learner"))


def weights_of(files: dict[str, bytes]) -> float:
    from safetensors.torch import load

    return float(load(files["model.safetensors"])["transformer.wte.weight"].double().sum())


@asked_once
def test_gpt2_is_loaded_from_the_hub_and_says_so(visit: Visit, files: dict[str, bytes]) -> None:
    loaded = visit.found["gpt2"]
    assert loaded["shown"].startswith(f"gpt2: GPT2LMHeadModel, {tiny().parameters:,} parameters")
    assert "from Hugging Face Hub, openai-community/gpt2" in loaded["shown"]
    assert loaded["weights"] == weights_of(files)


@asked_once
def test_weights_come_as_safetensors_and_never_as_a_pickle(visit: Visit) -> None:
    refused = visit.found["someone/only-pickle"]
    assert refused["error"] == "ModelError" and "safetensors" in refused["problem"]
    assert visit.hub.asked_for("gpt2/resolve/") and not visit.hub.asked_for("pytorch_model.bin")


@asked_once
def test_nobody_is_asked_to_convert_a_model(visit: Visit) -> None:
    """transformers would look for a conversion of the weights, and have a service elsewhere make one, unasked."""
    assert not visit.hub.asked_for("/commits/") and not visit.hub.asked_for("/discussions")


@asked_once
@pytest.mark.parametrize("name", ["someone/own-code", "someone/own-code-over-gpt2"])
def test_a_models_own_code_never_runs(visit: Visit, name: str) -> None:
    assert not visit.mark.exists()
    assert not visit.hub.asked_for(f"{name}/resolve/") or not [
        asked for asked in visit.hub.asked_for(name) if asked.path.endswith("own.py")
    ]


@asked_once
def test_a_model_that_needs_its_own_code_is_refused(visit: Visit) -> None:
    refused = visit.found["someone/own-code"]
    assert refused["error"] == "ModelError" and "never runs" in refused["problem"] and "\n" not in refused["problem"]


@asked_once
@pytest.mark.parametrize("name", ["someone/no-such-model", "nosuchmodel"])
def test_an_unknown_name_is_told_from_a_hub_out_of_reach(visit: Visit, name: str) -> None:
    refused = visit.found[name]
    assert refused["error"] == "ModelError"
    assert refused["problem"] == f"The Hub has no model called {name}." and "spelling" in refused["remedy"]


@asked_once
def test_the_token_goes_to_the_hub_as_a_header_and_nowhere_else(visit: Visit) -> None:
    sent = {asked.authorization for asked in visit.hub.requests}
    assert sent <= {None, f"Bearer {TOKEN}"} and f"Bearer {TOKEN}" in sent
    assert not any(TOKEN in asked.path for asked in visit.hub.requests)
    assert "StandIn" not in visit.written and "StandIn" not in json.dumps(visit.found)


@asked_once
def test_a_model_once_loaded_loads_again_with_the_hub_off(visit: Visit) -> None:
    assert visit.later["gpt2"]["weights"] == visit.found["gpt2"]["weights"]
    refused = visit.later["distilgpt2"]
    assert refused["error"] == "UnreachableError" and "switched off" in refused["problem"] and "mini" in refused["remedy"]


@pytest.fixture
def no_server(unused_port: int) -> str:
    return f"http://127.0.0.1:{unused_port}"


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port on which nobody listens: held without listening, so that nobody else can."""
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.slow(30)
def test_a_hub_out_of_reach_is_one_line_that_names_what_works_here(no_server: str, tmp_path: Path) -> None:
    found, written = run(LOAD, no_server, tmp_path, "gpt2", "mini")
    refused = found["gpt2"]
    assert refused["error"] == "UnreachableError" and "cannot be reached" in refused["problem"]
    assert "mini" in refused["remedy"] and "smollm2" in refused["remedy"]
    assert found["mini"]["shown"].startswith("mini: GPT2LMHeadModel")
    assert "Traceback" not in written


def test_reviews_out_of_reach_name_the_package(no_server: str, tmp_path: Path) -> None:
    found, written = run(READ, no_server, tmp_path)
    assert found["error"] == "UnreachableError" and "source='package'" in found["remedy"] and "Traceback" not in written


@pytest.fixture(scope="module")
def rows() -> dict[str, list[tuple[str, int]]]:
    """Real reviews, sorted by label as the Hub's are; each text stands in one part only."""
    from nbtools.data.sources import read_package

    raw = read_package()
    pairs = sorted(
        {(text, label) for text, label in zip(raw.texts, raw.labels, strict=True) if text and label is not None and len(text) < 900}
    )
    chosen = [pair for label in (0, 1) for pair in [pair for pair in pairs if pair[1] == label][:90]]
    train = [pair for number, pair in enumerate(chosen) if number % 3]
    rest = chosen[::3]
    return {"train": train, "test": rest[::2], "unsupervised": [(text, -1) for text, _ in rest[1::2]]}


@pytest.fixture(scope="module")
def read(rows: dict[str, list[tuple[str, int]]], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, HubStandIn]:
    with HubStandIn() as hub:
        hub.add("stanfordnlp/imdb", contents.review_files(rows), kind="datasets")
        return *run(READ, hub.url, tmp_path_factory.mktemp("reader"), HF_TOKEN=TOKEN), hub


@asked_once
def test_reviews_come_from_the_hub_in_three_parts(read: tuple[dict[str, Any], str, HubStandIn], rows: dict[str, Any]) -> None:
    found, written, hub = read
    assert found["source"] == "the Hugging Face Hub, stanfordnlp/imdb" and found["source"] in found["shown"]
    assert f"{len(rows['train'])} read" in found["shown"]
    parts = [set(found[name]) for name in ("train", "validation", "test")]
    assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert "StandIn" not in written
    assert f"Bearer {TOKEN}" in {asked.authorization for asked in hub.requests}


@asked_once
def test_the_hubs_test_part_is_reported_beside_and_never_mixed_in(
    read: tuple[dict[str, Any], str, HubStandIn], rows: dict[str, Any]
) -> None:
    from nbtools.data.cleaning import clean

    found, _, _ = read
    used = {text for name in ("train", "validation", "test") for text in found[name]}
    assert used <= {clean(text) for text, _ in rows["train"]}
    assert found["official"] == [clean(text) for text, _ in rows["test"]]
    assert found["unlabelled"] == [clean(text) for text, _ in rows["unsupervised"]]
    assert not any("<br" in text for text in found["official"] + sorted(used))


@asked_once
def test_a_review_is_in_the_same_part_whichever_source_gave_it(read: tuple[dict[str, Any], str, HubStandIn]) -> None:
    from nbtools.data import load_reviews

    found, _, _ = read
    package = load_reviews("package")
    for name in ("train", "validation", "test"):
        assert set(found[name]) <= set(package.part(name)["text"]), name


def test_the_stand_in_answers_like_a_hub(tmp_path: Path) -> None:
    """What the client's cache lives by: a commit, an ETag that follows the content, parts of files, and the two kinds of absence."""
    import urllib.error
    import urllib.request

    def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(hub.url + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    with HubStandIn() as hub:
        first = hub.add("a/b", {"x/one.txt": b"0123456789", "two.txt": b"2"}).commit
        status, headers, body = ask("/a/b/resolve/main/x/one.txt", "HEAD")
        assert (status, headers["X-Repo-Commit"], headers["Content-Length"], body) == (200, first, "10", b"")
        assert ask(f"/a/b/resolve/{first}/x/one.txt", Range="bytes=2-4")[::2] == (206, b"234")
        assert ask("/a/b/resolve/main/no.txt")[1]["X-Error-Code"] == "EntryNotFound"
        assert ask("/a/b/resolve/other/two.txt")[1]["X-Error-Code"] == "RevisionNotFound"
        assert ask("/a/c/resolve/main/two.txt")[1]["X-Error-Code"] == ask("/api/models/nothing")[1]["X-Error-Code"] == "RepoNotFound"
        flat, deep = (json.loads(ask(f"/api/models/a/b/tree/main{query}")[2]) for query in ("", "?recursive=true"))
        assert sorted(entry["path"] for entry in flat) == ["two.txt", "x"]
        assert sorted(entry["path"] for entry in deep) == ["two.txt", "x", "x/one.txt"]
        second = hub.add("a/b", {"x/one.txt": b"0123456789", "two.txt": b"other"}).commit
        assert second != first and ask(f"/a/b/resolve/{first}/two.txt")[0] == 404


PUSH = """
import json, sys
from nbtools import CourseError
from nbtools.models import inspect_model
from nbtools.training import push_model
found = {}
for name in sys.argv[2:]:
    try:
        found[name] = {"address": push_model(sys.argv[1], name), "facts": repr(inspect_model(name))}
    except CourseError as error:
        found[name] = {"problem": error.problem, "remedy": error.remedy}
print(json.dumps(found))
"""
INSPECT = """
import json, sys
from nbtools import CourseError
from nbtools.models import inspect_model
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = repr(inspect_model(name))
    except CourseError as error:
        found[name] = f"{error.problem} {error.remedy}"
print(json.dumps(found))
"""


@asked_once
@pytest.mark.slow(10)
def test_a_tuned_model_with_its_card_is_pushed_private_and_the_token_is_not_shown(files: dict[str, bytes], tmp_path: Path) -> None:
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    for name, content in files.items():
        (model / name).write_bytes(content)
    with HubStandIn() as hub:
        without, _ = run(PUSH, hub.url, tmp_path, str(model.parent), "someone/mine", HF_TOKEN=TOKEN)
        (model / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
        found, written = run(PUSH, hub.url, tmp_path, str(model.parent), "someone/mine", "no good/name", HF_TOKEN=TOKEN)
        refused, _ = run(PUSH, hub.url, tmp_path, str(model.parent), "someone/other")
    pushed = hub.repositories["models", "someone/mine"]
    assert without["someone/mine"]["problem"].endswith("lacks README.md.")
    assert found["someone/mine"]["address"].endswith("/someone/mine") and pushed.private
    assert pushed.files["model.safetensors"] == files["model.safetensors"] and pushed.card.endswith("# Mine\n")
    assert "licence: mit" in found["someone/mine"]["facts"] and "to be downloaded" in found["someone/mine"]["facts"]
    assert "The upload to the Hub failed" in found["no good/name"]["problem"]
    assert "The upload to the Hub failed" in refused["someone/other"]["problem"] and ("models", "someone/other") not in hub.repositories
    assert TOKEN not in written and TOKEN[:8] not in written


@asked_once
def test_a_model_is_looked_at_before_any_weights_are_downloaded(files: dict[str, bytes], tmp_path: Path) -> None:
    with HubStandIn() as hub:
        hub.add("openai-community/gpt2", files | {"README.md": b"---\nlicense: mit\n---\n"})
        hub.add("someone/only-pickle", contents.with_weights_as_pickle(files))
        names = ("gpt2", "someone/only-pickle", "someone/no-such-model")
        found, _ = run(INSPECT, hub.url, tmp_path, *names)
    assert "gpt2, " in found["gpt2"] and "context 64" in found["gpt2"] and "licence: mit" in found["gpt2"]
    assert "no safetensors" in found["someone/only-pickle"] and "licence: not stated" in found["someone/only-pickle"]
    assert "someone/no-such-model could not be loaded from the Hub" in found["someone/no-such-model"]
    assert not hub.asked_for("safetensors") and not hub.asked_for("pytorch_model.bin")
