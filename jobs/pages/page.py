"""Renders an HTML page from a template of this package, and writes it into the lake."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs import fault_points
from jobs.errors import UsageError
from jobs.lake.store import Lake

REPORTS_FOLDER = "_reports"
"""Folder of the reports under the lake's root."""

DATA_DOCS_FOLDER = "_data_docs"
"""Folder of the gate's pages under the lake's root."""


def render_page(template: str, **values: object) -> str:
    """Return a page as one HTML document that needs no other file; values are always shown as text.

    Args:
        template: file of ``jobs/pages/templates``.
        values: variables of the template; a missing one is an error.
    """
    return _get_environment().get_template(template).render(**values)


def render_fragment(template: str, **values: object) -> Markup:
    """Return a part of a page, which a template shows as it is; values in it are shown as text.

    Args:
        template, values: as for `render_page`.
    """
    return Markup(render_page(template, **values))  # noqa: S704  (the template escapes its values)


@cache
def _get_environment() -> Environment:
    return Environment(
        loader=PackageLoader("jobs.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def save_page(path: Path, page: str) -> None:
    """Write a page to a file that a user named.

    Raises:
        UsageError: there is no such folder, or the path is a folder.
    """
    if not path.parent.is_dir() or path.is_dir():
        raise UsageError(f"{path} cannot be written: name a file in a folder that exists")
    path.write_text(page, encoding="utf-8")


def write_page(lake: Lake, name: str, page: str) -> str:
    """Write a page into the lake and return its URI.

    Args:
        lake: the lake; the page is written below its root.
        name: path below the root, such as ``_reports/2026-11-22/<run>.html``.
        page: the document.
    """
    with fault_points.surround("write.page"):
        return lake.storage.write_file(name, page.encode())
