"""The pages in a real Chromium without a network: from a disk and from a server, by mouse and keyboard, on a desktop and on a phone."""

from __future__ import annotations

import functools
import http.server
import math
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe

from nbtools import finetune, generate, load_reviews, pack
from nbtools.evaluation import block_nll
from nbtools.generation import SamplingParams, continue_ids, next_logits, next_tokens, sample_inverse_cdf
from nbtools.models import load_model
from nbtools.site import write_site
from nbtools.site.front import LAB
from nbtools.site.live import REVIEWS
from nbtools.tokens import visible
from nbtools.training.run_state import read_run
from tests.browser.jupyterlab import find_browser, open_page
from tests.random_numbers import uniforms
from tests.small_models import mini

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.xdist_group("site-pages"), pytest.mark.slow(20)]
PHONE, DESKTOP = {"width": 380, "height": 720}, {"width": 1280, "height": 900}
OPTIONS: dict[str, Any] = {name: value for name, value in LAB.items() if name != "prompt"}
MOVE = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', { bubbles: true })); }"
HOSTILE = "<img src=x onerror=window.harmed=1> \u202e<script>window.harmed=1</script>"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training, with a curve and samples."""
    lm, folder = load_model("mini", verbose=False), tmp_path_factory.mktemp("model") / "mine"
    texts = ["A fine film. I liked it.", "Dull and far too long.", "The end was the best part of it all, sadly."] * 12
    finetune(lm, pack(texts, lm, 64), validation=texts[:3], prompts=["The movie was"], output_dir=folder, max_steps=40, batch_size=2)
    return folder


@pytest.fixture(scope="module")
def site(tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(tmp_path_factory.mktemp("site") / "pages", tuned).parent


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page without a network but loopback. A test fails where a script did, or where something was asked for from elsewhere."""
    with open_page(find_browser(), tmp_path) as page:
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request", lambda request: wrong.append(request.url) if not re.match(r"file:|data:|blob:|http://127", request.url) else None
        )
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.set_viewport_size(DESKTOP)
        yield page
        assert not wrong


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    """The pages from a plain static server on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def live(page: Page, view: str = "", index: int = 0) -> Locator:
    """The place of a view, once it is live."""
    place = page.locator(f'.live[data-view="{view}"]' if view else ".live").nth(index)
    place.scroll_into_view_if_needed()
    place.and_(page.locator("[data-state]")).wait_for(timeout=120_000)
    assert place.get_attribute("data-state") == "live", place.inner_text()
    return place


def written(place: Locator) -> str:
    """Press Generate and wait for the end of the text."""
    place.get_by_role("button", name="Generate", exact=True).click()
    place.locator(".nbt-status", has_text="done").wait_for(timeout=120_000)
    return text_of(place)


def text_of(place: Locator) -> str:
    """The prompt and the tokens after it."""
    return "".join(place.locator(".nbt-text > *").all_text_contents())


def expected_text(prompt: str = LAB["prompt"], **changes: Any) -> str:
    return str(generate(mini(), prompt, **{**OPTIONS, **changes}))


@pytest.mark.parametrize("way", ["disk", "server"])
def test_the_front_page_runs_the_model_and_says_what_python_says(site: Path, served: str, page: Page, way: str) -> None:
    page.goto((site / "index.html").as_uri() if way == "disk" else f"{served}/index.html")
    lab = live(page)
    shown = [
        (row.locator(".nbt-label").inner_text(), row.locator(".nbt-value").inner_text()) for row in lab.locator(".nbt-top-token").all()
    ]
    top = next_tokens(mini(), LAB["prompt"], **{name: LAB[name] for name in ("temperature", "top_k", "top_p")})
    expected = [(visible(text), f"{100 * share:.1f} %") for text, share in zip(top.texts(10), top.probabilities, strict=False)]
    assert shown[:10] == expected
    assert written(lab) == expected_text()


def test_every_view_of_every_page_is_live_on_a_desktop_and_on_a_phone(site: Path, page: Page) -> None:
    seen = set()
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        for file in [site / "index.html", site / "model.html", *sorted((site / "notebooks").glob("*.html"))]:
            page.goto(file.as_uri())
            for index in range(page.locator(".live").count()):
                place = live(page, index=index)
                seen.add(place.get_attribute("data-view"))
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 1, f"{file.name} is wider than {size['width']} pixels by {wide}"
    assert seen == {"PromptLab", "AttentionExplorer", "Microscope", "TokenInspector", "TrainingMonitor", "ParameterForm"}


def test_the_lab_by_keyboard(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    lab = live(page)
    temperature = lab.get_by_label("temperature", exact=True)
    before = lab.locator(".nbt-top-tokens").get_attribute("aria-label")
    temperature.focus()
    for _ in range(14):
        page.keyboard.press("ArrowLeft")
    assert "greedy" in lab.inner_text() and lab.locator(".nbt-top-tokens").get_attribute("aria-label") != before
    lab.get_by_role("button", name="Generate", exact=True).focus()
    page.keyboard.press("Enter")
    lab.locator(".nbt-status", has_text="done").wait_for()
    assert text_of(lab) == expected_text(temperature=0.0, top_k=None, top_p=None)
    lab.locator(".nbt-token").nth(3).focus()
    page.keyboard.press("Enter")
    choices = lab.locator(".nbt-detail button[data-token]")
    other = choices.nth(1)
    word = other.inner_text().rpartition(" ")[0].rpartition(" ")[0]
    other.focus()
    page.keyboard.press("Enter")
    lab.locator("h4", has_text="2 branches").wait_for()
    assert visible(lab.locator(".nbt-token").nth(3).inner_text()) == word or word in lab.inner_text()


def done(lab: Locator, button: str) -> None:
    lab.get_by_role("button", name=button, exact=True).click()
    lab.locator(".nbt-status", has_text="done").wait_for(timeout=60_000)


def test_branches_repetitions_and_comparisons_of_the_lab(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    lab = live(page)
    tokens = lab.locator(".nbt-token")
    first = written(lab)
    length = tokens.count()
    tokens.nth(2).click()
    other = lab.locator(".nbt-detail button[data-token][aria-pressed='false']").first
    token = int(other.get_attribute("data-token") or "")
    other.click()
    lab.locator("h4", has_text="2 branches").wait_for()
    lab.locator(".nbt-status", has_text="done").wait_for()
    given = mini().tokenizer(LAB["prompt"])["input_ids"]
    two = [new.token for new in continue_ids(mini(), given, SamplingParams(**{**OPTIONS, "max_new_tokens": 2}))]
    rest = continue_ids(mini(), [*given, *two, token], SamplingParams(**{**OPTIONS, "max_new_tokens": length - 3}), generated=3)
    assert text_of(lab) == mini().tokenizer.decode([*given, *two, token, *(new.token for new in rest)])
    lab.locator(".nbt-branch").first.click()
    lab.locator(".nbt-branch").first.and_(page.locator("[aria-current='true']")).wait_for()
    assert text_of(lab) == first
    lab.get_by_role("button", name="Back", exact=True).click()
    tokens.nth(length - 1).wait_for(state="detached")
    done(lab, "One token")
    assert text_of(lab) == first, "the random number of a place stays"
    lab.get_by_label("another temperature").fill("1.9")
    done(lab, "Same random numbers at temperature")
    lines = lab.locator(".nbt-replay .nbt-mono").all_text_contents()
    assert [LAB["prompt"] + line for line in lines] == [first, expected_text(temperature=1.9)]
    done(lab, "Compare greedy, sampling, beam")
    rows = lab.locator(".nbt-table", has_text="in three ways").locator("tbody td:last-child").all_text_contents()
    plain = {"max_new_tokens": LAB["max_new_tokens"]}
    assert rows == [generate(mini(), LAB["prompt"], **plain), first, generate(mini(), LAB["prompt"], num_beams=4, **plain)]


def test_numbers_outside_their_limits_become_the_limits(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    lab = live(page)
    for label, given, taken in (
        ("seed", "-3", "0"),
        ("seed", "1.6", "2"),
        ("seed", "9" * 12, str(2**31 - 1)),
        ("another temperature", "7", "2"),
    ):
        box = lab.get_by_label(label, exact=True)
        box.fill(given)
        page.keyboard.press("Tab")
        assert box.input_value() == taken, given
    done(lab, "Same random numbers at temperature")
    assert "temperature 2" in lab.locator(".nbt-replay").last.inner_text()


def test_a_token_without_a_name_gets_one(site: Path, page: Page) -> None:
    """The names of the likeliest tokens come with the logits; at a high temperature a seed can select any other."""
    page.goto((site / "index.html").as_uri())
    lab = live(page)
    lab.get_by_label("temperature", exact=True).evaluate(MOVE, 2)
    lab.get_by_label("top-k", exact=True).evaluate(MOVE, 0)
    lab.get_by_label("top-p", exact=True).evaluate(MOVE, 1)
    logits = next_logits(mini(), LAB["prompt"])
    likely = set(logits.topk(256).indices.tolist())
    probabilities = (logits.double() / 2).log_softmax(-1)
    seed, token = next((seed, one) for seed in range(99) if (one := sample_inverse_cdf(probabilities, uniforms(seed, 1)[0])) not in likely)
    lab.get_by_label("seed", exact=True).fill(str(seed))
    page.keyboard.press("Tab")
    name = visible(mini().tokenizer.decode([token]))
    sentence = lab.locator(".nbt-ruler + p")
    sentence.filter(has_text=f"which selects {name}:").wait_for(timeout=20_000)
    assert sentence.inner_text().startswith(f"Seed {seed} draws {uniforms(seed, 1)[0]:.4f} here")


def test_the_explorer_and_the_microscope_by_mouse(site: Path, page: Page) -> None:
    page.goto((site / "notebooks" / "02_loading.html").as_uri())
    explorer = live(page, "AttentionExplorer")
    explorer.locator('button[data-layer="4"][data-head="2"]').click()
    explorer.locator("h4", has_text="Layer 4, head 2").wait_for()
    explorer.locator("canvas.nbt-matrix").click(position={"x": 4, "y": 200})
    explorer.get_by_text("weight = exp(score) / sum").wait_for()
    explorer.get_by_role("button", name="Apply to every layer").click()
    explorer.get_by_text("the prediction").wait_for()
    explorer.get_by_role("button", name="Ablate each head").click()
    explorer.get_by_text("Orange: the head raised").wait_for(timeout=120_000)
    page.goto((site / "model.html").as_uri())
    microscope = live(page, "Microscope")
    microscope.get_by_role("textbox", name="Prompt").fill("I hated")
    microscope.get_by_role("button", name="Compare").click()
    microscope.locator(".nbt-line", has_text="I hated").first.wait_for(timeout=60_000)
    microscope.locator('button[data-layer="1"][data-head="7"]').click()
    microscope.get_by_text("Layer 1, head 7").wait_for()
    assert microscope.locator("figure").count() == 2, "that head before and after"


def test_the_inspector_by_keyboard_and_its_numbers(site: Path, page: Page) -> None:
    page.goto((site / "notebooks" / "04_finetuning.html").as_uri())
    inspector, packed = live(page, "TokenInspector"), pack(load_reviews("auto", REVIEWS).train, mini())
    inspector.get_by_role("button", name="Next block", exact=True).focus()
    page.keyboard.press("Enter")
    inspector.get_by_role("heading", name="block 1 of", exact=False).wait_for()
    nll = block_nll(mini(), packed, 1)
    assert f"perplexity {math.exp(nll.sum() / (packed.block_size - 1)):.1f}" in inspector.inner_text()
    cells = inspector.locator("tbody tr").nth(5).locator("td").all_text_contents()
    assert cells[2] == str(packed.input_ids[1, 5]) and f"{100 * nll[5] / nll.sum():.2f} %" in cells[7]
    inspector.locator("tbody tr").nth(5).hover()
    assert inspector.locator("tr.nbt-attended").count() == packed.position_ids[1, 5] + 1
    inspector.get_by_label("block", exact=True).fill("99")
    page.keyboard.press("Tab")
    inspector.get_by_role("heading", name="block 7 of 8", exact=False).wait_for()


def test_the_monitor_replays_the_stored_run(site: Path, tuned: Path, page: Page) -> None:
    page.goto((site / "notebooks" / "04_finetuning.html").as_uri())
    monitor, run = live(page, "TrainingMonitor"), read_run(tuned)
    facts = monitor.locator(".nbt-facts").inner_text()
    assert "40 of 40" in facts and f"{run.rows[-1]['loss']:.3f} nats per token" in facts
    assert len(run.samples) > 2 and run.samples[-1]["texts"][0][1] in monitor.locator(".nbt-sample").all_text_contents()[-1]
    monitor.get_by_label("evaluation", exact=True).focus()
    page.keyboard.press("Home")
    assert monitor.locator(".nbt-sample").all_text_contents() == ["".join(pair) for pair in run.samples[0]["texts"]]


def test_the_form_makes_the_command_by_keyboard(site: Path, page: Page) -> None:
    page.goto((site / "notebooks" / "04_finetuning.html").as_uri())
    form = live(page, "ParameterForm")
    command, copied = form.locator("code.nbt-command"), form.get_by_role("button", name="Copy the papermill command")
    for text, shown in (("many", ""), ("3", "papermill notebooks/04_finetuning.ipynb out.ipynb -p max_steps 3")):
        form.get_by_label("max_steps", exact=True).fill(text)
        page.keyboard.press("Tab")
        page.wait_for_function("([code, text]) => code.textContent === text", arg=[command.element_handle(), shown])
        assert copied.is_enabled() == bool(shown)
        assert form.get_by_text("max_steps is many. Give a whole number.", exact=True).count() == (not shown)
    form.get_by_role("button", name="Reset").click()
    page.wait_for_function("(code) => code.textContent.endsWith('out.ipynb')", arg=command.element_handle())
    assert form.get_by_role("button").all_inner_texts() == ["Reset", "Copy the papermill command"], "what needs a notebook is not there"


def test_hostile_text_is_text(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    lab = live(page)
    lab.get_by_role("textbox", name="Prompt").fill(HOSTILE)
    lab.get_by_role("button", name="Generate", exact=True).focus()
    assert written(lab).startswith(HOSTILE)
    assert page.evaluate("window.harmed") is None and lab.locator("img, script").count() == 0


def test_two_tabs_and_a_reload_in_the_middle_of_a_text(site: Path, page: Page) -> None:
    address = (site / "index.html").as_uri()
    page.goto(address)
    other = page.context.new_page()
    other.goto(address)
    first, second = live(page), live(other)
    first.get_by_role("button", name="Generate", exact=True).click()
    assert written(second) == expected_text()
    page.reload()
    assert written(live(page)) == expected_text()


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_a_damaged_file_of_weights_is_one_clear_line(site: Path, tmp_path: Path, damage: str) -> None:
    copy = shutil.copytree(site, tmp_path / "copy")
    file = copy / "live" / "base.js"
    text = file.read_text(encoding="utf8")
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_text(text[: len(text) // 2], encoding="utf8")
    else:
        place = text.index('"weights": "') + 100_000
        file.write_text(text[:place] + ("B" if text[place] == "A" else "A") + text[place + 1 :], encoding="utf8")
    with open_page(find_browser(), tmp_path) as page:
        page.goto((copy / "index.html").as_uri())
        place = page.locator(".live[data-state]").first
        place.wait_for(timeout=120_000)
        assert place.get_attribute("data-state") == "failed"
        [line] = page.locator(".live [role=alert]").all_inner_texts()
        assert "damaged" in line and "Copy the pages again." in line
        assert "needs scripts" in page.locator(".live").first.inner_text(), "the stored form stays"


def test_without_scripts_the_stored_forms_show(site: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto((site / "notebooks" / "02_loading.html").as_uri())
        assert page.locator(".live img, .live table").count() > 0 and page.locator(".nbt-frame").count() == 0
        assert not page.locator("#search").is_visible()
        browser.close()


def test_search_theme_and_progress_are_kept(site: Path, page: Page) -> None:
    page.goto((site / "notebooks" / "03_generation.html").as_uri())
    page.get_by_label("Search").fill("overfitting")
    link = page.locator("#search a").first
    link.wait_for()
    assert "04_finetuning.html#" in (link.get_attribute("href") or "")
    link.click()
    page.wait_for_url("**/04_finetuning.html#*")
    assert page.locator(f"[id='{page.url.partition('#')[2]}']").count() == 1
    page.get_by_label("Search").fill("xyzzy")
    page.get_by_text("Nothing found.").wait_for()
    page.locator("#theme").click()
    page.get_by_label("I have read this notebook").check()
    page.goto((site / "index.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert "read" in page.locator('[data-notebook="04_finetuning"] .read-mark').inner_text()
    assert page.locator('[data-notebook="03_generation"] .read-mark').inner_text() == ""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(site: Path, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    rules = {} if theme == "light" else {"runOnly": ["color-contrast"]}  # nothing else depends on the theme
    for name in ("index.html", "model.html", "notebooks/02_loading.html", "notebooks/04_finetuning.html"):
        page.goto((site / name).as_uri())
        for index in range(page.locator(".live").count()):
            live(page, index=index)
        found = Axe().run(page, options={"preload": False, **rules}).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, name


@pytest.mark.long(90)
def test_memory_stays_flat_over_a_hundred_texts(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    lab = live(page)

    browser = page.context.new_cdp_session(page)

    def memory() -> float:
        """The tab's memory in MB without what is garbage already."""
        browser.send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(1000)
        renderers = [one for one in psutil.Process().children(recursive=True) if "--type=renderer" in " ".join(one.cmdline())]
        return max(one.memory_info().rss for one in renderers) / 1e6

    used = []
    for number in range(100):
        seed = lab.get_by_role("spinbutton", name="seed")
        seed.fill(str(number))
        seed.blur()
        written(lab)
        if number in (29, 99):
            used.append(memory())
    early, late = used
    assert late < early + 40 and late < 400, f"{early:.0f} MB, then {late:.0f} MB"
