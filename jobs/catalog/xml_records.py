"""Parses records from the bytes of an XML catalogue without Spark: RSS, Atom, and plain product feeds.

The file is parsed as a stream, and an element is dropped once it is read, so memory use is that of one record. A
document type declaration is refused, because feeds do not need one and it can define entities and references to other
files. The parser is Python's own, used through defusedxml, which refuses declarations before they are expanded.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, iterparse

from jobs.catalog.records import ParsedRecord

XML_SAMPLE_BYTES = 1 << 20
"""How much of a file tells which element is a record."""

MAX_XML_DEPTH = 100
"""Elements inside each other; a product has a few."""

RECORD_NAMES = ("item", "entry", "product")
"""Local names of elements that hold a product, whatever else is repeated: RSS, Atom, plain feeds."""

NAMED_VALUE_NAMES = ("param", "attribute", "property", "feature", "specification", "spec")
"""Elements of which an attribute ``name`` says what the text is: ``<param name="Colour">red</param>``."""

GOOGLE_NAMESPACE = "http://base.google.com/ns/1.0"
_HTML_NAMESPACE = "http://www.w3.org/1999/xhtml"

ElementPath = tuple[str, ...]


class XmlError(ValueError):
    """A feed that is broken as a whole or may not be read; the message says where and why."""


class _Event(NamedTuple):
    """The start or the end of an element, with the names of its parent elements and its own."""

    is_start: bool
    element: Element
    path: ElementPath
    parent: Element | None


def parse_xml(chunks: Iterable[bytes]) -> Iterator[ParsedRecord]:
    """Yield the records of an XML file: a column is an element's local name.

    A repeated element becomes a list, and an element with child elements becomes a map. If elements of two namespaces
    share a local name, one keeps its namespace in its column name.

    Args:
        chunks: The file's bytes, in pieces of any size. The XML declaration gives the encoding.

    Raises:
        XmlError: The file is not XML or is truncated, has a document type declaration, or no element is a record.
    """
    source = _Source(chunks)
    sample = source.peek(XML_SAMPLE_BYTES)
    path = find_record_path(sample, is_whole=len(sample) < XML_SAMPLE_BYTES)
    for event in _iter_events(source):
        is_inside = len(event.path) > len(path) and event.path[: len(path)] == path
        if event.is_start or is_inside:
            continue
        if event.path == path:
            yield ParsedRecord(_read_record(event.element), None)
        if event.parent is not None:
            event.parent.remove(event.element)


def find_record_path(sample: bytes, *, is_whole: bool) -> ElementPath:
    """Return the names of the elements from the root to the record's element.

    Candidates are elements with child elements or several attributes. Outermost ones that are named like a record are
    preferred. Among these, the one with most siblings of its name is chosen.

    Args:
        sample: The first bytes of the file.
        is_whole: Whether the sample is the whole file, in which case damage is an error.

    Raises:
        XmlError: There is no such element, or the file cannot be read.
    """
    found = _Siblings()
    try:
        for event in _iter_events(_Source([sample])):
            if event.is_start:
                found.open_element(event)
            else:
                found.close_element(event)
    except XmlError:
        if is_whole or not found.most:
            raise
    named = [path for path in found.most if _local_name(path[-1]) in RECORD_NAMES]
    outer = [path for path in named if not any(path[: len(other)] == other for other in named if other != path)]
    repeated = [path for path, count in found.most.items() if count > 1]
    if not outer and not repeated:
        raise XmlError(
            f"has no element that is repeated and holds the fields of a product (such as {', '.join(RECORD_NAMES)})"
        )
    return max(outer or repeated, key=lambda path: (found.most[path], -len(path)))


class _Siblings:
    """Counts siblings of one name that may be records.

    Attributes:
        most: Path → largest number of them in one parent.
    """

    def __init__(self) -> None:
        self.most: Counter[ElementPath] = Counter()
        self._children: list[Counter[ElementPath]] = []  # of each open element
        self._counted: list[bool] = []  # whether each open element is in its parent's counter

    def open_element(self, event: _Event) -> None:
        self._children.append(Counter())
        self._counted.append(False)
        self._count(event.path[:-1])
        if len(event.element.attrib) > 1:
            self._count(event.path)

    def close_element(self, event: _Event) -> None:
        self._children.pop()
        self._counted.pop()
        if event.parent is not None:
            event.parent.remove(event.element)

    def _count(self, path: ElementPath) -> None:
        """Count an open element once; the root is no record."""
        depth = len(path) - 1
        if depth > 0 and not self._counted[depth]:
            self._counted[depth] = True
            counts = self._children[depth - 1]
            counts[path] += 1
            self.most[path] = max(self.most[path], counts[path])


def _iter_events(source: "_Source") -> Iterator[_Event]:
    names: list[str] = []
    elements: list[Element] = []
    parser = DefusedXMLParser(forbid_dtd=True)
    try:
        for kind, element in iterparse(source, ("start", "end"), parser=parser):
            if kind == "start":
                names.append(element.tag)
                elements.append(element)
                if len(names) > MAX_XML_DEPTH:
                    raise XmlError(f"has elements inside each other more than {MAX_XML_DEPTH} deep")
            parent = elements[-2] if len(elements) > 1 else None
            yield _Event(kind == "start", element, tuple(names), parent)
            if kind == "end":
                names.pop()
                elements.pop()
    except DefusedXmlException as error:
        raise XmlError(
            "has a document type declaration (<!DOCTYPE …>), which is refused because it can name other files and "
            "entities that expand; deliver the feed without it"
        ) from error
    except ParseError as error:
        line, column = error.position
        raise XmlError(
            f"is broken XML in line {line}, column {column + 1} ({str(error).partition(':')[0]}): cut off or damaged, "
            "so none of it is used; deliver it again"
        ) from error
    except (LookupError, ValueError) as error:
        if isinstance(error, XmlError):
            raise
        raise XmlError(f"cannot be read as XML: {error}") from error


def _read_record(element: Element) -> dict[str, Any]:
    """Return the fields of a record's element."""
    values: dict[str, list[Any]] = {}
    for child in element:
        values.setdefault(child.tag, []).append(_read_value(child))
    # Google's own elements get the plain names: a feed may have a <title> and a <g:title>.
    owners: dict[str, str] = {}
    for tag in sorted(values, key=lambda tag: not tag.startswith(f"{{{GOOGLE_NAMESPACE}}}")):
        owners.setdefault(_local_name(tag), tag)
    record: dict[str, Any] = {}
    for tag, found in values.items():
        name = _local_name(tag)
        if owners[name] != tag:
            name = tag if tag.startswith("{") else f"{{}}{tag}"
        record[name] = found[0] if len(found) == 1 else found
    for name, text in element.attrib.items():
        record.setdefault(_local_name(name), text)
    return record


def _read_value(element: Element) -> Any:
    """Return an element's text, or a map of its children."""
    if len(element) == 0:
        text = element.text or ""
        if _local_name(element.tag) in NAMED_VALUE_NAMES and (name := element.get("name")):
            return {"name": name, "value": text}
        has_text = bool(text.strip()) or not element.attrib
        return text if has_text else {_local_name(name): value for name, value in element.attrib.items()}
    texts = [element.text, *(child.tail for child in element)]
    is_markup = any(text and text.strip() for text in texts) or element[0].tag.startswith(f"{{{_HTML_NAMESPACE}}}")
    if is_markup:
        return " ".join(" ".join(element.itertext()).split())
    return _read_record(element)


def _local_name(tag: str) -> str:
    """Return an element's name without its namespace."""
    return tag.rpartition("}")[2]


class _Source:
    """File object over the pieces of a file, for the parser."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._ready = b""
        self._position = 0  # in `_ready`, which may be a whole file in one line

    def peek(self, size: int) -> bytes:
        """Return the first `size` bytes (fewer if the file has less), which stay to be read."""
        pieces: list[bytes] = []
        total = 0
        while total < size and (chunk := next(self._chunks, None)) is not None:
            pieces.append(chunk)
            total += len(chunk)
        self._ready = b"".join(pieces)
        return self._ready[:size]

    def read(self, size: int) -> bytes:
        """Return some bytes, at most `size`; none at the end."""
        while self._position >= len(self._ready):
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._ready, self._position = chunk, 0
        data = self._ready[self._position : self._position + size]
        self._position += size
        return data
