"""A projector by ridge regression, so that a photo already lands near its title before any training."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from moon_model.demo.photo import take_photo
from moon_model.demo.world import DemoWorld
from moon_model.import_compact.decoder import compact_backbone
from moon_model.modeling_moon import MoonModel
from moon_model.processing_moon import MoonProcessor
from moon_model.product import Product

_RIDGE = 0.01


@dataclass(frozen=True)
class Captioned:
    """A photo and a few words that say what it shows."""

    image: Image.Image
    text: str


@dataclass(frozen=True)
class Measured:
    """Photos after the vision tower.

    Attributes:
        cells: grid cells pooled as the projector does, [N, tokens_per_view, 1280].
        targets: mean token embedding of each photo's words, [N, D].
    """

    cells: Tensor
    targets: Tensor


@torch.inference_mode()
def measure(model: MoonModel, processor: MoonProcessor, pairs: Iterable[Captioned]) -> Measured:
    """Run the vision tower over photos and look up their words."""
    cells, targets = [], []
    backbone = compact_backbone(model)
    side = backbone.projector.side
    for pair in pairs:
        pixels = processor.views.collate([processor.views.prepare(pair.image)])["pixel_values"]
        cells.append(F.adaptive_avg_pool2d(backbone.vision(pixels), side).flatten(2).transpose(1, 2)[0])
        words = processor.prepare(Product(id="", title=pair.text))
        ids = torch.from_numpy(words.input_ids[words.segment_ids > 0])
        targets.append(backbone.decoder.embed_tokens(ids).mean(0))
    return Measured(torch.stack(cells), torch.stack(targets))


@torch.no_grad()
def fit_projector(model: MoonModel, photos: Measured) -> float:
    """Set the projector so that the mean of a photo's visual tokens is near the mean embedding of its words.

    The first layer whitens the cells' principal axes; the second is the ridge regression from its (averaged)
    activations to the targets.

    Returns:
        Share of the targets' variance that is explained on these photos.
    """
    projector = compact_backbone(model).projector
    cells, targets = photos.cells, photos.targets
    flat = cells.flatten(0, 1)
    mean = flat.mean(0)
    spread, axes = torch.linalg.eigh(torch.cov(flat.T))
    width = projector.fc1.weight.shape[0]
    first = (axes[:, -width:] / spread[-width:].clamp(min=1e-6).sqrt()).T
    projector.fc1.weight.copy_(first)
    projector.fc1.bias.copy_(-first @ mean)
    hidden = F.gelu(projector.fc1(cells)).mean(1).double()
    centre, offset = hidden.mean(0), targets.double().mean(0)
    design, wanted = hidden - centre, targets.double() - offset
    gram = design.T @ design
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    second = torch.linalg.solve(gram, design.T @ wanted).T
    projector.fc2.weight.copy_(second)
    projector.fc2.bias.copy_(offset - second @ centre)
    return 1.0 - float((design @ second.T - wanted).square().sum() / wanted.square().sum())


def demo_photos(seed: int, count: int, size: int = 224) -> Iterator[Captioned]:
    """Draw photos of the demo world, each with colour, pattern and type as its words."""
    world = DemoWorld(seed)
    for index in range(count):
        product = world.product(index)
        words = f"{product.colour} {product.pattern} {product.type.replace('_', ' ')}"
        yield Captioned(take_photo(product, 0, size=size).image, words)
