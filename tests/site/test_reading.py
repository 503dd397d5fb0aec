"""Every page of the built site, read in a real browser with every outside request blocked."""

from __future__ import annotations

import posixpath

import pytest

from tests.site.visitor import explorers, move_every_slider, shown
from tools import layout, minutes

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGES = layout.pages()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_page_is_whole_and_its_sliders_move(visit, bases, page, scheme):
    reader = visit()
    reader.open(f"{bases[scheme]}/{page}.html")
    assert reader.page.locator("main h1:visible").count() == 1
    assert reader.page.get_by_text("not for clinical use").first.is_visible()
    assert reader.page.locator('mjx-merror, [data-mml-node="merror"]').count() == 0
    raw = reader.page.locator("span.math, div.math")
    typeset = reader.page.locator("span.math mjx-container, div.math mjx-container")
    assert typeset.count() >= raw.count()
    for explorer in explorers(reader.page):
        move_every_slider(reader.page, explorer)
    assert words_missing(reader.page) == []
    reader.no_trouble()


def words_missing(page) -> list[str]:
    """Images of the content that a screen reader could not read out."""
    return page.evaluate(
        """() => [...document.querySelectorAll('main img')]
                 .filter(i => !(i.getAttribute('alt') || '').trim())
                 .map(i => i.outerHTML.slice(0, 120))"""
    )


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_phone_width_and_dark_mode(visit, bases, page, dark):
    reader = visit(width=390, height=800, dark=dark)
    reader.open(f"{bases['file']}/{page}.html")
    too_wide = reader.page.evaluate(
        """() => {
          const wide = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= wide + 1) return [];
          return [...document.querySelectorAll('main *')]
            .filter(e => e.getBoundingClientRect().right > wide + 1).slice(0, 5)
            .map(e => e.outerHTML.slice(0, 120));
        }"""
    )
    assert too_wide == []
    ground, ink = reader.page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.querySelector('main p')).color]"""
    )
    assert (brightness(ground) < brightness(ink)) == dark
    for explorer in explorers(reader.page):
        shown(explorer)
        image = explorer.locator("img").first
        assert image.evaluate("i => getComputedStyle(i).backgroundColor") == "rgb(255, 255, 255)"


def brightness(css: str) -> float:
    """Of an 'rgb(r, g, b)' colour, 0 to 255."""
    return sum(float(c) for c in css[css.index("(") + 1 : -1].split(",")[:3]) / 3


def test_every_link_inside_the_site_leads_somewhere(bases, site, visit):
    reader = visit()
    dead = []
    for page in PAGES:
        reader.page.goto(f"{bases['file']}/{page}.html")
        links = reader.page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
        for link in {link.split("#")[0].split("?")[0] for link in links}:
            inside = link.removeprefix(f"{bases['file']}/")
            if inside != link and inside and not (site / inside).exists():
                dead.append((page, inside))
    assert dead == []


@pytest.mark.parametrize("page", [page for page in PAGES if layout.notebook_of(page)])
def test_page_links_to_its_notebook(visit, bases, site, page):
    reader = visit()
    reader.page.goto(f"{bases['file']}/{page}.html")
    href = reader.page.locator(".medxfer-bar a[download]").get_attribute("href")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), href))
    assert (site / target).read_bytes() == (layout.ROOT / layout.notebook_of(page)).read_bytes()


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_a_page(visit, bases, scheme):
    reader = visit()
    reader.page.goto(f"{bases[scheme]}/search.html?q=variance")
    reader.page.wait_for_selector("#search-results li a")
    reader.no_trouble()


def test_front_page_says_it_in_one_screen(visit, bases):
    reader = visit()
    reader.open(f"{bases['http']}/index.html")
    for needed in ("make book", "make lab", "min reading"):
        reader.page.get_by_text(needed).first.wait_for(timeout=20_000)  # visible, or it fails
    picture = reader.page.locator("main .medxfer-figure img").first
    assert picture.bounding_box()["y"] < 900
    assert reader.page.locator(".medxfer-minutes").bounding_box()["y"] < 900


def test_every_page_has_measured_minutes(site):
    """After adding a page, or changing one much: `MEDXFER_MINUTES=1 make book`, and commit."""
    known, now = minutes.read(), minutes.measured(site)
    assert set(known) == set(now)
    for page, measured in now.items():
        assert abs(measured["words"] - known[page]["words"]) <= 60 + 0.1 * measured["words"], page


@pytest.mark.parametrize("page", [page for page in PAGES if layout.slides_of(page)])
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_slides_open_with_mathematics_and_fit(visit, bases, site, page, scheme):
    """Every slide is shown once: nothing raw, nothing without words, nothing below the edge."""
    reader = visit(width=1280, height=800)
    reader.open(f"{bases[scheme]}/{layout.slides_of(page)}")
    assert reader.page.locator("section mjx-container").count() > 0
    assert reader.page.locator('mjx-merror, [data-mml-node="merror"]').count() == 0
    assert reader.page.locator("img:not([alt]), img[alt='']").count() == 0
    written = (site / f"{page}.html").read_text(encoding="utf-8")
    figures = reader.page.locator(".medxfer-figure img").count()
    assert figures == written.count('class="medxfer-figure') > 0  # tall ones included
    assert len(explorers(reader.page)) == written.count("widget-view+json")
    for explorer in explorers(reader.page):
        explorer.evaluate("""e => {
          const at = Reveal.getIndices(e.closest('section'));
          Reveal.slide(at.h, at.v, 99);
        }""")
        move_every_slider(reader.page, explorer)
    too_tall = reader.page.evaluate(
        """() => {
          const found = [];
          for (const slide of Reveal.getSlides()) {
            const at = Reveal.getIndices(slide);
            Reveal.slide(at.h, at.v, 99);
            const scale = Reveal.getScale();
            const height = Math.max(...[...slide.querySelectorAll('*')]
              .filter(e => !e.closest('aside'))
              .map(e => e.getBoundingClientRect().bottom), 0);
            if (height > window.innerHeight + 2) {
              found.push([at.h, Math.round((height - window.innerHeight) / scale),
                          (slide.querySelector('h1, h2, h3') || slide).innerText.slice(0, 50)]);
            }
          }
          return found;
        }"""
    )
    assert too_tall == []
    raw = reader.page.evaluate("document.querySelector('.slides').innerText")
    assert "{glue" not in raw and "{cite" not in raw and ":::" not in raw
    reader.no_trouble()
