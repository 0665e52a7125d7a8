"""Computes how many queries of each kind training gets (paper, "Training data": 12 image : 3 text : 2 multimodal)."""

from bisect import bisect_right
from collections.abc import Mapping

QUERY_MIX: Mapping[str, int] = {"image": 12, "text": 3, "both": 2}


def fit_query_mix(free: int, image: int, text: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the largest numbers of pairs in the mix that the purchases allow.

    Args:
        free: purchases whose query has text and photo; each may be used as any kind.
        image: purchases whose query has only a photo.
        text: purchases whose query has only text.

    Returns:
        Pairs wanted of each kind, and how many of them the free purchases give. A kind that no purchase allows is
        left out; the others keep their proportion.
    """
    own = {"image": image, "text": text, "both": 0}
    possible = {kind: QUERY_MIX[kind] for kind in QUERY_MIX if own[kind] + free}
    parts = sum(possible.values())

    def wanted(pairs: int) -> dict[str, int]:
        return {kind: pairs * part // parts for kind, part in possible.items()}

    def borrowed(pairs: int) -> dict[str, int]:
        return {kind: max(0, count - own[kind]) for kind, count in wanted(pairs).items()}

    # Without free purchases the rarer kind limits the size, and `borrowed` must be 0.
    most = bisect_right(range(free + image + text + 1), free, key=lambda pairs: sum(borrowed(pairs).values())) - 1
    return (wanted(most), borrowed(most)) if possible else ({}, {})
