import math
import re
from collections import Counter

import numpy as np
import pytest

from demo_shop.queries import QUERY_FACTS, draw_query
from demo_shop.world import DemoProduct, DemoWorld

WORLD = DemoWorld(21)
PRODUCTS = [WORLD.get_product(i) for i in range(600)]


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def document(product: DemoProduct) -> list[str]:
    parts = [product.title, product.description, *product.category, *product.attributes.values()]
    return tokens(" ".join(parts))


def test_a_query_fits_its_own_product_and_only_equals() -> None:
    query = draw_query(PRODUCTS[0], np.random.default_rng(0))
    assert query.matches(PRODUCTS[0])
    for product in PRODUCTS:
        same = all(getattr(product, fact) == getattr(PRODUCTS[0], fact) for fact in QUERY_FACTS)
        assert query.matches(product) == same


@pytest.mark.parametrize("facts", [("type",), ("type", "colour"), ("type", "pattern"), QUERY_FACTS])
def test_texts_are_clean_and_name_only_what_was_asked(facts: tuple[str, ...]) -> None:
    for index in range(60):
        query = draw_query(PRODUCTS[index], np.random.default_rng(index), facts)
        assert not re.search(r"\s\s|\s,|^[\s,:]|[\s,:]$|\{", query.text)
        assert [bool(getattr(query, fact)) for fact in QUERY_FACTS] == [fact in facts for fact in QUERY_FACTS]


def test_queries_repeat_by_seed_and_vary() -> None:
    texts = [draw_query(PRODUCTS[1], np.random.default_rng(seed)).text for seed in range(10)]
    assert texts == [draw_query(PRODUCTS[1], np.random.default_rng(seed)).text for seed in range(10)]
    assert len(set(texts)) > 5


def test_nonsense_is_refused() -> None:
    for facts in ((), ("price",)):
        with pytest.raises(ValueError, match="at least one of"):
            draw_query(PRODUCTS[0], np.random.default_rng(0), facts)


@pytest.mark.parametrize("count", [100, len(PRODUCTS)])
def test_comparing_words_is_not_enough(count: int) -> None:
    """TF-IDF finds a fitting product among its first ten for at most 60% of the queries."""
    products = PRODUCTS[:count]
    documents = [document(product) for product in products]
    frequency = Counter(word for words in documents for word in set(words))
    weight = {word: math.log((1 + len(documents)) / (1 + count)) + 1 for word, count in frequency.items()}
    places = {word: place for place, word in enumerate(weight)}
    matrix = np.zeros((len(documents), len(places)))
    for row, words in zip(matrix, documents, strict=True):
        for word in words:
            row[places[word]] += weight[word]
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    rng, hits = np.random.default_rng(0), 0
    for product in products:
        query = draw_query(product, rng)
        known = [places[word] for word in tokens(query.text) if word in places]
        scores = (matrix[:, known] * [weight[list(places)[place]] for place in known]).sum(axis=1)
        hits += any(query.matches(products[place]) for place in np.argsort(-scores, kind="stable")[:10])
    assert 0.25 <= hits / count <= 0.60
