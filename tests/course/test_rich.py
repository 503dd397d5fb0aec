"""Short texts as HTML: maths and code keep their signs, tags never pass."""

from __future__ import annotations

from medxfer_lab.course.rich import to_html


def test_inline():
    text = "A **bold** *word*, `a*b*c <x>` and $a_1 * b * c < d$ & 2 * 3 * 4."
    assert to_html(text) == (
        "<p>A <strong>bold</strong> <em>word</em>, <code>a*b*c &lt;x&gt;</code> and "
        r"\(a_1 * b * c &lt; d\) &amp; 2 * 3 * 4.</p>"
    )


def test_blocks():
    html = to_html("One\nline.\n\n- a\n- **b**\n\n```\nfor x in y:\n    <z>\n```")
    assert html == (
        "<p>One line.</p>\n<ul><li>a</li><li><strong>b</strong></li></ul>\n"
        "<pre><code>for x in y:\n    &lt;z&gt;</code></pre>"
    )


def test_no_tags_pass():
    assert "<script" not in to_html("<script>alert(1)</script> `<script>` $<script>$")
