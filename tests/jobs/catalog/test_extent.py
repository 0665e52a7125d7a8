"""How many records a delivery has is told by its sizes."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.catalog.extent import estimate_records
from jobs.catalog.head import read_head

ROWS = [{"id": str(n), "title": f"Mug, number {n}", "photo": f"https://h/{n}.jpg"} for n in range(1000)]


def write_catalog(folder: Path, kind: str) -> Path:
    path = folder / f"products.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "csv":
        path.write_text("\n".join(["id,title,photo", *(f'{r["id"]},"{r["title"]}",{r["photo"]}' for r in ROWS)]))
    elif kind == "xml":
        items = "\n".join(
            f"<item>{''.join(f'<{name}>{text}</{name}>' for name, text in row.items())}</item>" for row in ROWS
        )
        path.write_text(f"<products>{items}</products>")
    else:
        lines = [json.dumps(row) for row in ROWS]
        path.write_text("\n".join(lines) if kind == "jsonl" else f"[{', '.join(lines)}]")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "xml", "parquet"])
def test_the_records_of_every_format(tmp_path: Path, kind: str) -> None:
    head = read_head(str(write_catalog(tmp_path, kind)))
    assert not head.whole
    assert estimate_records(head) == pytest.approx(1000, rel=0 if kind == "parquet" else 0.25)
    (tmp_path / f"more.{kind}").write_bytes(Path(head.files[0]).read_bytes())
    assert estimate_records(read_head(str(tmp_path))) == pytest.approx(2000, rel=0 if kind == "parquet" else 0.25)


def test_what_was_read_whole_and_what_sizes_do_not_tell(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, "jsonl")
    assert estimate_records(read_head(str(path), 5000)) == 1000
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert estimate_records(read_head(str(packed))) is None
