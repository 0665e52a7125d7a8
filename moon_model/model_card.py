"""Writes the README.md of a compactly stored model from the files in its folder."""

import json
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from moon_model import checkpoint_dir
from moon_model.checkpoint import count_folder_bytes, measure_parts
from moon_model.configuration_moon import MoonConfig

CARD_FILE = "README.md"


def write_model_card(folder: Path, made: str, results: str = "") -> Path:
    """Write ``README.md`` for a compactly stored model.

    Args:
        folder: folder with weights, ``config.json`` and tokenizer.
        made: text about the training: sources, data, hardware, time.
        results: Markdown with measurements; "" leaves the section out.

    Returns:
        The file.
    """
    config = MoonConfig.from_pretrained(folder)
    sizes = measure_parts(folder)
    environment = Environment(loader=PackageLoader("moon_model"), undefined=StrictUndefined, trim_blocks=True)  # noqa: S701
    text = environment.get_template("model_card.md.j2").render(
        name=folder.name, config=config, base=config.text_config, made=made, results=results, sizes=sizes,
        parameters=sum(row.parameters for row in sizes), stored=count_folder_bytes([folder]),
        detector=count_folder_bytes([checkpoint_dir("detector")]),
        versions={name: version(name) for name in ("torch", "transformers")},
        fields=json.loads((folder / "config.json").read_text()),
    )  # fmt: skip
    card = folder / CARD_FILE
    card.write_text(text)
    return card
