"""Hooks of MkDocs: pages that the code writes, pages from elsewhere in the repository, and links to its files.

``mkdocs.yml`` loads this module. A generated page is made anew with every build, so it cannot be out of date.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # MkDocs loads hooks without the repository on the path

from scripts.docs_reference import write_collection, write_commands, write_settings, write_tables  # noqa: E402

COPIED = {
    "architecture.md": "ARCHITECTURE.md",
    "changelog.md": "CHANGELOG.md",
    "model-card.md": "checkpoints/moon-tiny/README.md",
    "detector-card.md": "checkpoints/detector/README.md",
    "contributing.md": "CONTRIBUTING.md",
}
"""Pages of the site that are files outside of ``docs``, by their name in the site."""

GENERATED = {
    "reference/commands.md": write_commands,
    "reference/settings.md": write_settings,
    "reference/tables.md": write_tables,
    "reference/collection.md": write_collection,
}
"""Pages that are written from the code."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the site's files with the copied and the generated pages."""
    pages = {name: (REPOSITORY / source).read_text() for name, source in COPIED.items()}
    pages |= {name: write() for name, write in GENERATED.items()}
    results = sorted((REPOSITORY / "benchmarks" / "results").glob("*.md"))
    pages |= {f"benchmarks/{result.name}": result.read_text() for result in results}
    pages["benchmarks/index.md"] = _list_results(results)
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Return a page's text in which links lead to pages of the site, or are plain words where there is none."""
    source = _find_source(page.file.src_uri)
    here = posixpath.dirname(source)
    known = {_find_source(file.src_uri): file.src_uri for file in files}

    def replace(link: re.Match[str]) -> str:
        image, text, target = link.groups()
        parts = urlsplit(target)
        if parts.scheme or not parts.path:
            return link[0]
        wanted = posixpath.normpath(posixpath.join(here, parts.path))
        if wanted in known:
            start = posixpath.dirname(page.file.src_uri) or "."
            anchor = f"#{parts.fragment}" if parts.fragment else ""
            return f"{image}[{text}]({posixpath.relpath(known[wanted], start)}{anchor})"
        return text if text.startswith("`") else f"{text} (`{wanted}`)"

    # "tried" is for the tests that execute a block; Markdown's extension knows one word after the fence.
    return LINK.sub(replace, re.sub(r"(?m)^```sh tried$", "```sh", markdown))


def on_post_page(output: str, page: Any, config: MkDocsConfig) -> str:
    """Return a page in which the dialog of the search has a name, which Material leaves out, for screen readers."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def _find_source(name: str) -> str:
    """Return the path in the repository of a page of the site."""
    if name in COPIED:
        return COPIED[name]
    if name.startswith("benchmarks/"):
        return f"benchmarks/results/{posixpath.basename(name)}"
    return f"docs/{name}"


def _list_results(results: list[Path]) -> str:
    """Return the page that lists the measurements, each by its own heading."""
    lines = ["# Benchmarks", "", "What was measured, each with machine, versions and command.", ""]
    for result in results:
        heading = next(line for line in result.read_text().splitlines() if line.startswith("# "))
        lines.append(f"* [{heading[2:]}]({result.name})")
    return "\n".join(lines) + "\n"
