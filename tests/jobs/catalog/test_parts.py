import pytest

from jobs.catalog.parts import UnreadableFileError, has_subfolders, is_ignored, select_data_files

IGNORED = ("_SUCCESS", "_committed_123", "_started_123", "_metadata", "a.csv.crc", ".DS_Store", "._a.csv", "Thumbs.db")


@pytest.mark.parametrize("name", [*IGNORED, "photos/a.JPG", "mapping.toml", "sub/_SUCCESS"])
def test_files_that_hold_no_products_are_ignored(name: str) -> None:
    assert is_ignored(name)
    assert select_data_files("shop", {"a.csv": 1, name: 0}, "auto") == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("notes.md", 3, "unknown suffix"),
        ("a.xlsx", 3, "unknown suffix"),
        ("_c.csv", 3, "hidden"),
        (".b.jsonl", 3, "hidden"),
        ("_temporary/0/part.csv", 3, "_temporary begins with _"),
        ("b.csv", 0, "is empty"),
        ("b 02:00.csv", 3, "colon"),
    ],
)
def test_a_part_that_would_not_be_read_is_named(name: str, size: int, why: str) -> None:
    with pytest.raises(UnreadableFileError, match=why) as stopped:
        select_data_files("shop", {"a.csv": 1, name: size}, "auto")
    assert name in str(stopped.value)


@pytest.mark.parametrize(
    "name", ["a.CSV", "a.csv.gz", "a.tsv.bz2", "a.jsonl.zst", "a.json.ZIP", "day=1/a.parquet", "_d=1/a.txt"]
)
def test_data_files_by_suffix(name: str) -> None:
    assert select_data_files("shop", {name: 1}, "auto") == [name]


def test_a_named_format_reads_files_of_any_name() -> None:
    assert select_data_files("shop", {"b": 1, "a.dat": 1}, "csv") == ["a.dat", "b"]
    with pytest.raises(UnreadableFileError, match="unknown suffix"):
        select_data_files("shop", {"b.csv": 1, "a.dat": 1}, "csv")


@pytest.mark.parametrize(
    "names", [("_delta_log/00.json", "a.parquet"), ("metadata/v1.metadata.json", "data/a.parquet")]
)
def test_tables_with_a_log_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(UnreadableFileError, match="table"):
        select_data_files("shop", dict.fromkeys(names, 1), "auto")


def test_many_problems_are_counted() -> None:
    with pytest.raises(UnreadableFileError, match="and 5 more"):
        select_data_files("shop", {f"{number}.doc": 1 for number in range(15)}, "auto")


def test_folders_are_partitions_or_not() -> None:
    assert not has_subfolders(["a.csv", "b.csv"])
    assert not has_subfolders(["day=1/a.csv", "day=2/hour=1/b.csv"])
    assert has_subfolders(["a.csv", "more/b.csv"])
    with pytest.raises(UnreadableFileError, match="some are not"):
        has_subfolders(["day=1/a.csv", "more/b.csv"])
