import json
from pathlib import Path

from jobs.catalog.model_limits import CutCounter
from moon_model import checkpoint_dir
from moon_model.processing_moon import MoonProcessor
from moon_model.product import Product
from moon_model.tokenization import encode_text
from schemas.product import ImageRef
from schemas.source import MappedRow


def describe_cuts(rows: list[MappedRow], checkpoint: str | None) -> list[str]:
    counter = CutCounter(checkpoint)
    for row in rows:
        counter.add(row)
    return counter.describe()


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


def test_tokens_are_counted_as_the_processor_of_the_model_makes_them(tmp_path: Path) -> None:
    rows = [MappedRow("a", "PILLOW " * 30)]  # one token each in lower case, several in upper case
    shipped = checkpoint_dir("moon-tiny")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    assert describe_cuts(rows, str(tmp_path)) == []  # the compact backbone's default
    (tmp_path / "processor_config.json").write_text('{"lowercase": false}')
    assert describe_cuts(rows, str(tmp_path))[0].startswith("1 of 1 products have more than the 64 tokens of titles")
    (tmp_path / "processor_config.json").write_text("{}")
    config = json.loads((tmp_path / "config.json").read_text())
    config["base_config"]["model_type"] = "qwen2_5_vl"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert describe_cuts(rows, str(tmp_path)) != []
    processor = MoonProcessor.from_pretrained(shipped)
    tokens = processor.prepare(Product("a", title="Pillow\u0301 blue")).num_tokens
    assert tokens == 1 + len(encode_text(processor.tokenizer, "pillow\u0301 BLUE", lowercase=True))


def test_html_is_no_text_of_the_model() -> None:
    assert describe_cuts([MappedRow("a", "<p>Mug</p>" * 30)], None) == []
