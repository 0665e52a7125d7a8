import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from moon_model import guided_moe
from moon_model.configuration_moon import Segment
from moon_model.guided_moe import Guide, GuidedMoE, RouterStats

DIM, WIDTH = 32, 48


@pytest.fixture
def make_moe(tiny_compact_config):
    def make(seed: int = 0, **fields) -> GuidedMoE:
        torch.manual_seed(seed)
        moe = GuidedMoE(tiny_compact_config(**fields))
        moe.reset_parameters(0.15)
        return moe

    return make


def random_batch(seed, batch=3, length=9):
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, length, DIM, generator=draw)
    lengths = torch.randint(1, length + 1, (batch, 1), generator=draw)
    mask = (torch.arange(length) < lengths).long()
    segments = torch.randint(0, len(Segment), (batch, length), generator=draw) * mask
    return hidden, mask, segments


def run(moe, hidden, mask, segments):
    return moe(hidden, Guide.build(mask, segments, moe.num_experts))


def expert(moe, number, token):
    gate, up = (moe.gate_up_proj[number] @ token).chunk(2)
    return moe.down_proj[number] @ (F.silu(gate) * up)


def per_token_reference(moe, hidden, mask, segments):
    """The definition, one token and one expert at a time."""
    out = torch.zeros_like(hidden)
    for at in mask.nonzero().tolist():
        token, segment = hidden[tuple(at)], int(segments[tuple(at)])
        logits = moe.router.weight @ token
        scores = logits.softmax(0) if moe.router_score == "softmax" else logits.sigmoid()
        best = sorted(range(len(scores)), key=lambda number: (-scores[number].item(), number))[: moe.top_k]
        weights = {number: scores[number] / sum(scores[other] for other in best) for number in best}
        guided = {Segment.CATEGORY: moe.num_experts - 2, Segment.ATTRIBUTE: moe.num_experts - 1}.get(segment)
        if guided is not None:
            share = 1.0 if moe.soft_weight is None else moe.soft_weight
            weights = {number: weight * (1 - share) for number, weight in weights.items()} | {guided: share}
        out[tuple(at)] = sum(weight * expert(moe, number, token) for number, weight in weights.items())
    return out


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("guidance", ["hard", "soft"])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_dispatch_equals_the_per_token_reference(make_moe, guidance, top_k, score, grouped, monkeypatch):
    if not grouped:
        monkeypatch.setattr(guided_moe, "_has_grouped_mm", lambda rows, weight: False)
    moe = make_moe(guidance=guidance, num_experts_per_token=top_k, router_score=score, soft_guidance_weight=0.3)
    batch = random_batch(top_k)
    with torch.inference_mode():
        got, _ = run(moe, *batch)
        torch.testing.assert_close(got, per_token_reference(moe, *batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("guidance", ["hard", "soft"])
def test_gradients_equal_those_of_the_per_token_reference(make_moe, guidance):
    moe = make_moe(guidance=guidance)
    hidden, mask, segments = random_batch(4)
    gradients = []
    for dispatch in (lambda *batch: run(moe, *batch)[0], lambda *batch: per_token_reference(moe, *batch)):
        moe.zero_grad()
        inputs = hidden.clone().requires_grad_()
        dispatch(inputs, mask, segments).square().sum().backward()
        gradients.append([inputs.grad, *[weight.grad.clone() for weight in moe.parameters()]])
    for got, want in zip(*gradients, strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@given(seed=st.integers(0, 10_000), guidance=st.sampled_from(["hard", "soft"]))
@settings(max_examples=25, deadline=None)
def test_a_token_does_not_depend_on_its_company(tiny_compact_config, seed, guidance):
    torch.manual_seed(0)
    moe = GuidedMoE(tiny_compact_config(guidance=guidance))
    moe.reset_parameters(0.15)
    hidden, mask, segments = random_batch(seed)
    with torch.inference_mode():
        together, _ = run(moe, hidden, mask, segments)
        for row in range(len(hidden)):
            kept = int(mask[row].sum())
            alone, _ = run(moe, hidden[None, row, :kept], mask[None, row, :kept], segments[None, row, :kept])
            torch.testing.assert_close(alone[0], together[row, :kept], atol=1e-5, rtol=0)


def test_hard_guidance_sends_a_token_to_its_expert_and_to_no_other(make_moe):
    moe = make_moe()
    hidden, mask, segments = random_batch(3, batch=4, length=20)
    _, before = run(moe, hidden, mask, segments)
    guided = {3: Segment.CATEGORY, 4: Segment.ATTRIBUTE}
    for number, segment in guided.items():
        assert before.tokens_per_expert[number] == (segments == segment).sum() > 0
    with torch.no_grad():  # a broken FFN_cate must spoil the category tokens and nothing else
        old, _ = run(moe, hidden, mask, segments)
        moe.down_proj[3] += 1.0
        new, _ = run(moe, hidden, mask, segments)
    changed = (old != new).any(-1)
    assert torch.equal(changed, segments == Segment.CATEGORY)
    with torch.no_grad():  # and broken general experts must spoil everything but the guided tokens
        moe.down_proj[:3] += 1.0
        newer, _ = run(moe, hidden, mask, segments)
    free = mask.bool() & (segments != Segment.CATEGORY) & (segments != Segment.ATTRIBUTE)
    assert torch.equal((new != newer).any(-1), free)


def test_without_category_and_attributes_both_guided_experts_idle(make_moe):
    for guidance in ("hard", "soft"):
        hidden, mask, _ = random_batch(4)
        _, stats = run(make_moe(guidance=guidance), hidden, mask, mask * Segment.TITLE)
        assert stats.tokens_per_expert[3:].tolist() == [0, 0]
        assert stats.tokens_per_expert[:3].sum() == 2 * mask.sum()


@pytest.mark.parametrize("guidance", ["hard", "soft"])
def test_gradients_reach_every_expert_and_the_router(make_moe, guidance):
    moe = make_moe(guidance=guidance)
    hidden, mask, segments = random_batch(5, batch=6, length=30)
    out, stats = run(moe, hidden, mask, segments)
    (out.pow(2).sum() + stats.balance_loss).backward()
    for weight in (moe.gate_up_proj, moe.down_proj):
        assert (weight.grad.flatten(1).abs().amax(1) > 0).all()
    assert (moe.router.weight.grad.abs().amax(1) > 0).all()


def test_padding_costs_nothing_and_stays_zero(make_moe):
    moe = make_moe()
    hidden, mask, segments = random_batch(6)
    hidden = hidden.masked_fill(~mask.bool()[..., None], float("nan"))
    out, stats = run(moe, hidden, mask, segments)
    assert torch.equal(out[~mask.bool()], torch.zeros(int((1 - mask).sum()), DIM))
    assert out.isfinite().all()
    assert stats.balance_loss.isfinite()


def test_balance_loss_falls_when_routing_evens_out(make_moe):
    moe = make_moe()
    hidden, mask, segments = random_batch(7, batch=4, length=40)
    segments = segments.clamp(max=Segment.TITLE)
    hidden = hidden.abs()  # a router row of ones then wins everywhere
    losses = {}
    for name, pull in (("one expert", 1.0), ("even", 0.0)):
        with torch.no_grad():
            moe.router.weight.normal_(0.0, 1e-3, generator=torch.Generator().manual_seed(0))
            moe.router.weight[0] += pull
        losses[name] = run(moe, hidden, mask, segments)[1].balance_loss.item()
    assert losses["even"] == pytest.approx(1.0, abs=0.05)
    # top-2 of 3: expert 0 has half of the slots and all of the probability, so 3 · 0.5
    assert losses["one expert"] == pytest.approx(1.5, abs=0.05)


def test_training_on_the_balance_loss_evens_the_routing_out(make_moe):
    moe = make_moe()
    hidden, mask, _ = random_batch(7, batch=4, length=40)
    with torch.no_grad():
        moe.router.weight.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(0))
        moe.router.weight[0] += 0.1
    optimiser = torch.optim.Adam([moe.router.weight], lr=0.01)
    hidden = hidden + 0.5  # so that the row above prefers expert 0
    losses, largest = [], []
    for _ in range(100):
        stats = run(moe, hidden, mask, mask * Segment.TITLE)[1]
        optimiser.zero_grad()
        stats.balance_loss.backward()
        optimiser.step()
        losses.append(stats.balance_loss.item())
        largest.append((stats.tokens_per_expert.max() / stats.tokens_per_expert.sum()).item())
    assert losses[-1] < losses[0] - 0.02
    assert largest[-1] < 0.4 < largest[0]


def test_guided_tokens_do_not_enter_the_balance_loss_in_hard_mode(make_moe):
    moe = make_moe()
    hidden, mask, segments = random_batch(8)
    free = ~((segments == Segment.CATEGORY) | (segments == Segment.ATTRIBUTE))
    with_guided = run(moe, hidden, mask, segments)[1].balance_loss
    alone = hidden[mask.bool() & free][None]
    without = run(moe, alone, torch.ones(alone.shape[:2]), torch.zeros(alone.shape[:2], dtype=torch.long))[1]
    torch.testing.assert_close(with_guided, without.balance_loss)


def test_ties_go_to_the_lower_expert(make_moe):
    moe = make_moe()
    with torch.no_grad():
        moe.router.weight.zero_()
    hidden, mask, _ = random_batch(9)
    _, stats = run(moe, hidden, mask, mask * Segment.TITLE)
    real = int(mask.sum())
    assert stats.tokens_per_expert.tolist() == [real, real, 0, 0, 0]


@pytest.mark.parametrize("guidance", ["hard", "soft"])
def test_copies_compute_the_dense_ffn(make_moe, guidance):
    moe = make_moe(guidance=guidance)
    gate, up = torch.randn(2, WIDTH, DIM) * 0.3
    down = torch.randn(DIM, WIDTH) * 0.3
    moe.copy_dense(gate, up, down)
    hidden, mask, segments = random_batch(10)
    dense = (F.silu(hidden @ gate.T) * (hidden @ up.T)) @ down.T
    got, _ = run(moe, hidden, mask, segments)
    torch.testing.assert_close(got, dense * mask[..., None], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="moe_intermediate_size"):
        moe.copy_dense(gate[:10], up[:10], down[:, :10])


def test_perturbation_is_seeded_and_separates_copies(make_moe):
    gate, up, down = torch.randn(WIDTH, DIM), torch.randn(WIDTH, DIM), torch.randn(DIM, WIDTH)
    moes = [make_moe() for _ in range(3)]
    for moe, seed in zip(moes, (1, 1, 2), strict=True):
        moe.copy_dense(gate, up, down)
        moe.perturb(0.01, seed)
    assert torch.equal(moes[0].gate_up_proj, moes[1].gate_up_proj)
    assert not torch.equal(moes[0].gate_up_proj, moes[2].gate_up_proj)
    change = (moes[0].down_proj - down).flatten(1)
    assert (change[0] != change[1]).any()
    assert change.std().item() == pytest.approx(0.01 * down.std().item(), rel=0.1)


def test_bfloat16_layer_routes_in_float32(make_moe):
    moe = make_moe()
    hidden, mask, segments = random_batch(11)
    hidden = hidden.bfloat16()
    exact, stats = run(moe, hidden.float(), mask, segments)
    half, half_stats = run(moe.to(torch.bfloat16), hidden, mask, segments)
    assert half.dtype == torch.bfloat16
    assert half_stats.balance_loss.dtype == torch.float32
    torch.testing.assert_close(half.float(), exact, atol=0.05, rtol=0.05)
    assert stats.tokens_per_expert.sum() == half_stats.tokens_per_expert.sum()


def test_autocast_multiplies_in_bfloat16_but_routes_in_float32(make_moe):
    moe = make_moe()
    hidden, mask, segments = random_batch(12)
    exact, stats = run(moe, hidden, mask, segments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, cast_stats = run(moe, hidden, mask, segments)
    assert torch.equal(cast_stats.tokens_per_expert, stats.tokens_per_expert)
    assert torch.equal(cast_stats.balance_loss, stats.balance_loss)
    assert 0 < (cast - exact).abs().max() < 0.1


def test_sigmoid_scores_that_vanish_give_zeros_not_nan(make_moe):
    moe = make_moe(router_score="sigmoid")
    hidden, mask, _ = random_batch(13)
    with torch.no_grad():
        moe.router.weight.fill_(-1e4)
        out, _ = run(moe, hidden.abs(), mask, mask * Segment.TITLE)
    assert out.isfinite().all()


def test_a_batch_of_nothing_but_padding(make_moe):
    hidden, mask, segments = random_batch(14)
    out, stats = run(make_moe(), hidden, mask * 0, segments)
    assert torch.equal(out, torch.zeros_like(hidden))
    assert stats.tokens_per_expert.sum() == 0
    assert stats.balance_loss == 0


def test_guide_needs_no_index_when_nothing_is_padded():
    segments = torch.tensor([[Segment.TITLE, Segment.CATEGORY, Segment.ATTRIBUTE]])
    guide = Guide.build(torch.ones(1, 3), segments, num_experts=6)
    assert guide.index is None
    assert guide.expert.tolist() == [guided_moe.UNGUIDED, 4, 5]
    assert guide.guided == 2


def test_stats_of_a_model_without_moe_layers():
    stats = RouterStats.stack([], torch.zeros(1), 6)
    assert stats.tokens_per_expert.shape == (0, 6)
    assert stats.balance_loss == 0
