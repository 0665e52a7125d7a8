"""From hidden states to one vector a product: masked means, L2 norm, Matryoshka sizes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from moon_model.configuration_moon import Pooling, Segment


def pool(hidden: Tensor, segment_ids: Tensor, how: Pooling, text_share: float = 0.5) -> Tensor:
    """Average hidden states [B, L, D] over the tokens whose segment is not NONE; returns float32 [B, D].

    "tokens" (paper): every visual and text token counts the same. "segments" (ours): the mean of the means of
    the segments present, so that many image tokens do not drown a title. "modalities" (ours): the mean of the visual
    tokens and, with weight ``text_share``, the mean of the text tokens; a row that has only one of both is its mean. A
    row without any token gives zeros.
    """
    weights = _token_weights(segment_ids, how, text_share)
    return torch.bmm(weights[:, None, :], hidden.float()).squeeze(1)


def normalise(vectors: Tensor) -> Tensor:
    """Scale the last axis to length 1 in float32; a zero vector stays zero."""
    return F.normalize(vectors.float(), dim=-1)


def truncate(embedding: Tensor, dim: int) -> Tensor:
    """Matryoshka: keep the first ``dim`` components [..., D] -> [..., dim] and renormalise them.

    Raises ValueError when ``dim`` does not lie in 1..D. Only sizes the model was trained for
    (``MoonConfig.matryoshka_dims``) keep their quality.
    """
    if not 1 <= dim <= embedding.shape[-1]:
        raise ValueError(f"dim must lie in 1..{embedding.shape[-1]}, got {dim}")
    return normalise(embedding[..., :dim])


def _token_weights(segment_ids: Tensor, how: Pooling, text_share: float) -> Tensor:
    """Weight of each token in the mean, float32 [B, L]; a row sums to 1, or to 0 without tokens."""
    pooled = segment_ids != Segment.NONE
    if how == "tokens":
        return pooled / pooled.sum(1, keepdim=True).clamp(min=1)
    if how == "segments":
        groups, weights = segment_ids, [0.0] + [1.0] * (len(Segment) - 1)
    else:
        visual = (segment_ids == Segment.IMAGE) | (segment_ids == Segment.CROP)
        groups, weights = pooled.long() * (2 - visual.long()), [0.0, 1.0 - text_share, text_share]
    member = F.one_hot(groups, len(weights)).float()  # [B, L, groups], the first of them unpooled
    count = member.sum(1)  # [B, groups]
    given = torch.tensor(weights, device=count.device) * (count > 0)
    share = given / given.sum(1, keepdim=True).clamp(min=torch.finfo(given.dtype).tiny) / count.clamp(min=1)
    return torch.bmm(member, share[:, :, None]).squeeze(-1)
