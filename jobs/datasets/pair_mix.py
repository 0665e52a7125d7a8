"""How many queries of each kind training gets (paper, "Training data": 12 image : 3 text : 2 multimodal)."""

from bisect import bisect_right
from collections.abc import Mapping

QUERY_MIX: Mapping[str, int] = {"image": 12, "text": 3, "both": 2}


def fit_query_mix(free: int, image: int, text: int) -> tuple[dict[str, int], dict[str, int]]:
    """Find the most pairs in the mix that the purchases allow.

    Args:
        free: purchases asked for by text and photo; each may serve as any kind.
        image: by a photo alone.
        text: by text alone.

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

    # Without free purchases the rarer kind sets the size; then `borrowed` has to stay nothing.
    most = bisect_right(range(free + image + text + 1), free, key=lambda pairs: sum(borrowed(pairs).values())) - 1
    return (wanted(most), borrowed(most)) if possible else ({}, {})
