"""Reads a page as a browser would: its text, links and tables, and checks that it stands alone and is well formed."""

from html.parser import HTMLParser
from urllib.parse import urlsplit

VOID = {"meta", "br", "img", "wbr", "hr", "input", "link"}


class PageReader(HTMLParser):
    """Collects text (white space joined), links, headings and tables of a page, and checks them.

    Args:
        html: the document.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.links: list[str] = []
        self.headings: list[int] = []
        self.tables: list[list[list[str]]] = []
        self.tags: list[str] = []
        self._parts: list[str] = []
        self._open: list[str] = []
        self._faults: list[str] = []
        self._cells: list[list[str]] = []
        self.feed(html)
        self.text = " ".join("".join(self._parts).split())
        self.tables = [[[" ".join(cell.split()) for cell in row] for row in table] for table in self.tables]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        values = dict(attrs)
        self.links += [value for name, value in attrs if name in ("href", "src") and value and value[0] != "#"]
        if tag[0] == "h" and tag[1:].isdigit():
            self.headings.append(int(tag[1:]))
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            if tag == "th" and values.get("scope") not in ("row", "col"):
                self._faults.append(f"a heading of a table without scope: {self.getpos()}")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self._faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            return
        self._parts.append(data)
        if {"td", "th"} & set(self._open) and self.tables:
            self.tables[-1][-1][-1] += data

    def check(self) -> None:
        """Check that the page is well formed, stands alone, and has landmarks and headings in order."""
        assert not self._faults and not self._open, self._faults or self._open
        assert "<script" not in self.html and "<link" not in self.html and "@import" not in self.html
        outside = [link for link in self.links if urlsplit(link).scheme not in ("", "data") or link.startswith("//")]
        assert not outside, "a request would leave the page"
        assert self.tags.count("main") == 1 and self.headings[0] == 1 and self.headings.count(1) == 1
        assert all(after <= before + 1 for before, after in zip(self.headings, self.headings[1:], strict=False))
        assert '<html lang="en">' in self.html and 'name="viewport"' in self.html
        assert len(self.html.encode()) <= 5 << 20
