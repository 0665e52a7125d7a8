"""Pooling of hidden states to one vector per product: masked means, L2 norm, Matryoshka sizes.

Shape letters: B products, L positions, D hidden size, S segments without NONE.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from moon_model.configuration_moon import Pooling, Segment


def pool(hidden: Tensor, segment_ids: Tensor, pooling: Pooling, text_share: float = 0.5) -> Tensor:
    """Average hidden states over the tokens whose segment is not NONE: float32 [B, D], not normalised.

    Args:
        hidden: hidden states [B, L, D].
        segment_ids: int64 [B, L], the ``Segment`` of each token. A row without pooled tokens gives zeros.
        pooling: "tokens" (paper): the mean over all visual and text tokens. "segments" (ours): the mean of the means
            of the segments present, so that many image tokens do not outweigh a title. "modalities" (ours): the
            weighted sum of the mean of the visual tokens and the mean of the text tokens. Each is scaled to length 1
            first, because the mean of similar patches is a long vector and that of different words a short one
            (docs/decisions/0023-pooling-by-modality.md).
        text_share: weight of the text tokens in "modalities", in (0, 1).
    """
    pooled_BL = segment_ids != Segment.NONE
    if pooling == "tokens":
        return _average_tokens(hidden, pooled_BL)
    if pooling == "segments":
        return _average_segments(hidden, segment_ids)
    # "modalities": unit vectors of the visual tokens and of the text tokens, then their weighted sum.
    visual_BL = (segment_ids == Segment.IMAGE) | (segment_ids == Segment.CROP)
    visual_BD = normalise_vectors(_average_tokens(hidden, visual_BL))
    text_BD = normalise_vectors(_average_tokens(hidden, pooled_BL & ~visual_BL))
    return (1.0 - text_share) * visual_BD + text_share * text_BD


def normalise_vectors(vectors: Tensor) -> Tensor:
    """Scale the last axis to length 1 in float32; a zero vector stays zero."""
    return F.normalize(vectors.float(), dim=-1)


def truncate_embedding(embedding: Tensor, dim: int) -> Tensor:
    """The first ``dim`` components of vectors [..., D], scaled to length 1: [..., dim] (Matryoshka).

    Only the sizes that a model was trained for (``MoonConfig.matryoshka_dims``) keep their quality.

    Raises:
        ValueError: ``dim`` is not in 1..D.
    """
    if not 1 <= dim <= embedding.shape[-1]:
        raise ValueError(f"dim must be in 1..{embedding.shape[-1]}, got {dim}")
    return normalise_vectors(embedding[..., :dim])


def _average_tokens(hidden_BLD: Tensor, member_BL: Tensor) -> Tensor:
    """Mean of the hidden states where ``member_BL`` is True, float32 [B, D]; zeros for a row without any."""
    # The weight of each member is 1 / number of members. float32 is explicit, because loading a model in another thread
    # changes torch's default dtype.
    weights_BL = member_BL.float() / member_BL.sum(1, keepdim=True).clamp(min=1)
    return torch.bmm(weights_BL[:, None, :], hidden_BLD.float()).squeeze(1)


def _average_segments(hidden_BLD: Tensor, segment_ids_BL: Tensor) -> Tensor:
    """Mean of the means of the segments present, float32 [B, D]; zeros for a row without any."""
    # The tokens of each segment, and their number.
    member_BLS = F.one_hot(segment_ids_BL, len(Segment))[..., 1:].float()  # the first segment is NONE
    count_BS = member_BLS.sum(1)
    # Mean of each segment (zeros where it is absent), then the mean over the segments present.
    present_B1 = (count_BS > 0).sum(1, keepdim=True).clamp(min=1)
    means_BSD = torch.bmm(member_BLS.transpose(1, 2), hidden_BLD.float()) / count_BS.clamp(min=1)[..., None]
    return means_BSD.sum(1) / present_B1
