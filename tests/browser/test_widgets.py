"""Every live view in a real JupyterLab, used by mouse and by keyboard; what stands on the screen is what Python computed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nbformat
import numpy as np
import psutil
import pytest
import torch

from nbtools.attention import ablate_each_head, logit_lens, read_attention, trace_attention
from nbtools.compare import attention_shift
from nbtools.data import pack
from nbtools.evaluation import block_nll
from nbtools.generation import Sampler, SamplingParams, generate, next_logits
from nbtools.widgets.front_end import script
from tests.browser.jupyterlab import HANG, Lab, find_browser, open_page, run_all, running_lab, wait_for_kernel
from tests.small_models import mini

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("views")]
NO_ANSWER = "The kernel does not answer"
SLOW = """
import time
class Slow(nbtools.PromptLab):
    def _add(self, node, request):
        number = super()._add(node, request)
        time.sleep(0.05)
        return number
Slow(lm, 'It was', max_new_tokens=400, temperature=1.5)
"""  # the whole text takes twenty seconds and more, so that a person or a test has the time to press Stop
TEXT = "The plot was thin, but the acting was good."
HOSTILE = "<img src=x onerror=\"document.title='read as HTML'\"> שלום 🙂"
REVIEWS = ["A fine film. I liked it.", "Dull <b>and</b> long 🙂.", "The end was the best part of it all, sadly."] * 6
CHANGED = """
import torch
changed = nbtools.load_model("mini", verbose=False)
torch.manual_seed(0)
with torch.no_grad():
    for weight in changed.model.parameters():
        weight.add_(torch.randn_like(weight) * 0.01)
"""
CELLS = {
    "start": "import nbtools\nlm = nbtools.load_model('mini', verbose=False)",
    "lab": "lab = nbtools.PromptLab(lm, 'The movie was', max_new_tokens=12)\nlab",
    "second": f"nbtools.PromptLab(lm, {HOSTILE!r}, max_new_tokens=8)",
    "slow": SLOW,
    "explorer": f"explorer = nbtools.AttentionExplorer(lm, {TEXT!r})\nexplorer",
    "changed": CHANGED,
    "microscope": "nbtools.Microscope(lm, changed, 'The movie was really', max_new_tokens=12, seed=4)",
    "inspector": f"packed = nbtools.pack({REVIEWS!r}, lm, 32)\nnbtools.TokenInspector(lm, packed)",
    "twins": "shared = nbtools.TokenInspector(lm, packed)\ndisplay(shared, shared)",
    "later": "shared",
    "form": f"nbtools.ParameterForm({str(Path(__file__).parents[2] / 'notebooks' / '04_finetuning.ipynb')!r})",
    "monitor": "small = dict(max_reviews=40, block_size=64, batch_size=2)\n"
    "nbtools.TrainingMonitor.start('runs/one', max_steps=400, prompts=['The movie was'], **small)",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def asked() -> list[str]:
    return []


@pytest.fixture(scope="module")
def lab_server(place: Path) -> Iterator[Lab]:
    folder = place / "notebooks"
    folder.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id=name) for name, source in CELLS.items()])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, folder / "views.ipynb")
    find_browser()
    with running_lab(folder, place) as server:
        yield server


@pytest.fixture(scope="module")
def page(lab_server: Lab, place: Path, asked: list[str]) -> Iterator[Page]:
    with open_page(find_browser(), place) as page:
        page.on("request", lambda request: asked.append(urlsplit(request.url).hostname or ""))
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        try:
            run_all(page, lab_server.url("views.ipynb"), len(CELLS))
            yield page
        finally:
            page.screenshot(path=place / "end.png")


def view(page: Page, name: str) -> Locator:
    """The live view in the output of the cell called `name`."""
    found = page.locator(".jp-CodeCell").nth(list(CELLS).index(name)).locator("section.nbt")
    found.wait_for(timeout=HANG)
    found.scroll_into_view_if_needed()
    return found


def press(where: Locator, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def run_cell(page: Page, name: str) -> None:
    """Press Ctrl+Enter in the cell called `name` and wait for its new number."""
    cell = page.locator(".jp-CodeCell").nth(list(CELLS).index(name))
    prompt = cell.locator(".jp-InputPrompt")
    prompt.evaluate("one => { one.textContent = ''; }")  # a new kernel counts from 1 again
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function("prompt => /[0-9]/.test(prompt.textContent)", arg=prompt.element_handle(), timeout=HANG)


def status(where: Locator) -> Locator:
    return where.locator("xpath=..").locator(".nbt-status")


def wait_for(where: Locator, text: str) -> None:
    status(where).get_by_text(text, exact=True).wait_for(timeout=HANG)


def move(where: Locator, label: str, value: float) -> None:
    """Put a slider at a value, as a hand would: set it and let it say that it moved."""
    where.get_by_label(label, exact=True).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def tokens_of(where: Locator) -> str:
    return "".join(where.locator(".nbt-token").all_text_contents())


# -- the arithmetic in the browser


def random_settings(draws: np.random.Generator) -> dict[str, float]:
    return {
        "temperature": float(draws.uniform(0.1, 2)),
        "top_k": int(draws.choice([0, 0, 1, 2, 5, 50, 1000])),
        "top_p": float(draws.choice([1.0, draws.uniform(0.05, 1)])),
        "min_p": float(draws.choice([0.0, draws.uniform(0, 0.5)])),
        "repetition_penalty": float(draws.choice([1.0, draws.uniform(1, 2)])),
    }


@pytest.mark.slow(40)
def test_the_browsers_warpers_are_transformers_own(page: Page) -> None:
    """A hundred random settings over the whole vocabulary; a token may differ only where the top-p edge is within 1e-6 of it."""
    from transformers import RepetitionPenaltyLogitsProcessor

    blank = page.context.new_page()
    blank.goto("about:blank")
    load = "async source => { window.m = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))); }"
    blank.evaluate(load, script("warpers", "prompt_lab"))
    draws = np.random.default_rng(0)
    for prompt in ("The movie was", "I", "She opened the door and"):
        logits = next_logits(mini(), prompt)
        history = mini().tokenizer(prompt)["input_ids"]
        cases = [random_settings(draws) for _ in range(34)]
        uniforms = draws.uniform(size=len(cases)).tolist()
        found = blank.evaluate(
            """([data, history, cases, uniforms]) => {
                const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
                const logits = new Float32Array(bytes.buffer);
                return cases.map((settings, at) => {
                    const one = m.warp(m.ranked(logits, history, settings.repetition_penalty), settings);
                    return { probabilities: Array.from(one.probabilities), removed: one.removed, entropy: one.entropy,
                             selected: m.sampleInverseCdf(one.probabilities, uniforms[at]).id };
                });
            }""",
            [base64.b64encode(logits.numpy().tobytes()).decode(), history, cases, uniforms],
        )
        for settings, uniform, one in zip(cases, uniforms, found, strict=True):
            penalty = settings["repetition_penalty"]
            scores: Any = logits[None].clone()
            if penalty != 1:
                scores = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([history]), scores)  # type: ignore[arg-type]
            free = (scores[0] / settings["temperature"]).double().softmax(-1)
            given = {name: value for name, value in settings.items() if name != "repetition_penalty" and (name != "top_p" or value < 1)}
            [warped] = Sampler(SamplingParams(**given))(scores, [history])
            theirs, ours = warped.probabilities, torch.tensor(one["probabilities"], dtype=torch.float64)
            differing = (theirs > 0) != (ours > 0)
            if differing.any():
                assert float(free[differing].sum()) < 1e-3 and _edge_is_near(free, settings, differing), settings
                continue
            assert torch.allclose(ours, theirs, atol=1e-6), settings
            assert one["removed"] == pytest.approx(1 - float(free[theirs > 0].sum()), abs=1e-5)
            some = theirs[theirs > 0]
            assert one["entropy"] == pytest.approx(float(-(some * some.log2()).sum()), abs=1e-4)
            edges = theirs.cumsum(0)
            if (edges - uniform).abs().min() > 1e-6:
                assert one["selected"] == warped.token(uniform)
    blank.close()


def _edge_is_near(free: torch.Tensor, settings: dict[str, float], differing: torch.Tensor) -> bool:
    """Whether the tokens that differ lie within 1e-6 of the edge that top-p draws."""
    if settings["top_p"] >= 1:
        return False
    kept = free.sort(descending=True).values
    if settings["top_k"]:
        kept = kept[: int(settings["top_k"])]
    share = kept / kept.sum()
    return bool((share.cumsum(0) - settings["top_p"]).abs().min() < 1e-6)


# -- the prompt lab


def test_a_text_is_written_and_its_tokens_are_those_of_python(page: Page) -> None:
    lab = view(page, "lab")
    press(lab, "Generate")
    wait_for(lab, "done")
    wanted = generate(mini(), "The movie was", max_new_tokens=12, temperature=0.7, top_k=50, top_p=0.95)
    assert "The movie was" + tokens_of(lab) == wanted


def test_sliders_answer_at_once_and_exactly(page: Page) -> None:
    lab = view(page, "lab")
    last = lab.locator(".nbt-token").count() - 1
    press(lab, "Back")
    lab.locator(".nbt-token").nth(last).wait_for(state="detached", timeout=HANG)  # the kernel has answered
    for temperature, shown in ((0, "0 (greedy)"), (1.3, "1.30")):
        move(lab, "temperature", temperature)
        assert lab.get_by_text(shown, exact=True).count() == 1
    move(lab, "top-k", 0)
    move(lab, "top-p", 1)
    facts = lab.locator(".nbt-top-tokens + p")
    size = f"{len(mini().tokenizer):,}"
    facts.get_by_text(f"{size} of {size} tokens remain", exact=False).wait_for(timeout=HANG)
    logits = next_logits(mini(), "The movie was" + tokens_of(lab)) / 1.3
    best = logits.double().softmax(-1).topk(3)
    bars = lab.locator(".nbt-top-token .nbt-value").all_text_contents()
    assert bars[:3] == [f"{100 * share:.1f} %" for share in best.values.tolist()]
    assert "others" in lab.locator(".nbt-top-token").last.text_content()  # type: ignore[operator]


def test_the_random_number_says_what_the_next_token_will_be(page: Page) -> None:
    lab = view(page, "lab")
    move(lab, "temperature", 1.2)
    said = lab.locator(".nbt-ruler + p").text_content() or ""
    token = said.split(" which selects ")[1].split(": its interval")[0]
    before = lab.locator(".nbt-token").count()
    page.wait_for_timeout(400)  # the settings rest, and reach the kernel
    press(lab, "One token")
    page.wait_for_function("([box, n]) => box.querySelectorAll('.nbt-token').length === n", arg=[lab.element_handle(), before + 1])
    wait_for(lab, "done")
    last = lab.locator(".nbt-token").last.text_content() or ""
    assert last.replace(" ", "␣").replace("\n", "⏎") == token


def test_another_token_is_chosen_by_keyboard_and_the_first_branch_is_found_again(page: Page) -> None:
    lab = view(page, "lab")
    press(lab, "Generate")
    wait_for(lab, "done")
    first = tokens_of(lab)
    token = lab.locator(".nbt-token").nth(2)
    token.focus()
    page.keyboard.press("Enter")
    lab.locator(".nbt-detail button[data-token][aria-pressed='false']").first.focus()
    page.keyboard.press("Enter")
    lab.page.wait_for_function(
        "([box, text]) => [...box.querySelectorAll('.nbt-token')].map(t => t.textContent).join('') !== text",
        arg=[lab.element_handle(), first],
    )
    wait_for(lab, "done")
    assert tokens_of(lab) != first
    branches = lab.locator(".nbt-branch")
    assert branches.count() >= 2
    names = branches.evaluate_all("all => all.map(one => one.getAttribute('aria-current'))")
    assert names.count("true") == 1
    for number in range(branches.count()):
        branches.nth(number).click()
        page.wait_for_timeout(300)
        if tokens_of(lab) == first:
            return
    pytest.fail("the first text was not among the branches")


def test_the_same_random_numbers_at_another_temperature(page: Page) -> None:
    lab = view(page, "lab")
    lab.get_by_label("another temperature").fill("1.9")
    press(lab, "Same random numbers at temperature")
    differ, same = "the texts differ from token", "selects the same token at both"
    lab.get_by_text(differ, exact=False).or_(lab.get_by_text(same, exact=False)).first.wait_for(timeout=HANG)
    assert lab.locator(".nbt-replay").count() == 2
    wait_for(lab, "done")


def test_three_ways_side_by_side(page: Page) -> None:
    lab = view(page, "lab")
    press(lab, "Compare greedy, sampling, beam")
    wait_for(lab, "done")
    rows = lab.locator(".nbt-table", has_text="in three ways").locator("tbody tr")
    assert rows.count() == 3
    assert rows.nth(0).locator("td").nth(1).text_content() == generate(mini(), "The movie was", max_new_tokens=12)


def test_what_is_copied_is_code(page: Page) -> None:
    lab = view(page, "lab")
    press(lab, "Copy as Python")
    wait_for(lab, "Copied.")
    assert page.evaluate("navigator.clipboard.readText()").startswith("import nbtools")
    press(lab, "Copy as papermill command")
    page.wait_for_function("navigator.clipboard.readText().then(text => text.startsWith('papermill notebooks/03_generation.ipynb'))")


def test_two_labs_in_one_notebook_do_not_meet_and_hostile_text_stays_text(page: Page) -> None:
    lab, second = view(page, "lab"), view(page, "second")
    before = tokens_of(lab)
    press(second, "Generate")
    wait_for(second, "done")
    assert tokens_of(lab) == before and tokens_of(second)
    assert second.locator("img").count() == 0 and page.title() != "read as HTML"
    assert second.locator("textarea").first.input_value() == HOSTILE
    ids = page.evaluate("[...document.querySelectorAll('.nbt [id]')].map(one => one.id)")
    assert len(ids) == len(set(ids)) > 10


def test_stop_ends_a_long_text(page: Page) -> None:
    slow = view(page, "slow")
    press(slow, "Generate")
    page.wait_for_function("box => box.querySelectorAll('.nbt-token').length > 3", arg=slow.element_handle(), timeout=HANG)
    press(slow, "Stop")
    status(slow).get_by_text("stopped", exact=True).wait_for(timeout=HANG)
    assert slow.get_by_role("button", name="Generate", exact=True).is_enabled()
    assert 3 < slow.locator(".nbt-token").count() < 400


# -- the attention explorer


def test_heads_are_chosen_and_a_weight_is_read_exactly(page: Page) -> None:
    explorer = view(page, "explorer")
    thumbs = explorer.locator(".nbt-thumb")
    assert thumbs.count() == 48
    explorer.get_by_role("button", name="layer 2, head 5", exact=True).click()
    explorer.get_by_role("heading", name="Layer 2, head 5").wait_for()
    matrix = explorer.locator(".nbt-matrix")
    matrix.focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    weight = float(trace_attention(mini(), TEXT).weights[2, 5, 4, 1])
    readout = explorer.locator(".nbt-matrix + div")
    exact = np.format_float_positional(np.float32(weight), unique=True)[:6]
    readout.get_by_text(exact, exact=False).wait_for(timeout=HANG)
    page.keyboard.press("Enter")
    explorer.get_by_text("weight = exp(score) / sum").wait_for(timeout=HANG)
    shown = explorer.locator(".nbt-sum tr", has_text="weight = exp").locator("td").nth(1).text_content()
    assert float(shown or "nan") == pytest.approx(weight, rel=1e-4)


def test_arrow_keys_move_among_the_heads(page: Page) -> None:
    explorer = view(page, "explorer")
    explorer.get_by_role("button", name="layer 0, head 0", exact=True).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    explorer.get_by_role("heading", name="Layer 1, head 1").wait_for()
    pressed = explorer.locator(".nbt-thumb[aria-pressed='true']")
    assert pressed.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))") == ["layer 1, head 1"]


def heat_of(explorer: Locator) -> list[float]:
    """How strongly each token of the explorer is coloured."""
    found = explorer.locator(".nbt-chip").evaluate_all("all => all.map(one => Number(one.style.getPropertyValue('--heat')))")
    return [float(one) for one in found]


def test_pressed_tokens_are_averaged_and_both_directions_are_shown(page: Page) -> None:
    explorer = view(page, "explorer")
    explorer.get_by_role("button", name="layer 3, head 1", exact=True).click()
    explorer.get_by_role("heading", name="Layer 3, head 1").wait_for()
    chips = explorer.locator(".nbt-chip")
    weights = trace_attention(mini(), TEXT).weights[3, 1]
    chips.nth(5).click()
    chips.nth(7).click()
    assert np.allclose(heat_of(explorer), weights[[5, 7]].mean(0), atol=0.005)
    explorer.get_by_label("colour").select_option("incoming")
    assert np.allclose(heat_of(explorer), weights[:, [5, 7]].mean(1), atol=0.005)
    chips.nth(5).click()
    chips.nth(7).click()
    explorer.get_by_label("colour").select_option("outgoing")


def test_each_mode(page: Page) -> None:
    explorer, reading = view(page, "explorer"), read_attention(mini(), TEXT)
    chips = explorer.locator(".nbt-chip")
    chips.nth(6).click()
    before = heat_of(explorer)
    for mode, heading in (
        ("rollout", "Rollout up to layer 3"),
        ("value-weighted", "Layer 3, head 1"),
        ("without first", "Layer 3, head 1"),
        ("raw", "Layer 3, head 1"),
    ):
        explorer.get_by_label("show weights").select_option(mode)
        page.wait_for_function(
            "([chips, before]) => chips.some((one, at) => Number(one.style.getPropertyValue('--heat')) !== before[at])",
            arg=[chips.element_handles(), before],
        )
        assert explorer.get_by_role("heading", name=heading).count() == 1
        weights = reading.weights(3, mode)
        before = heat_of(explorer)
        assert np.allclose(before, weights[min(1, len(weights) - 1)][6], atol=0.005), mode
    chips.nth(6).click()


def test_the_ablations_the_lens_and_the_scores_show_what_python_computed(page: Page) -> None:
    explorer = view(page, "explorer")
    explorer.get_by_label("next words to watch", exact=False).fill("good")
    press(explorer, "Ablate each head")
    ablations = explorer.locator(".nbt-ablation")
    ablations.wait_for(timeout=HANG)
    word = mini().tokenizer(" good")["input_ids"][0]
    change = ablate_each_head(mini(), TEXT, [word])[..., 0]
    assert ablations.locator("tbody tr").nth(2).locator("td").nth(4).text_content() == f"{change[2, 3]:.2f}"
    press(explorer, "Apply to every layer")
    prediction = explorer.locator("tr", has_text="the prediction")
    prediction.wait_for(timeout=HANG)
    lens = logit_lens(mini(), TEXT)
    assert f"{100 * lens.probabilities[-1, 0]:.1f} %" in (prediction.locator("td").nth(1).text_content() or "")
    press(explorer, "Score the heads")
    explorer.get_by_text("Strongest heads", exact=False).wait_for(timeout=HANG)


def test_exports_hold_the_exact_numbers(page: Page, place: Path) -> None:
    explorer = view(page, "explorer")
    with page.expect_download() as given:
        press(explorer, "CSV of exact numbers")
    rows = Path(given.value.path()).read_text(encoding="utf8").splitlines()
    layer, head = (int(part) for part in given.value.suggested_filename.removeprefix("attention-layer").removesuffix(".csv").split("-head"))
    numbers = np.array([[float(cell) for cell in row.rsplit(",", len(rows) - 1)[1:]] for row in rows[1:]])
    assert np.allclose(numbers, trace_attention(mini(), TEXT).weights[layer, head], atol=1e-7)
    for name, begin in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        with page.expect_download() as given:
            press(explorer, name)
        assert Path(given.value.path()).read_bytes().startswith(begin)


def test_another_text_and_one_that_is_too_long(page: Page) -> None:
    explorer = view(page, "explorer")
    explorer.get_by_label("Text", exact=True).fill("A short one.")
    press(explorer, "Use this text")
    page.wait_for_function("box => box.querySelectorAll('.nbt-chip').length < 8", arg=explorer.element_handle())
    explorer.get_by_label("Text", exact=True).fill("word " * 600)
    press(explorer, "Use this text")
    explorer.locator("xpath=..").locator(".nbt-problem").get_by_text("reads at most 512", exact=False).wait_for()
    assert [text.strip("␣") for text in explorer.locator(".nbt-chip").all_text_contents()] == ["A", "short", "one", "."]


# -- the others


def test_the_microscope_shows_what_moved(page: Page, changed: Any) -> None:
    scope = view(page, "microscope")
    shift = attention_shift(mini(), changed, "The movie was really")
    cell = scope.get_by_role("button", name="layer 1, head 2", exact=False)
    assert f"{shift[1, 2]:.3f} bits" in (cell.get_attribute("aria-label") or "")
    cell.click()
    scope.get_by_text("Layer 1, head 2:", exact=False).wait_for()
    texts = scope.locator(".nbt-line")
    wanted = generate(changed, "The movie was really", max_new_tokens=12, seed=4, temperature=0.7, top_k=50, top_p=0.95)
    assert (texts.nth(1).text_content() or "").removeprefix("after") == wanted
    assert scope.locator(".nbt-line mark").count() == 2
    scope.get_by_label("Prompt", exact=True).fill("I")
    press(scope, "Compare")
    page.wait_for_function(
        "box => box.querySelector('.nbt-line').textContent.startsWith('beforeI')", arg=scope.element_handle(), timeout=HANG
    )


@pytest.fixture(scope="module")
def changed() -> Any:
    space: dict[str, Any] = {}
    exec("import nbtools\n" + CHANGED, space)
    return space["changed"]


def test_the_inspectors_rows_are_what_training_sees(page: Page) -> None:
    inspector = view(page, "inspector")
    packed = pack(REVIEWS, mini(), 32)
    press(inspector, "Next block")
    inspector.get_by_role("heading", name="block 1 of", exact=False).wait_for()
    rows = inspector.locator("tbody tr")
    assert rows.count() == 32
    nll = block_nll(mini(), packed, 1)
    share = 100 * nll[3] / nll.sum()
    cells = rows.nth(3).locator("td").all_text_contents()
    assert cells[2] == str(packed.input_ids[1, 3]) and cells[4] == str(packed.position_ids[1, 3]) and f"{share:.2f} %" in cells[7]
    rows.nth(3).hover()
    assert inspector.locator("tr.nbt-attended").count() == packed.position_ids[1, 3] + 1


def test_two_views_of_one_widget_show_the_same_and_so_does_one_that_opens_later(page: Page) -> None:
    cells = page.locator(".jp-CodeCell")
    twins = cells.nth(list(CELLS).index("twins")).locator("section.nbt")
    twins.nth(1).wait_for(timeout=HANG)
    press(twins.nth(0), "Next block")
    for number in (0, 1):
        twins.nth(number).get_by_role("heading", name="block 1 of", exact=False).wait_for(timeout=HANG)
    press(twins.nth(1), "Next block")
    for number in (0, 1):
        twins.nth(number).get_by_role("heading", name="block 2 of", exact=False).wait_for(timeout=HANG)
    run_cell(page, "later")
    view(page, "later").get_by_role("heading", name="block 2 of", exact=False).wait_for(timeout=HANG)


def test_the_form_checks_and_sets(page: Page) -> None:
    form = view(page, "form")
    form.get_by_label("max_steps", exact=True).fill("many")
    form.get_by_label("max_steps", exact=True).blur()
    form.get_by_text("max_steps must be a whole number", exact=False).wait_for()
    assert not form.get_by_text("-p max_steps many", exact=False).count()
    form.get_by_label("max_steps", exact=True).fill("3")
    form.get_by_label("max_reviews", exact=True).fill("60")
    form.get_by_label("max_reviews", exact=True).blur()
    form.get_by_text("papermill notebooks/04_finetuning.ipynb out.ipynb -p max_reviews 60 -p max_steps 3", exact=True).wait_for()
    press(form, "Set here")
    wait_for(form, "Set here: max_reviews = 60, max_steps = 3. Run the cells below again.")


def test_the_monitor_follows_a_run_and_its_button_stops_it(page: Page) -> None:
    monitor = view(page, "monitor")
    monitor.locator("svg.nbt-curve polyline").wait_for(timeout=HANG)
    if monitor.get_by_role("button", name="Stop and save", exact=True).is_enabled():
        press(monitor, "Stop and save")
    monitor.get_by_role("heading", name="run one: stopped").or_(monitor.get_by_role("heading", name="run one: finished")).wait_for(
        timeout=HANG
    )
    assert monitor.locator(".nbt-facts dd").count() >= 5


# -- all of them


def test_axe_finds_nothing_serious(page: Page) -> None:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=".nbt-frame", options={"resultTypes": ["violations"]}).response["violations"]
    serious = [one for one in found if one["impact"] in {"serious", "critical"}]
    assert not serious, json.dumps([(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in serious], indent=1)


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_each_theme_is_readable(page: Page, theme: str, place: Path, shoot: Callable[[str], None]) -> None:
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    page.wait_for_function("dark => (document.body.dataset.jpThemeLight === 'false') === dark", arg="Dark" in theme)
    frame = view(page, "lab").locator("xpath=..")
    ink, paper = (frame.evaluate(f"one => getComputedStyle(one).{name}") for name in ("color", "backgroundColor"))
    assert contrast(ink, paper) >= 4.5
    # The first token attends only to itself, so the first cell of a matrix has the theme's full colour.
    full = [86, 180, 233] if "Dark" in theme else [0, 68, 140]
    painted = "([canvas, full]) => canvas.getContext('2d').getImageData(9, 9, 1, 1).data.slice(0, 3).join() === full.join()"
    page.wait_for_function(painted, arg=[view(page, "explorer").locator(".nbt-matrix").element_handle(), full], timeout=HANG)
    shoot(theme.split()[-1].lower())


@pytest.fixture
def shoot(page: Page, place: Path) -> Callable[[str], None]:
    def take(name: str) -> None:
        for one in ("lab", "explorer", "microscope", "inspector", "form", "monitor"):
            view(page, one).screenshot(path=place / f"{one}-{name}.png")

    return take


def contrast(one: str, other: str) -> float:
    """The contrast of two CSS colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 :].rstrip(")").split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_narrow_screen_holds_every_view(page: Page) -> None:
    page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    page.set_viewport_size({"width": 480, "height": 900})
    try:
        for name in ("lab", "explorer", "microscope", "form"):
            wide = view(page, name).locator("xpath=..").evaluate("one => [one.scrollWidth, one.clientWidth]")
            assert wide[0] <= wide[1] + 60, name
    finally:
        page.set_viewport_size({"width": 1280, "height": 1400})
        page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")


def test_the_same_cell_run_twenty_times_keeps_one_view_and_its_memory(page: Page) -> None:
    """A view that was replaced is closed: the page holds one, and its memory does not grow with the runs."""
    cell = page.locator(".jp-CodeCell").nth(list(CELLS).index("explorer"))
    tools = page.context.new_cdp_session(page)

    def run(times: int) -> int:
        for _ in range(times):
            run_cell(page, "explorer")
        view(page, "explorer")
        assert cell.locator("section.nbt").count() == 1
        tools.send("HeapProfiler.collectGarbage")
        return int(page.evaluate("performance.memory.usedJSHeapSize"))

    after_five = run(5)
    assert run(15) < after_five + 5_000_000


def test_a_reloaded_page_shows_the_views_again(page: Page) -> None:
    before = tokens_of(view(page, "lab"))
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    page.reload()
    wait_for_kernel(page)
    lab = view(page, "lab")
    assert tokens_of(lab) == before
    count = lab.locator(".nbt-token").count()
    press(lab, "Back")
    page.wait_for_function("([box, n]) => box.querySelectorAll('.nbt-token').length === n", arg=[lab.element_handle(), count - 1])


def test_views_of_a_killed_kernel_say_so_and_the_cell_run_again_is_alive(page: Page, lab_server: Lab) -> None:
    """The kernel dies with all its comms, as it does when memory runs out."""
    children = psutil.Process(lab_server.process.pid).children(recursive=True)
    [kernel] = [one for one in children if "ipykernel_launcher" in one.cmdline()]
    kernel.kill()
    page.get_by_role("dialog").get_by_role("button", name="Ok").click(timeout=HANG)
    press(view(page, "lab"), "One token")
    problem = view(page, "lab").locator("xpath=..").locator(".nbt-problem")
    problem.get_by_text(NO_ANSWER, exact=False).wait_for(timeout=HANG)
    run_cell(page, "start")
    run_cell(page, "lab")
    press(view(page, "lab"), "One token")
    page.wait_for_function("box => box.querySelectorAll('.nbt-token').length === 1", arg=view(page, "lab").element_handle())
    assert problem.text_content() == ""


def test_a_kernel_that_was_restarted_is_one_clear_line(page: Page, lab_server: Lab) -> None:
    [kernel] = lab_server.ask("kernels")
    restart = """async id => {
        const headers = { 'X-XSRFToken': document.cookie.match(/_xsrf=([^;]+)/)?.[1] ?? '' };
        return (await fetch(`/api/kernels/${id}/restart`, { method: 'POST', headers })).status;
    }"""
    assert page.evaluate(restart, kernel["id"]) == 200
    page.wait_for_timeout(2000)
    lab = view(page, "lab")
    press(lab, "One token")
    lab.locator("xpath=..").locator(".nbt-problem").get_by_text(NO_ANSWER, exact=False).wait_for(timeout=HANG)


def test_nothing_was_asked_of_the_network(asked: list[str]) -> None:
    assert set(asked) <= {"127.0.0.1", ""} and "127.0.0.1" in asked
