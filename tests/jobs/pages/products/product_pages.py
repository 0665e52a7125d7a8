"""Makes the pages of single products for a served shop, for tests that read or open them."""

from pathlib import Path

from jobs.lake.store import open_lake
from jobs.pages.page import save_page
from jobs.pages.products.duplicates_page import draw_duplicates
from jobs.pages.products.explain_page import draw_explanation
from jobs.pages.products.search_page import draw_search
from jobs.serving.duplicates import find_duplicates, read_served_vectors
from jobs.serving.explain import explain_product
from jobs.settings import Settings


def make_product_pages(settings: Settings, folder: Path, product_id: str, query: str) -> dict[str, Path]:
    """Write the pages of `moon explain`, `moon duplicates` and `moon search` and return their paths by name.

    No model is loaded: the hits of the search are the product's neighbours.

    Args:
        settings: a served lake and its Milvus.
        folder: where the pages are written.
        product_id: a served product.
        query: text of the search.
    """
    lake, found = open_lake(settings), explain_product(settings, product_id)
    assert found.held is not None, found.problems
    served = read_served_vectors(lake, found.collection, found.model_version)
    groups = find_duplicates(served, 0.5)
    pages = {
        "explain": draw_explanation(settings, found),
        "duplicates": draw_duplicates(lake, settings, groups, min_score=0.5, compared=len(served.products)),
        "search": draw_search(settings, found.held.neighbours, text=query, expression='brand != "<i>"'),
    }
    for name, page in pages.items():
        save_page(folder / f"{name}.html", page)
    return {name: folder / f"{name}.html" for name in pages}
