import pytest
import torch

from moon_model.pooling import normalise_vectors, pool, truncate_embedding

SEGMENTS = torch.tensor([[0, 1, 1, 1, 2, 3, 0, 4, 5, 0], [0, 3, 3, 0, 0, 0, 0, 0, 0, 0], [0] * 10])


@pytest.fixture
def hidden():
    return torch.randn(3, 10, 8, generator=torch.Generator().manual_seed(0))


def test_tokens_is_the_mean_over_everything_but_none(hidden):
    pooled = pool(hidden, SEGMENTS, "tokens")
    torch.testing.assert_close(pooled[0], hidden[0, [1, 2, 3, 4, 5, 7, 8]].mean(0))
    torch.testing.assert_close(pooled[1], hidden[1, 1:3].mean(0))


def test_segments_is_the_mean_of_segment_means(hidden):
    pooled = pool(hidden, SEGMENTS, "segments")
    means = [hidden[0, 1:4].mean(0), hidden[0, 4], hidden[0, 5], hidden[0, 7], hidden[0, 8]]
    torch.testing.assert_close(pooled[0], torch.stack(means).mean(0))
    torch.testing.assert_close(pooled[1], hidden[1, 1:3].mean(0))


def test_modalities_weigh_words_against_pictures(hidden):
    pooled = pool(hidden, SEGMENTS, "modalities", 0.7)
    visual, words = normalise_vectors(hidden[0, [1, 2, 3, 4]].mean(0)), normalise_vectors(hidden[0, [5, 7, 8]].mean(0))
    torch.testing.assert_close(pooled[0], 0.3 * visual + 0.7 * words)


def test_a_modality_alone_is_its_mean_whatever_its_share(hidden):
    vectors = normalise_vectors(pool(hidden, SEGMENTS, "modalities", 0.7))
    torch.testing.assert_close(vectors[1], normalise_vectors(hidden[1, 1:3].mean(0)))


def test_long_vectors_of_a_modality_do_not_outweigh_the_other(hidden):
    scaled = torch.where((SEGMENTS == 1)[..., None] | (SEGMENTS == 2)[..., None], 50 * hidden, hidden)
    torch.testing.assert_close(pool(scaled, SEGMENTS, "modalities"), pool(hidden, SEGMENTS, "modalities"))


@pytest.mark.parametrize("how", ["tokens", "segments", "modalities"])
def test_a_row_without_tokens_gives_zeros_not_nan(hidden, how):
    assert torch.equal(normalise_vectors(pool(hidden, SEGMENTS, how))[2], torch.zeros(8))


def test_pools_bfloat16_in_float32(hidden):
    half = hidden.bfloat16()
    torch.testing.assert_close(pool(half, SEGMENTS, "tokens"), pool(half.float(), SEGMENTS, "tokens"))


def test_truncate_keeps_the_head_and_renormalises():
    vector = normalise_vectors(torch.tensor([[3.0, 4.0, 12.0]]))
    torch.testing.assert_close(truncate_embedding(vector, 2), torch.tensor([[0.6, 0.8]]))
    for dim in (0, 4):
        with pytest.raises(ValueError, match=r"1\.\.3"):
            truncate_embedding(vector, dim)
