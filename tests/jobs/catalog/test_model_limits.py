from pathlib import Path

from jobs.catalog.model_limits import describe_cuts
from schemas.product import ImageRef
from schemas.source import MappedRow


def test_what_exceeds_the_models_budgets_is_counted_with_an_example(tiny_checkpoint: Path) -> None:
    images = [ImageRef(f"file:///{number}.jpg", None) for number in range(3)]
    rows = [
        MappedRow("a", "Mug", "tea " * 100, ["Home"], {"colour": "red"}, images=images),
        MappedRow("b", "Mug", "tea", ["Home"], {f"name {n}": "value" for n in range(40)}, images=images[:2]),
        MappedRow(row_error="broken"),
    ]
    found = describe_cuts(rows, str(tiny_checkpoint))
    assert [text.partition(" that the model")[0].split()[-1] for text in found] == [
        "images",
        "descriptions",
        "attributes",
    ]
    assert found[0].startswith("1 of 2 products have more than the 2 images that the model reads, such as product 'a'")


def test_products_within_the_budgets_and_a_folder_without_a_model_say_nothing(tmp_path: Path) -> None:
    rows = [MappedRow("a", "Mug", "tea", ["Home"], {"colour": "red"})]
    assert describe_cuts(rows, None) == []
    assert describe_cuts([MappedRow("a", "Mug " * 500)], str(tmp_path)) == []


def test_the_shipped_models_budgets_are_tokens() -> None:
    assert describe_cuts([MappedRow("a", "Mug " * 500)], None)[0].startswith(
        "1 of 1 products have more than the 64 tokens of titles"
    )
