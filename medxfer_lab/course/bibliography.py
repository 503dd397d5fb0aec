"""References in words, for notebooks: '(Author and Author, 2020)' and a list of what was cited."""

from __future__ import annotations

import re
from pathlib import Path

from medxfer_lab.course.plain import PlainError


class Bibliography:
    """The entries of a BibTeX file, remembered as they are cited."""

    def __init__(self, path: Path) -> None:
        from pybtex.database import parse_file

        self.entries = parse_file(str(path), bib_format="bibtex").entries
        self.cited: list[str] = []

    def cite(self, keys: list[str], kind: str) -> str:
        """Words for a citation: kind 'p' in parentheses, kind 't' as part of the sentence.

        Raises PlainError for a key that the file does not hold.
        """
        for key in keys:
            if key not in self.entries:
                raise PlainError(f"no reference is called {key!r}")
            if key not in self.cited:
                self.cited.append(key)
        if kind == "t":
            return ", ".join(f"{self.names(key)} ({self.year(key)})" for key in keys)
        return "(" + "; ".join(f"{self.names(key)}, {self.year(key)}" for key in keys) + ")"

    def names(self, key: str) -> str:
        """'Author', 'Author and Author' or 'Author et al.'."""
        entry = self.entries[key]
        people = entry.persons.get("author") or entry.persons.get("editor") or ()
        last = [_clean(" ".join(person.prelast_names + person.last_names)) for person in people]
        if not last:
            return _clean(entry.fields.get("title", key))
        if len(last) > 2:
            return f"{last[0]} et al."
        return " and ".join(last)

    def year(self, key: str) -> str:
        return self.entries[key].fields.get("year", "n.d.")

    def listing(self) -> str:
        """The cited references as a Markdown list, in order of first citation; '' for none."""
        if not self.cited:
            return ""
        return "## References\n\n" + "\n".join(f"- {self._line(key)}" for key in self.cited)

    def _line(self, key: str) -> str:
        fields = self.entries[key].fields
        where = next((fields[k] for k in ("journal", "booktitle", "publisher") if k in fields), "")
        parts = [f"{self.names(key)} ({self.year(key)})", _clean(fields.get("title", key))]
        parts += [f"*{_clean(where)}*"] if where else []
        line = ". ".join(parts) + "."
        if "doi" in fields:
            return f"{line} doi:{fields['doi']}"
        return f"{line} {fields['url']}" if "url" in fields else line


def _clean(text: str) -> str:
    """BibTeX's braces and its commonest accents, as readers read them."""
    from pybtex.richtext import Text

    return re.sub(r"\s+", " ", str(Text.from_latex(text)))
