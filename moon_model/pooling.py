"""From hidden states to one vector a product: masked means, L2 norm, Matryoshka sizes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from moon_model.configuration_moon import Pooling, Segment


def pool(hidden: Tensor, segment_ids: Tensor, pooling: Pooling, text_share: float = 0.5) -> Tensor:
    """Average hidden states [B, L, D] over the tokens whose segment is not NONE; returns float32 [B, D].

    "tokens" (paper): every visual and text token counts the same. "segments" (ours): the mean of the means of
    the segments present, so that many image tokens do not drown a title. "modalities" (ours): the mean of the visual
    tokens and, with weight ``text_share``, the mean of the text tokens, both at length 1 before they are weighed, for
    the mean of alike patches is a long vector and that of different words a short one. A row without any token gives
    zeros.
    """
    pooled = segment_ids != Segment.NONE
    if pooling == "tokens":
        return _mean(hidden, pooled)
    if pooling == "segments":
        return _mean_of_segments(hidden, segment_ids)
    visual = (segment_ids == Segment.IMAGE) | (segment_ids == Segment.CROP)
    words = pooled & ~visual
    return (1.0 - text_share) * normalise_vectors(_mean(hidden, visual)) + text_share * normalise_vectors(
        _mean(hidden, words)
    )


def normalise_vectors(vectors: Tensor) -> Tensor:
    """Scale the last axis to length 1 in float32; a zero vector stays zero."""
    return F.normalize(vectors.float(), dim=-1)


def truncate_embedding(embedding: Tensor, dim: int) -> Tensor:
    """Matryoshka: keep the first ``dim`` components [..., D] -> [..., dim] and renormalise them.

    Raises ValueError when ``dim`` does not lie in 1..D. Only sizes the model was trained for
    (``MoonConfig.matryoshka_dims``) keep their quality.
    """
    if not 1 <= dim <= embedding.shape[-1]:
        raise ValueError(f"dim must lie in 1..{embedding.shape[-1]}, got {dim}")
    return normalise_vectors(embedding[..., :dim])


def _mean(hidden: Tensor, member: Tensor) -> Tensor:
    """Mean of hidden states [B, L, D] where ``member`` [B, L] says so: float32 [B, D], zeros where it never does."""
    weights = member.float() / member.sum(1, keepdim=True).clamp(min=1)  # a model that loads changes torch's default
    return torch.bmm(weights[:, None, :], hidden.float()).squeeze(1)


def _mean_of_segments(hidden: Tensor, segment_ids: Tensor) -> Tensor:
    member = F.one_hot(segment_ids, len(Segment))[..., 1:].float()  # [B, L, segments]; the first is NONE
    count = member.sum(1)  # [B, segments]
    present = (count > 0).sum(1, keepdim=True).clamp(min=1)
    means = torch.bmm(member.transpose(1, 2), hidden.float()) / count.clamp(min=1)[..., None]  # [B, segments, D]
    return means.sum(1) / present
