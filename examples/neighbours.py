"""Prints the nearest neighbours of products in a small shop, and the best products for three queries.

python examples/neighbours.py [FOLDER]      (default ../shared/data/eshop: catalog.json and Pics/<Id>.webp)
"""

import json
import sys
from pathlib import Path

from moon_model.encoder import MoonEncoder
from moon_model.product import Product

QUERIES = ["waterproof jacket for winter", "rope for climbing", "running shoes"]


def main(folder: Path) -> None:
    """Print three neighbours of every tenth product, and the three best products for each query.

    Args:
        folder: folder with ``catalog.json`` and ``Pics/<Id>.webp``.
    """
    shop = json.loads((folder / "catalog.json").read_text())
    products = [
        Product(item["Id"], item["Name"], item["Description"], item["Type"], {"brand": item["Brand"]},
                images=[folder / "Pics" / f"{item['Id']}.webp"])
        for item in shop
    ]  # fmt: skip
    encoder = MoonEncoder.from_pretrained()
    vectors = encoder.encode(products, progress=True)  # float32 [N, D], of length 1
    for index in range(0, len(products), 10):
        nearest = (vectors @ vectors[index]).argsort()[::-1][1:4]
        print(f"{products[index].title}: {'; '.join(products[other].title for other in nearest)}")
    for query, vector in zip(QUERIES, encoder.encode_queries(QUERIES), strict=True):
        print(f"? {query}: {'; '.join(products[best].title for best in (vectors @ vector).argsort()[::-1][:3])}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data" / "eshop")
