"""The small U-Net computes what that of diffusers does, with weights of the same names."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from swiftpie.models.unet import UNet

TEXT, EMBEDDING, NOTES = 8, 16, 5


def pair(heads):
    made = UNet(
        4,
        3,
        widths=(16, 24),
        heads=heads,
        text_width=TEXT,
        embedding_width=EMBEDDING,
        class_width=NOTES,
    )
    kinds = ["CrossAttn" if count else "" for count in heads]
    theirs = UNet2DConditionModel(
        in_channels=4,
        out_channels=3,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        mid_block_type=None,
        block_out_channels=(16, 24),
        layers_per_block=1,
        cross_attention_dim=TEXT,
        attention_head_dim=tuple(max(1, count) for count in heads),  # their number
        norm_num_groups=8,
        time_embedding_dim=EMBEDDING,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=NOTES,
    )
    theirs.load_state_dict(made.state_dict())
    return made.eval(), theirs.eval()


@torch.no_grad()
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("heads", [(2, 3), (0, 2)])
def test_it_equals_that_of_diffusers(heads, is_masked):
    torch.manual_seed(0)
    made, theirs = pair(heads)
    sample, text, notes = torch.randn(2, 4, 8, 12), torch.randn(2, 6, TEXT), torch.randn(2, NOTES)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]]) if is_masked else None
    drawn = made(sample, 999, text, class_labels=notes, text_mask=mask)
    expected = theirs(sample, 999, text, class_labels=notes, encoder_attention_mask=mask).sample
    assert torch.allclose(drawn, expected, rtol=1e-5, atol=1e-6)
    assert [*made.attn_processors] == [*theirs.attn_processors]
    assert [*made.state_dict()] == [*theirs.state_dict()]


@torch.no_grad()
def test_each_row_may_have_a_time_of_its_own():
    torch.manual_seed(0)
    made, _ = pair((2, 2))
    sample, text, notes = torch.randn(2, 4, 8, 8), torch.randn(2, 6, TEXT), torch.randn(2, NOTES)
    both = made(sample, torch.tensor([10, 700]), text, class_labels=notes)
    for row, time in enumerate((10, 700)):
        one = made(
            *(x[row : row + 1] for x in (sample,)),
            time,
            text[row : row + 1],
            class_labels=notes[row : row + 1],
        )
        assert torch.allclose(both[row : row + 1], one, atol=1e-5)
