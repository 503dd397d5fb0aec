"""The build machinery on a small book of its own: what it makes, and how it fails."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.site.visitor import explorers, move_every_slider, served, shown

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def built(sample, command):
    done = command(sample, "medxfer_lab", "notebooks")
    assert done.returncode == 0, done.stdout + done.stderr
    done = command(sample, "tools.build_book", "--minutes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "slides: " in done.stdout and "site: " in done.stdout
    return sample / "_build" / "html"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_two_sliders_show_every_combination(built, visit, scheme):
    reader = visit()
    with served(built) as http:
        base = http if scheme == "http" else built.as_uri()
        reader.open(f"{base}/book/sample/text.html")
        two, one = explorers(reader.page)
        seen = {shown(two)}
        for slider, key in ((0, "Home"), (1, "End"), (0, "End"), (1, "Home"), (0, "ArrowLeft")):
            two.locator(".noUi-handle").nth(slider).focus()
            reader.page.keyboard.press(key)
            reader.page.wait_for_timeout(200)
            seen.add(shown(two))
        assert len(seen) == 6
        assert "frequency (Hz) 4, amplitude 1" in shown(two)[1]
        move_every_slider(reader.page, one)
        assert reader.page.locator("mjx-container").count() == 3
        assert reader.page.locator(".medxfer-bar").get_by_text("min reading").count() == 1
        reader.no_trouble()


def test_slides_keep_their_figures_when_only_words_change(built, sample, command):
    """Then the page is not executed again, and the figures come from the cache."""
    page = sample / "book/sample/lecture.md"
    page.write_text(page.read_text().replace("Run-sheet:", "The run-sheet:"))
    assert command(sample, "medxfer_lab", "notebooks").returncode == 0
    done = command(sample, "tools.build_book")
    assert done.returncode == 0, done.stdout
    slides = (built / "slides/sample.html").read_text()
    assert "The run-sheet:" in slides and "A line that rises from one to three." in slides


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_slides_open_with_mathematics_and_move(built, visit, scheme):
    reader = visit()
    with served(built) as http:
        base = http if scheme == "http" else built.as_uri()
        reader.open(f"{base}/slides/sample.html")
        assert reader.page.evaluate("Reveal.isReady() && Reveal.getTotalSlides()") == 4
        reader.page.keyboard.press("ArrowRight")
        assert reader.page.locator("section.present mjx-container").first.is_visible()
        reader.page.evaluate("Reveal.slide(3)")
        move_every_slider(reader.page, explorers(reader.page)[0])
        assert "Müller and Berg (2001)" in reader.page.locator("aside.notes").first.text_content()
        assert reader.page.locator("img:not([alt])").count() == 0
        reader.no_trouble()


def test_minutes_are_measured(built, sample):
    measured = json.loads((sample / "book" / "minutes.json").read_text())
    text = measured["book/sample/text"]
    assert 50 < text["words"] < 120
    assert 0 < text["run_s"] < 120


def test_student_and_instructor_editions(built, sample):
    student = (built / "notebooks/sample/practice.ipynb").read_text()
    instructor = (sample / "_build/instructor/sample/practice.ipynb").read_text()
    assert "answer = ..." in student and "answer = 2" not in student and "It is" not in student
    assert "answer = ..." in instructor and "answer = 2" in instructor and "It is 0.8" in instructor


def test_a_second_build_does_nothing(built, sample, command):
    done = command(sample, "tools.build_book")
    assert done.returncode == 0 and "the book is current" in done.stdout


def test_changed_package_drops_the_execution_cache(built, sample, command):
    """The cache of executed pages looks at their code only; a record that changed must show."""
    record = sample / "medxfer_lab/sample/records/demo.toy.cpu.json"
    before = (sample / "_build/code.key").read_text()
    record.write_text(record.read_text().replace("0.8123", "0.4567"))
    done = command(sample, "tools.build_book")
    assert done.returncode == 1 and "out of step with book/: notebooks/sample/" in done.stdout
    assert (sample / "_build/code.key").read_text() != before
    assert not (sample / "_build/site.key").exists()
    record.write_text(record.read_text().replace("0.4567", "0.8123"))


def test_a_failing_cell_stops_the_build(built, sample, command):
    page = sample / "book/sample/practice.md"
    source = page.read_text()
    page.write_text(source.replace("answer = ...\n", "answer = 1 / 0\n", 1))
    done = command(sample, "tools.build_book")
    page.write_text(source)
    assert done.returncode == 1
    assert "book/sample/practice.md: code cell 1 of 2 failed" in done.stdout
    assert "| answer = 1 / 0" in done.stdout and "ZeroDivisionError" in done.stdout
    assert len(done.stdout.splitlines()) < 15, done.stdout


def test_one_page_can_be_tried_alone(sample, command):
    page = sample / "book/sample/broken.md"
    head = (sample / "book/sample/practice.md").read_text().split("# Practice")[0]
    page.write_text(
        head + "# Broken\n\n```{code-cell} python3\nimport sys\nsys.stderr.write('x')\n```\n"
    )
    done = command(sample, "tools.build_book", "--page", str(page))
    page.unlink()
    assert done.returncode == 1 and "code cell 1 wrote to stderr" in done.stdout


def test_without_npm_the_site_says_that_it_is_online_only(sample, command, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(sample, root, ignore=shutil.ignore_patterns("_build", "vendor"))
    command(root, "medxfer_lab", "notebooks")
    done = command(root, "tools.build_book", path=str(tmp_path / "empty"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ONLINE-ONLY: npm is not installed" in done.stdout
    page = (root / "_build/html/book/sample/text.html").read_text()
    assert "Online-only build" in page and "vendor/mathjax" not in page
    assert "Online-only build" in (root / "_build/html/slides/sample.html").read_text()
