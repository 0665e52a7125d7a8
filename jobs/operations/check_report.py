"""Formats the result of `moon check-source` as tables for the terminal or as one JSON document.

Text from data and paths is printed verbatim: it is wrapped in `rich.text.Text`, which does not interpret markup or
emoji codes.
"""

from collections import Counter
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from jobs.catalog.part_reader import PartReader
from jobs.operations.check_photos import ImageHeader
from jobs.operations.check_source import CheckResult
from schemas.source import MappedRow
from schemas.uri import mask_query

LEVEL_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
MAX_CELL_CHARACTERS = 60


def print_check(check: CheckResult, console: Console) -> None:
    """Print the mapping, the first rows, the findings and whether a run can use the catalogue."""
    if check.mapping_text is not None:
        console.print(Text.assemble(("Suggested mapping", "bold"), " (save it with --out FILE; an editor corrects it)"))
        # Text to be copied is neither wrapped nor truncated at the width of the terminal.
        console.print(Syntax("", "toml", background_color="default").highlight(check.mapping_text), soft_wrap=True)
    elif check.mapping_file is not None:
        console.print(Text.assemble(("Mapping", "bold"), f" {check.mapping_file}"), soft_wrap=True)
    if check.rows:
        console.print(_build_rows_table(check.rows))
    for finding in check.findings:
        level = Text(f"{finding.level:>7}  ", LEVEL_STYLES[finding.level])
        console.print(level + Text(finding.text, "default"), soft_wrap=True)
    console.print(Text(predict_night(check), "green" if check.is_usable else "red"), soft_wrap=True)


def predict_night(check: CheckResult) -> str:
    """Return a prediction of a run on this delivery with this mapping, and how certain it is."""
    if not check.is_usable:
        error = next(finding.text for finding in check.findings if finding.level == "error")
        text = f"A night would stop: {error}"
        # A count is exact only if all rows were counted.
        is_counted = check.night is not None and error in check.night.forecast.stops
        return f"{text}. {_describe_extent(check, check.reader)}" if is_counted and check.reader else text
    start = "A night can use this catalogue"
    if check.night is None or check.reader is None:
        return f"{start}."
    night, refused = check.night, len(check.night.refusals)
    served = night.judged - refused
    of_day = f" of {night.day}" if night.day else ""
    text = f"{start}: of {night.judged:,} products{of_day} it would serve {served:,} and refuse {refused:,}"
    if refused:
        text += f" ({', '.join(f'{reason}: {count:,}' for reason, count in _count_reasons(check))})"
    if night.left_out:
        text += f", and leave out {night.left_out:,} rows"
    return f"{text}. {_describe_extent(check, check.reader)} {_predict_second_night(check)}"


def _describe_extent(check: CheckResult, reader: PartReader) -> str:
    """Return whether the prediction is exact, or of how many rows it is an estimate."""
    rows = f"{reader.rows:,} rows"
    files = f" of {len(reader.parts):,} files" if len(reader.parts) > 1 else ""
    if not reader.is_whole:
        unfinished = sum(not part.is_whole for part in reader.parts)
        which = "the file goes on" if len(reader.parts) == 1 else f"{unfinished:,} of them go on"
        return f"An estimate from the {rows}{files} that were read: {which}."
    photos = f", unless some of {check.unopened:,} photos that were not opened are unusable" if check.unopened else ""
    return f"Exact, of all {rows}{files}{photos}."


def _predict_second_night(check: CheckResult) -> str:
    if check.night is None:
        return ""
    forecast = check.night.forecast
    if forecast.second_stops:
        return f"A second night with the same delivery would stop: {'; '.join(forecast.second_stops)}."
    text = "A second night with the same delivery would change nothing"
    if forecast.least_accepted:
        return f"{text}; in a collection whose last run refused less than {forecast.least_accepted:.1%} it would stop."
    return f"{text}."


def _count_reasons(check: CheckResult) -> list[tuple[str, int]]:
    """Return the number of products that a run would refuse, by reason, the most frequent first."""
    refusals = check.night.refusals if check.night else ()
    return Counter(str(refusal.reason) for refusal in refusals).most_common()


def _build_forecast(check: CheckResult) -> dict[str, Any] | None:
    """Return the prediction as numbers; None where no row could be judged."""
    night, reader = check.night, check.reader
    if night is None or reader is None:
        return None
    return {
        "date": night.day or None,
        "exact": reader.is_whole,
        "rows_read": reader.rows,
        "products": night.judged,
        "served": night.judged - len(night.refusals),
        "refused": len(night.refusals),
        "reasons": dict(_count_reasons(check)),
        "merged_rows": night.merged,
        "left_out_rows": night.left_out,
        "photos_not_opened": check.unopened,
        "first_night_stops": [finding.text for finding in check.findings if finding.level == "error"],
        "second_night_stops": list(night.forecast.second_stops),
        "least_accepted_share": night.forecast.least_accepted,
    }


def build_check_document(check: CheckResult) -> dict[str, Any]:
    """Return the whole result as plain data for ``--json``."""
    head = check.head
    return {
        "ok": check.is_usable,
        "prediction": predict_night(check),
        "catalog": check.catalog,
        "files": head.files if head else [],
        "parts": [
            {"file": part.file, "rows": part.rows, "whole": part.is_whole, "problem": part.problem}
            for part in (check.reader.parts if check.reader else [])
        ],
        "forecast": _build_forecast(check),
        "format": head.format if head else None,
        "columns": head.columns if head else [],
        "mapping_file": check.mapping_file,
        "suggested_mapping": check.mapping_text,
        "rows": [
            {
                **{name: value for name, value in vars(row).items() if name != "source_values"},
                "images": list(map(vars, images)),
            }
            for row, images in check.rows
        ],
        "refusals": [vars(refusal) for refusal in check.refusals],
        "findings": [vars(finding) for finding in check.findings],
    }


def _build_rows_table(rows: list[tuple[MappedRow, list[ImageHeader]]]) -> Table:
    table = Table(title="First rows as mapped", show_lines=True, title_justify="left")
    for name in ("id", "title and description", "category", "attributes", "images (pixels)"):
        table.add_column(name, overflow="fold")
    for row, images in rows:
        if row.row_error is not None:
            table.add_row("–", Text(row.row_error, "red"), "", "", "")
            continue
        text = Group(Text(_shorten(row.title), "bold"), Text(_shorten(row.description), "dim"))
        table.add_row(
            Text(row.product_id or "–"),
            text,
            Text(" › ".join(row.category) or "–"),
            _format_attributes(row),
            _format_images(images),
        )
    return table


def _format_attributes(row: MappedRow) -> RenderableType:
    if row.attributes is None:
        return Text(row.attributes_error or "", "red")
    return Text("\n".join(f"{name}: {_shorten(value)}" for name, value in row.attributes.items()) or "–")


def _format_images(images: list[ImageHeader]) -> RenderableType:
    lines = [_format_image(image) for image in images]
    return Text("\n").join(lines) if lines else Text("none", "red")


def _format_image(image: ImageHeader) -> Text:
    name = mask_query(image.uri).rsplit("/", 1)[-1][-MAX_CELL_CHARACTERS:]
    if image.problem is not None:
        return Text(f"{name}  {image.problem.split(':')[0]}", "red")
    if image.width is None:
        return Text(f"{name}  by URL", "dim")
    return Text(f"{name}  {image.width}×{image.height} {image.format}")


def _shorten(text: str | None) -> str:
    text = " ".join((text or "–").split())
    return text if len(text) <= MAX_CELL_CHARACTERS else text[: MAX_CELL_CHARACTERS - 1] + "…"
