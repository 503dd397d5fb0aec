"""Notebooks from pages: what is dropped, what is substituted, and that nothing raw leaks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest

from medxfer_lab.course import editions
from medxfer_lab.course.plain import Context, PlainError, equation_labels, plain
from tools import layout

SAMPLE = Path(__file__).parents[1] / "site" / "sample"
NUMBERS = {"demo.toy.auc.mean": 0.8123, "demo.toy.word": "holds"}


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A copy of the sample book, whose numbers need no record."""
    shutil.copytree(SAMPLE, tmp_path, dirs_exist_ok=True)
    module = sys.modules["medxfer_lab.course.numbers"]  # the function hides it as an attribute
    monkeypatch.setattr(module, "numbers", lambda chapter: NUMBERS)
    return tmp_path


def text_of(made: dict, kind: str) -> str:
    cells = [c for c in made["cells"] if c["cell_type"] == kind]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize(
    "line, left",
    [
        ("from medxfer_lab.course import glue_numbers\nx = 1\n", "x = 1\n"),
        ("from myst_nb import glue", ""),
        ("from medxfer_lab.course import glue_numbers, picture\n", None),
        ("from medxfer_lab.course import explorer, glue_numbers\n", None),
    ],
)
def test_only_a_whole_import_of_the_glue_is_taken_out(line, left):
    """Where it stands first among other names, cutting it would leave half a line."""
    assert editions._GLUE.sub("", line) == (line if left is None else left)


def test_roles_become_words(book):
    words = text_of(editions.notebook(book, "book/sample/text"), "markdown")
    assert "The bias falls and the spread is 0.81" in words and "in words, holds" in words
    assert "(Müller and Berg, 2001; Uno et al., 2002), or Uno et al. (2002)" in words
    assert "Equation (1) says more, and What a page may hold is where" in words
    assert r"R(\boldsymbol\theta) = B^2 + V \tag{1}" in words
    assert "[the practice](practice.ipynb) or look into the glossary" in words
    assert "> **Note.**" in words and "> **By the way.**" in words
    assert "<details>\n<summary>A hint</summary>" in words
    assert words.endswith("- Uno et al. (2002). Three. *Press*.")
    assert not re.search(r"\{[a-z:]+\}`(?!\.)|^:::|^\(first", words.replace("`{title}`", ""))


def test_first_cell_installs_and_site_machinery_is_dropped(book):
    made = editions.notebook(book, "book/sample/text")
    assert "".join(made["cells"][0]["source"]) == editions.HOSTED
    code = text_of(made, "code")
    assert "glue" not in code and "picture(fig" in code
    folded = [c["metadata"].get("jupyter") for c in made["cells"] if c["cell_type"] == "code"]
    assert folded == [{"source_hidden": True}, {"source_hidden": True}, None, None]


def test_what_a_hidden_cell_imports_is_kept_for_the_cells_below(book):
    page = book / "book/sample/text.md"
    source = page.read_text().replace(
        "from myst_nb import glue\n", "from medxfer_lab.course import explorer, glue_numbers\n"
    )
    page.write_text(source.replace("fig, ax", 'glue_numbers("sample", page="x.md")\nfig, ax', 1))
    made = editions.notebook(book, "book/sample/text")
    code = text_of(made, "code")
    assert "from medxfer_lab.course import explorer, glue_numbers" in code
    assert 'glue("demo' not in code and 'glue_numbers("sample"' in code  # only in hidden cells


def test_solutions_are_the_instructors(book):
    student = editions.notebook(book, "book/sample/practice")
    teacher = editions.notebook(book, "book/sample/practice", instructor=True)
    assert "answer = ..." in text_of(student, "code")
    assert "answer = 2" not in text_of(student, "code")
    assert "It is" not in text_of(student, "markdown")
    assert "answer = 2" in text_of(teacher, "code")
    assert "It is 0.8." in text_of(teacher, "markdown")


def test_notebooks_are_valid_and_the_same_every_time(book):
    editions.write(book)
    first = {p: p.read_bytes() for p in (book / "notebooks").rglob("*.ipynb")}
    assert len(first) == 3
    for path in first:
        made = nbformat.read(path, as_version=4)
        nbformat.validate(made)
        ids = [cell.id for cell in made.cells]
        assert len(set(ids)) == len(ids)
        assert all(c.outputs == [] for c in made.cells if c.cell_type == "code")
        path.unlink()
    editions.write(book)
    assert {p: p.read_bytes() for p in first} == first
    assert editions.write(book) == []


def test_slideshow_metadata_is_kept(book):
    made = editions.notebook(book, "book/sample/lecture")
    kinds = [c["metadata"].get("slideshow", {}).get("slide_type") for c in made["cells"]]
    assert kinds.count("slide") == 3 and kinds.count("notes") == 1 and kinds.count("fragment") == 1


def test_stale_notebooks_are_named(book):
    editions.write(book)
    assert editions.stale(book) == []
    page = book / "book/sample/text.md"
    page.write_text(page.read_text().replace("Inline", "In a line"))
    orphan = book / "notebooks/sample/gone.ipynb"
    orphan.write_text("{}")
    assert editions.stale(book) == [orphan, book / "notebooks/sample/text.ipynb"]


def test_the_committed_notebooks_are_in_step_with_the_pages():
    stale = [str(path.relative_to(layout.ROOT)) for path in editions.stale(layout.ROOT)]
    assert stale == [], "run `medxfer notebooks` and commit what it writes"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{glue:text}`no.such.number:.2f`", "no number is called 'no.such.number'"),
        ("{glue:text}`a.b:.2q`", "a.b = 1.5 as '.2q'"),
        ("{eq}`nowhere`", "no equation is called 'nowhere'"),
        ("{ref}`nowhere`", "no section is called 'nowhere'"),
        ("{strange}`x`", "the role {strange} has no plain form"),
        ("```{strange}\nx\n```", "the directive {strange} has no plain form"),
        ("{cite:p}`x`", "there is no references.bib"),
    ],
)
def test_what_has_no_plain_form_is_an_error_that_names_the_page(source, message):
    context = Context(page="book/sample/text", numbers={"a.b": 1.5})
    with pytest.raises(PlainError, match=re.escape(message)) as error:
        plain(source, context)
    assert "book/sample/text" in str(error.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("$$x^2$$ (eq-a)", "$$\nx^2 \\tag{3}\n$$"),
        ("see {eq}`eq-b`", "see [(2) of text](../other/text.ipynb)"),
        (
            "{abbr}`MR (magnetic resonance)` in T{sub}`1`",
            "MR (magnetic resonance) in T<sub>1</sub>",
        ),
        ("{math}`a_b`", "$a_b$"),
        ("```python\n{glue:text}`kept.as.code`\n```", "```python\n{glue:text}`kept.as.code`\n```"),
        (":::{tip} Look\nclosely\n:::", "> **Tip.**\n>\n> Look\n> closely"),
        ("::::{note}\n:::{dropdown} More\nInner.\n:::\n::::", "<summary>More</summary>"),
        ("(label)=\n## Heading", "## Heading"),
        ("a\n% a comment\nb", "a\nb"),
        ("[elsewhere](https://example.org/x.html)", "[elsewhere](https://example.org/x.html)"),
        ("[next](lab.md#part)", "[next](lab.ipynb)"),
        ("{glue:text}`a.n:.0f` and {glue:text}`a.n:.1%`", "12 and 1200.0%"),
    ],
)
def test_plain_forms(source, words):
    context = Context(
        page="book/sample/text",
        numbers={"a.n": 12},
        equations={"eq-a": ("book/sample/text", 3), "eq-b": ("book/other/text", 2)},
        notebooks=frozenset({"book/sample/lab", "book/other/text"}),
    )
    assert words in plain(source, context)


def test_equations_are_numbered_in_order_of_appearance():
    source = "$$a$$ (one)\n\n```{math}\n:label: two\nb\n```\n\n$$c$$\n\n$$d$$ (three)\n"
    assert equation_labels(source) == ["one", "two", "three"]


class Hosted:
    """The first cell, run where google.colab is or is not, with a subprocess that remembers."""

    def __init__(self, monkeypatch, tmp_path, installed: bool):
        self.commands: list[list[str]] = []
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(subprocess, "run", lambda command, **_: self.commands.append(command))
        monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
        found = {"torch", "torchvision", "numpy"} | ({"medxfer_lab"} if installed else set())
        monkeypatch.setattr("importlib.util.find_spec", lambda name: name in found or None)
        versions = {"torch": "2.12.1+cu128", "torchvision": "0.27.1+cu128", "numpy": "2.1.0"}
        monkeypatch.setattr("importlib.metadata.version", versions.get)

    def run(self) -> list[list[str]]:
        exec(compile(editions.HOSTED, "first cell", "exec"), {})
        return self.commands


@pytest.mark.parametrize("where", ["colab", "kaggle"])
def test_first_cell_installs_on_a_hosted_notebook_and_keeps_its_torch(monkeypatch, tmp_path, where):
    notebook = Hosted(monkeypatch, tmp_path, installed=False)
    if where == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    else:
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("MEDXFER_SOURCE", "an-archive.zip")
    (command,) = notebook.run()
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-1] == "an-archive.zip" and "--upgrade" not in command
    kept = Path(command[command.index("-c") + 1]).read_text()
    assert kept == "torch==2.12.1+cu128\ntorchvision==0.27.1+cu128\nnumpy==2.1.0\n"


@pytest.mark.parametrize("hosted", [False, True])
def test_first_cell_does_nothing_elsewhere_or_when_installed(monkeypatch, tmp_path, hosted):
    notebook = Hosted(monkeypatch, tmp_path, installed=hosted)
    if hosted:
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert notebook.run() == []
    assert list(tmp_path.iterdir()) == []


def test_every_committed_notebook_starts_with_that_cell():
    for path in layout.ROOT.glob("notebooks/**/*.ipynb"):
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
        assert "".join(first["source"]) == editions.HOSTED, path.name
