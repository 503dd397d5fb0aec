"""The glossary: precise enough to be worth a click, and complete for what the chapters link."""

from __future__ import annotations

import re
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1] / "book"
#: what the course's subject matter links to, in this chapter and those to come
NEEDED = (
    "medical imaging, overfitting, transfer learning, bias-variance trade-off, domain shift, "
    "continual learning, data privacy, rare disease, pathology, deep neural networks, "
    "spurious correlations, total error, bias, variance, noise, prior, posterior, ridge, L2-SP, "
    "linear probe, fine-tuning, scratch, covariate shift, conditional probability, label shift, "
    "concept shift, pneumonia, disease prevalence, convolutional neural network, image formation, "
    "feature extractor, learning rate, loss landscape, catastrophic forgetting, negative transfer, "
    "ultrasound imaging, AUC, log loss, calibration, effective sample size, kappa, eta, "
    "deterministic equivalent, prevalence, cohort, irreducible error"
).split(", ")


def entries() -> dict[str, str]:
    """Term -> definition; terms that share a definition stand on lines of their own."""
    found: dict[str, str] = {}
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    for block in re.findall(r"```\{glossary\}\n(.*?)```", text, re.S):
        for entry in re.split(r"\n\s*\n(?=\S)", block.strip()):
            lines = entry.splitlines()
            terms = [line for line in lines if not line.startswith(" ")]
            definition = " ".join(line.strip() for line in lines if line.startswith(" "))
            for term in terms:
                assert term.lower() not in map(str.lower, found), f"{term} stands there twice"
                found[term] = definition
    return found


def test_every_term_has_a_definition_worth_reading():
    found = entries()
    assert len(found) >= 40
    for term, definition in found.items():
        assert len(definition.split()) >= 5 and definition.endswith("."), term


def test_what_the_chapters_need_is_there():
    assert set(NEEDED) <= set(entries())


def test_every_linked_term_exists():
    known = {term.lower() for term in entries()}
    for page in BOOK.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for shown, target in re.findall(r"\{term\}`([^`<]*?)(?:\s*<([^>]+)>)?`", text):
            wanted = " ".join((target or shown).split()).lower()
            assert wanted in known, f"{page.name} links the unknown term {wanted!r}"
