"""The detail branch against a dense computation, and its invariances."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from swiftpie.attention.condition import INLINE_MASK, silent_condition
from swiftpie.attention.processors import UNMASKED_SHARE, DetailAttention, Merge


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Attention(query_dim=24, heads=3, dim_head=8).requires_grad_(False)


@pytest.fixture
def processor():
    torch.manual_seed(1)
    return DetailAttention("x", width=24, heads=3, gate=0.8).requires_grad_(False)


def conditioned(num_references=1, **changes):
    generator = torch.Generator().manual_seed(2)
    silent = silent_condition(torch.zeros(2, 4, 8, 8), width=16)
    rows = torch.randn(2, 64, 24, generator=generator)
    values = torch.randn(2, 64, 24, generator=generator)
    return silent._replace(
        keys={"x": rows.repeat(1, num_references, 1)[:, None]},
        values={"x": values.repeat(1, num_references, 1)[:, None]},
        coverage=torch.ones(2, 1, num_references, 8, 8),
        detail_scale=torch.ones(2, 1),
        detail_background_scale=torch.ones(2, 1),
        **changes,
    )


SILENT = silent_condition(torch.zeros(1, 4, 8, 8), width=16)
STATES = torch.randn(2, 64, 24, generator=torch.Generator().manual_seed(3))
EVERYWHERE = dict.fromkeys(("detail_scale", "detail_background_scale"), torch.ones(1, 1))


def blocks():
    """States that are the same in each block of 2 x 2 tokens."""
    small = STATES[:, :16].unflatten(1, (4, 4))
    return small.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)


@pytest.mark.parametrize("merge", [Merge.DECOUPLED, Merge.JOINT])
def test_thinned_keys_stand_for_neighbours_that_equal_them(layer, merge):
    processor = DetailAttention("x", width=24, heads=3, gate=0.8, merge=merge)
    whole = processor(layer, blocks(), condition=conditioned(2), notes={})
    processor.stride = 2
    thinned = processor(layer, blocks(), condition=conditioned(2), notes={})
    assert torch.allclose(whole, thinned, atol=1e-5)
    other = processor(layer, STATES, condition=conditioned(2), notes={})
    processor.stride = 1
    assert not torch.allclose(
        processor(layer, STATES, condition=conditioned(2), notes={}), other, atol=1e-3
    )


def test_coarser_grids_keep_all_keys(layer, processor):
    coarse = STATES[:, :16]
    whole = processor(layer, coarse, condition=conditioned(), notes={})
    processor.stride = 2
    assert torch.equal(processor(layer, coarse, condition=conditioned(), notes={}), whole)


@pytest.fixture
def untrained():
    return DetailAttention(
        "x", width=24, heads=3, gate=0.0, merge=Merge.JOINT, own_projections=False
    ).requires_grad_(False)


def joined(layer, states, references, shares):
    """One softmax over a token's own keys and those of all subjects, written out; (N, D).

    `references` are inputs (R, N, D) of the layer for each subject, `shares` (N,) how much each
    token heeds it, 0 for not at all.
    """

    def heads(linear, rows):
        return linear(rows).double().unflatten(-1, (3, 8)).transpose(-3, -2)

    query, key, value = (heads(linear, states) for linear in (layer.to_q, layer.to_k, layer.to_v))
    keys, values, biases = [key], [value], [torch.zeros(64, 64).double()]
    for inputs, share in zip(references, shares, strict=True):
        rows = inputs.flatten(0, 1)
        keys.append(heads(layer.to_k, rows))
        values.append(heads(layer.to_v, rows))
        biases.append((share.double() / len(inputs)).log()[:, None].expand(-1, len(rows)))
    logits = query @ torch.cat(keys, dim=1).transpose(-1, -2) / 8**0.5 + torch.cat(biases, dim=1)
    mixed = logits.softmax(-1) @ torch.cat(values, dim=1)
    return layer.to_out[0](mixed.transpose(0, 1).flatten(1).float())


def shown(layer, branch, references, **changes):
    """The condition in which subjects, of inputs (R, N, D) each, are read by `layer` itself."""
    silent = silent_condition(torch.zeros(1, 4, 8, 8), width=16, num_subjects=len(references))
    pairs = [branch.project(layer, reference) for reference in references]
    keys, values = ([pair[side].flatten(0, 1) for pair in pairs] for side in (0, 1))
    return silent._replace(
        keys={"x": torch.stack(keys)[None]},
        values={"x": torch.stack(values)[None]},
        coverage=torch.ones(1, len(references), len(references[0]), 8, 8),
        **changes,
    )


def test_the_joint_form_without_training_is_reference_attention(layer, untrained):
    views = torch.randn(2, 64, 24, generator=torch.Generator().manual_seed(4))
    for scale in (0.3, 1.0, 4.0):
        condition = shown(layer, untrained, [views], detail_scale=torch.tensor([[scale]]))
        found = untrained(layer, STATES[:1], condition=condition, notes={})[0]
        expected = joined(layer, STATES[0], [views], [torch.full((64,), scale)])
        assert (found - expected).abs().max() < 1e-5


@pytest.fixture
def matched():
    return DetailAttention(
        "x", width=24, heads=3, gate=0.0, merge=Merge.MATCHED, own_projections=False
    ).requires_grad_(False)


def test_places_that_match_themselves_are_plain_attention_in_float64(layer, matched):
    layer, states = layer.double(), STATES[:1].double()
    plain = matched(layer, states, condition=SILENT, notes={})
    itself = shown(layer, matched, [states], **EVERYWHERE)
    torch.testing.assert_close(matched(layer, states, condition=itself, notes={}), plain)
    off = itself._replace(detail_scale=torch.zeros(1, 1), values={"x": 9 + itself.values["x"]})
    assert torch.equal(matched(layer, states, condition=off, notes={}), plain)


def test_values_of_the_reference_come_from_where_its_keys_are_most_alike(layer, matched):
    order = torch.randperm(64, generator=torch.Generator().manual_seed(4))
    elsewhere = STATES[:1, order]  # the same tokens
    condition = shown(layer, matched, [elsewhere], **EVERYWHERE)
    condition = condition._replace(values={"x": condition.values["x"] + 1})
    found = matched(layer, STATES[:1], condition=condition, notes={})
    whole = matched(layer, STATES[:1], condition=SILENT, notes={})
    ones = layer.to_out[0].weight.sum(1)  # each value has one more
    torch.testing.assert_close(found, whole + ones, atol=1e-5, rtol=1e-5)
    hidden = torch.zeros(1, 1, 1, 8, 8)  # of the background nothing is taken
    hidden[..., 0, 0] = 1
    seen = matched(layer, STATES[:1], condition=condition._replace(coverage=hidden), notes={})
    assert 0 < (seen - whole).abs().max() < (found - whole).abs().max()


def test_each_subject_is_joined_in_its_own_mask_alone(layer, untrained):
    one, other = torch.randn(2, 1, 64, 24, generator=torch.Generator().manual_seed(5))
    left, right, low = (torch.zeros(8, 8) for _ in range(3))
    left[:, :3], right[:, 5:], low[4:] = 1, 1, 1
    condition = shown(
        layer,
        untrained,
        [one, other],
        region=torch.stack([left, right])[None],
        detail_mask=torch.stack([torch.ones(8, 8), low])[None],
        detail_scale=torch.tensor([[1.0, 0.5]]),
    )
    found = untrained(layer, STATES[:1], condition=condition, notes={})[0]
    shares = [left.flatten(), 0.5 * (right * low).flatten()]
    assert (found - joined(layer, STATES[0], [one, other], shares)).abs().max() < 1e-5
    alone = untrained(layer, STATES[:1], condition=condition._replace(keys={}), notes={})[0]
    neither = (shares[0] + shares[1] == 0).nonzero().flatten()
    assert len(neither) == 64 - 24 - 12
    assert (found - alone)[neither].abs().max() < 1e-5
    assert (found - alone).abs().amax(-1)[shares[0] > 0].min() > 1e-3


def test_a_found_mask_limits_detail_after_the_layer_that_finds_it(layer, untrained):
    views = torch.randn(1, 64, 24, generator=torch.Generator().manual_seed(6))
    condition = shown(
        layer, untrained, [views], detail_scale=torch.ones(1, 1), detail_is_inline=torch.ones(1)
    )
    half = torch.zeros(1, 1, 8, 8)
    half[..., :4] = 1
    for notes, share in (({}, torch.full((8, 8), UNMASKED_SHARE)), ({INLINE_MASK: half}, half)):
        found = untrained(layer, STATES[:1], condition=condition, notes=dict(notes))[0]
        expected = joined(layer, STATES[0], [views], [share.flatten()])
        assert (found - expected).abs().max() < 1e-5


def test_the_joint_form_without_training_has_no_matrices(layer, untrained):
    assert max(weights.ndim for weights in untrained.parameters()) == 1
    assert untrained.projections(layer) == (layer.to_k, layer.to_v)


def test_cells_that_a_subject_covers_by_more_than_half_are_read_alike(layer, processor):
    coverage = torch.ones(2, 1, 1, 8, 8)
    coverage[..., 5:] = 0.6
    full, mostly = conditioned(), conditioned()._replace(coverage=coverage)
    outputs = [processor(layer, STATES, condition=mask, notes={}) for mask in (full, mostly)]
    assert torch.equal(*outputs)


def test_a_thin_subject_is_read_where_it_covers_most(layer, processor):
    coverage = torch.full((2, 1, 1, 8, 8), 0.1)
    coverage[..., 3] = 0.3
    thin = conditioned()._replace(coverage=coverage)
    column = torch.zeros(8, 8)
    column[:, 3] = 1
    exact = thin._replace(coverage=column.expand(2, 1, 1, 8, 8))
    outputs = [processor(layer, STATES, condition=output, notes={}) for output in (thin, exact)]
    assert torch.allclose(*outputs, atol=1e-5)


def test_heads_begin_to_look_from_wide_to_narrow(processor):
    assert bool((processor.log_sharpness.diff() > 0).all())
