"""`synthgen report`: what it holds, and that it works in a browser."""

import base64
import json
import re
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from synthgen.errors import InputDataError
from synthgen.report.gallery import collect, collection, write_gallery
from synthgen.report.gallery.collection import FIELDS, _outline
from synthgen.shards import ShardDataset
from tests.support.commands import build_arguments, build_normals, synthgen

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AT = {name: place for place, name in enumerate(FIELDS)}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = build_normals(tmp_path_factory.mktemp("normals"), per_category=6)
    out = tmp_path_factory.mktemp("built") / "set <b>"
    done = synthgen(*build_arguments(root, out, "--max-rejected", 1, "-j", 1, per_image=6))
    assert done.returncode == 0, done.stderr
    return out


def data_of(path):
    """The data in a page."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text(), re.S)[1])


def test_a_page_holds_pictures_outlines_and_numbers(built, tmp_path):
    out = tmp_path / "report.html"
    done = synthgen("report", built, "-o", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    data, dataset = data_of(out), ShardDataset(built)
    accepted = int(dataset.column("label").sum())
    assert len(data["samples"]) == data["facts"]["shown"] == data["facts"]["samples"] == accepted
    for sample in data["samples"][::7]:
        own = dataset[dataset.index(sample[AT["id"]])]
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(sample[AT["thumbnail"]]), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(picture[..., ::-1].astype(int) - own.image).mean() < 12
        assert sample[AT["area"]] == pytest.approx(100 * own.area / own.mask.size, abs=1e-3)
    assert sum(map(sum, data["histograms"]["area"]["bins"].values())) == accepted
    assert sum(map(sum, data["histograms"]["contrast"]["bins"].values())) == accepted
    assert sum(data["rejected"]["reasons"].values()) == len(dataset) - accepted
    assert set(data["heat"]) == {"folder/a b", "folder/ü"}
    assert '"seed"' in data["facts"]["config"]


def test_a_subset_is_even_and_said_to_be_one(built):
    whole, part = collect(built), collect(built, most=12)
    assert len(part.samples) == 12
    groups = [(one[AT["category"]], one[AT["type"]]) for one in part.samples]
    assert {groups.count(group) for group in groups} == {3}
    assert part.histograms == whole.histograms
    one = collect(built, categories=("ü",), types=("crack",))
    assert {(sample[AT["category"]], sample[AT["type"]]) for sample in one.samples} == {("folder/ü", "crack")}
    with pytest.raises(InputDataError, match="no such sample"):
        collect(built, categories=("x",))


def test_many_samples_get_smaller_thumbnails(built, monkeypatch):
    before = collect(built)
    monkeypatch.setattr(collection, "BUDGET", sum(len(one[AT["thumbnail"]]) for one in before.samples) // 2)
    monkeypatch.setattr(collection, "_LOOKS", ((48, 75), (32, 60), (16, 30)))
    after = collect(built)
    assert after.facts["thumbnail"] < 48
    assert sum(len(one[AT["thumbnail"]]) for one in after.samples) < collection.BUDGET


def test_an_outline_follows_the_mask():
    mask = np.zeros((40, 60), np.uint8)
    cv2.circle(mask, (30, 20), 14, 1, cv2.FILLED)
    cv2.circle(mask, (30, 20), 6, 0, cv2.FILLED)
    rings = [
        np.array([[int(value) for value in corner.split(",")] for corner in ring.split("L")])
        for ring in _outline(mask).replace("Z", "").split("M")[1:]
    ]
    assert len(rings) == 2
    drawn = cv2.fillPoly(np.zeros_like(mask), rings, 1)
    assert (drawn != mask).mean() < 0.03


def test_names_cannot_break_the_page(built, tmp_path):
    gallery = collect(built, most=4)
    nasty = '</script><script>document.title = "broken"</script>'
    samples = [[nasty if place == AT["category"] else value for place, value in enumerate(one)] for one in gallery.samples]
    write_gallery(tmp_path / "page.html", replace(gallery, samples=samples))
    assert nasty not in (tmp_path / "page.html").read_text()
    assert data_of(tmp_path / "page.html")["samples"][0][AT["category"]] == nasty


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    if BROWSER is None:
        pytest.skip("there is no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, built, tmp_path):
    """A page in the browser; whatever its console says fails the test."""
    synthgen("report", built, "-o", tmp_path / "report.html")
    said = []
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    page.goto(f"file://{tmp_path / 'report.html'}")
    yield page
    assert not said
    page.close()


def test_filters_orders_and_masks_work_in_a_browser(opened):
    cards = opened.locator(".card")
    count = opened.locator("#count").inner_text()
    opened.select_option("#type", "crack")
    assert set(opened.locator(".card span").all_inner_texts()) == {"crack"}
    assert "of" in opened.locator("#count").inner_text()
    opened.select_option("#category", "folder/ü")
    assert all(text.startswith("folder/ü") for text in opened.locator(".card small").all_inner_texts())
    opened.select_option("#order", "largest first")
    labels = [card.get_attribute("aria-label") for card in cards.all()]
    areas = [float(re.search(r", ([\d.]+) % of", label)[1]) for label in labels]
    assert areas == sorted(areas, reverse=True)
    opened.select_option("#type", "")
    opened.select_option("#area", "0.3 to 3 %")
    kept = [float(re.search(r", ([\d.]+) % of", card.get_attribute("aria-label"))[1]) for card in cards.all()]
    assert kept
    assert all(0.3 <= area < 3 for area in kept)
    opened.select_option("#area", "all")
    opened.select_option("#category", "")
    assert opened.locator("#count").inner_text() == count
    assert not opened.locator("#quality-label").is_visible()
    assert not opened.locator("#size-label").is_visible()
    mask = opened.locator(".card svg").first
    assert mask.is_visible()
    opened.uncheck("#masks")
    assert not mask.is_visible()
    opened.locator("body").press("m")
    assert mask.is_visible()


def test_a_sample_opens_in_large_and_keys_lead_on(opened):
    opened.locator(".card").first.focus()
    opened.keyboard.press("Enter")
    title = opened.locator("#zoom-title").inner_text()
    assert title == opened.locator(".card small").first.inner_text()
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#zoom-title").inner_text() != title
    opened.keyboard.press("ArrowLeft")
    assert opened.locator("#zoom-title").inner_text() == title
    assert opened.locator("#zoom svg").is_visible()
    opened.keyboard.press("m")
    assert not opened.locator("#zoom svg").is_visible()
    opened.keyboard.press("Escape")
    assert not opened.locator("#zoom").is_visible()


def test_sections_show_numbers_and_scrolling_loads_more(opened):
    before = opened.locator(".card").count()
    opened.mouse.wheel(0, 100_000)
    opened.wait_for_function(f"document.querySelectorAll('.card').length > {min(before, 59)}")
    opened.locator("#tab-numbers").click()
    assert opened.locator("#charts svg").count() == 2
    assert opened.locator("#heat canvas").count() == 2
    assert not opened.locator("#grid").is_visible()
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#rejected").is_visible()
    opened.locator("#tab-making").click()
    assert "folder" in opened.locator("#facts").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone_by_day_and_by_night(browser, built, tmp_path, scheme):
    synthgen("report", built, "-o", tmp_path / "report.html")
    context = browser.new_context(viewport={"width": 380, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"file://{tmp_path / 'report.html'}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    shades = page.evaluate(
        "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name].match(/[0-9]+/g).map(Number))"
    )
    dark, bright = sorted(np.dot(shade[:3], (0.2126, 0.7152, 0.0722)) for shade in shades)
    assert bright - dark > 180
    assert (np.mean(shades[0]) < 128) == (scheme == "dark")
    context.close()
