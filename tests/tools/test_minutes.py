"""The minutes of a page: what counts as a word, and how the time is said."""

from __future__ import annotations

import pytest

from tools.minutes import said, words


def test_words_leave_out_code_formulas_and_what_is_folded():
    page = """<body><nav>not here</nav><article><h1>One two<a class="headerlink">#</a></h1>
      <p>Three <span class="math">x + y</span> four's 5.</p><pre>no code</pre>
      <details><summary>Hint</summary>not this</details></article></body>"""
    assert words(page) == 4
    with pytest.raises(ValueError, match="no <article>"):
        words("<p>Words.</p>")


@pytest.mark.parametrize(
    ("count", "seconds", "expected"),
    [(2000, 90, "10 min reading, 1.5 min running"), (30, 12, "1 min reading")],
)
def test_minutes_in_words(count, seconds, expected):
    assert said("p", {"p": {"words": count, "run_s": seconds}}) == expected
    assert said("another", {}) == ""
