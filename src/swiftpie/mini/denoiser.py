"""The denoiser of the embedded model, a small U-Net."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.attention.condition import Notes, silent_condition, sum_of_subjects
from swiftpie.attention.install import BranchPlan, install
from swiftpie.geometry.layout import (
    POSE_NUMBERS,
    WAVES,
    Layout,
    cell_positions,
    fourier_features,
    to_affine,
    to_reference,
    warp,
    whole_frame,
)
from swiftpie.geometry.relief import height, turn
from swiftpie.models.denoiser import Prediction, SubjectCondition
from swiftpie.models.network import Network, keep_settings
from swiftpie.models.unet import UNet
from swiftpie.noise import (
    COUPLED_CHANNELS,
    NUM_STATISTICS,
    anchors,
    layout_uniforms,
    noise_statistics,
    smoothed,
)
from swiftpie.types import Autoencoder, TextCondition

CELL_PX = 8  # pixels a side of a latent cell
MASK_CELLS = 4  # mask pixels a side of a latent cell
ANCHOR_CODES = 3 * 2 * len(WAVES)
POSE_GAIN = 2.0  # radians and shares are small numbers compared with the codes
FRAME_REACH = 1.6  # reference coordinates further out than this are all the same: far away


@torch.no_grad()
def align(
    autoencoder: Autoencoder,
    frames: Sequence[Tensor],
    *,
    layouts: Sequence[Layout],
    present: Tensor,
    cells: tuple[int, int],
) -> Tensor:
    """Return latents and exact shapes of the subjects in place, (B, S, C + 64, h, w).

    Pixels are warped and then encoded, because shifts within a latent cell are not linear in the
    latents. All subjects are encoded as one picture, because two in one cell are not a sum of
    latents. The shape keeps every pixel that is seen of a subject. A pose turns a subject by the
    relief of its own mask. Arguments are those of `Denoiser.place_subjects`.
    """
    size = (cells[0] * CELL_PX, cells[1] * CELL_PX)
    picture, shapes = frames[0].new_zeros(()), list[Tensor]()  # premultiplied
    for frame, layout, is_there in zip(frames, layouts, present.unbind(1), strict=True):
        turned = frame
        if bool(layout.pose.any()):
            with torch.autocast(frame.device.type, enabled=False):
                turned = turn(frame.float(), height(frame[:, 3:]), layout.pose).frame
        placed = warp(turned, to_affine(layout), size) * is_there.view(-1, 1, 1, 1)
        seen = placed * (1 - picture[:, 3:]) if shapes else placed
        picture = picture + seen
        shapes.append(seen[:, 3:])
    latents = autoencoder.encode(picture[:, :3])
    aligned = [
        torch.cat(
            [latents * (F.max_pool2d(shape, CELL_PX) > 0), F.pixel_unshuffle(shape, CELL_PX)], 1
        )
        for shape in shapes
    ]
    return torch.stack(aligned, dim=1)


class TinyDenoiser(Network):
    """One-step denoiser of 128 px pictures; predicts clean latents and the subject's mask.

    Around the U-Net: smoothed copies and row and column means of the noise (the picture depends
    on them), position codes in the picture and in the reference frame, the aligned subject, and a
    gate a channel that lets aligned latents through to the output.
    """

    @keep_settings
    def __init__(
        self,
        latent_channels: int = 32,
        widths: tuple[int, ...] = (128, 160),
        heads: tuple[int, ...] = (2, 2),
        text_width: int = 160,
        embedding_width: int = 256,
    ) -> None:
        """Make an untrained network, whose levels of the U-Net have widths and heads, finest first.

        0 heads make a level of convolutions alone.
        """
        super().__init__()
        codes = 4 * len(WAVES)
        aligned = latent_channels + CELL_PX**2
        self.text_norm = nn.LayerNorm(text_width)
        extra = 4 * COUPLED_CHANNELS + aligned + 2 * codes + 1 + ANCHOR_CODES + POSE_NUMBERS
        self.unet = UNet(
            latent_channels + extra,
            2 * latent_channels + MASK_CELLS**2,
            widths=widths,
            heads=heads,
            text_width=text_width,
            embedding_width=embedding_width,
            class_width=2 * text_width + NUM_STATISTICS,
        )
        self.installation = install(self.unet, BranchPlan(token_width=text_width, gate=1.0))
        with torch.no_grad():
            self.unet.conv_out.weight.mul_(0.3)  # branches that start small learn; zero ones stall

    def forward(
        self,
        latents: Tensor,
        timestep: float,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return clean latents (B, C, h, w) and the mask (B, 1, 4h, 4w) for noise of that shape."""
        attention = condition.attention
        channels = latents.shape[1]
        embedding = [
            self.text_norm(text.pooled),
            sum_of_subjects(attention.identity_scale[..., None] * condition.pooled),
            noise_statistics(latents),
        ]
        aligned = merge_aligned(condition.aligned, attention.detail_scale)
        inputs = [latents, smoothed(latents), aligned, self._places(condition)]
        inputs.append(anchor_codes(latents))
        output: Tensor = self.unet(
            torch.cat(inputs, dim=1),
            timestep,
            text.hidden_states,
            class_labels=torch.cat(embedding, dim=1),
            text_mask=text.attention_mask,
            condition={"condition": attention, "notes": notes},
        ).float()
        gate = torch.sigmoid(output[:, channels : 2 * channels])
        sample = output[:, :channels] + gate * aligned[:, :channels]
        shapes = output[:, 2 * channels :]
        return Prediction(sample, torch.sigmoid(F.pixel_shuffle(shapes, MASK_CELLS)))

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return latents and shape of references in their own frame; see `Denoiser`."""
        side, present = pixels.shape[-1] // CELL_PX, mask.new_ones(len(mask), 1)
        frames, layouts = [torch.cat([pixels, mask], dim=1)], [whole_frame(pixels)]
        placed = align(autoencoder, frames, layouts=layouts, present=present, cells=(side, side))
        return placed[:, 0]

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Read clean references; see `Denoiser`."""
        notes: Notes = {}
        count, _, rows, columns = encoded.shape
        latents = encoded.new_zeros(count, self.config.latent_channels, rows, columns)
        attention = silent_condition(latents, width=self.config.text_width)
        condition = SubjectCondition(
            attention=attention._replace(detail_scale=latents.new_ones(count, 1)),
            pooled=latents.new_zeros(count, 1, self.config.text_width),
            aligned=encoded.unsqueeze(1),
            pose=latents.new_zeros(count, 1, POSE_NUMBERS),
        )
        self(latents, 0, text, condition, notes)
        return {name: notes[name] for name in self.installation.detail}

    place_subjects = staticmethod(align)

    def _places(self, condition: SubjectCondition) -> Tensor:
        """Return position codes in the picture and in the reference frame, (B, 45, h, w)."""
        attention = condition.attention
        rows, columns = attention.region.shape[-2:]
        points = cell_positions(rows, columns, like=attention.region)
        subjects = attention.affine.shape[1]
        everywhere = to_reference(attention.affine.flatten(0, 1), points)
        frames = everywhere.unflatten(0, (-1, subjects))  # (B, S, N, 2)
        # A cell is described in the frame that it lies deepest in.
        nearest = frames.abs().amax(-1).argmin(dim=1)
        inside = frames.gather(1, nearest[:, None, :, None].expand(-1, 1, -1, 2)).squeeze(1)
        known = attention.has_layout.gather(1, nearest).unsqueeze(-1)
        is_near = (inside.abs().amax(-1, keepdim=True) < 1).to(inside.dtype)
        rows_of = nearest[..., None].expand(-1, -1, POSE_NUMBERS)
        codes = [
            fourier_features(points).expand(len(inside), -1, -1),
            fourier_features(inside.clamp(-FRAME_REACH, FRAME_REACH)) * known,
            is_near * known,
            POSE_GAIN * condition.pose.gather(1, rows_of) * is_near * known,
        ]
        return torch.cat(codes, dim=-1).transpose(1, 2).unflatten(2, (rows, columns))


def merge_aligned(aligned: Tensor, scale: Tensor) -> Tensor:
    """Return all subjects of `align`, (B, S, C + 64, h, w), as one (B, C + 64, h, w).

    `scale` (B, S) weighs each subject; 0 removes it. A cell of several is weighed by what is seen
    of each.
    """
    weights = scale[..., None, None, None]
    if aligned.shape[1] == 1:
        return aligned[:, 0] * weights[:, 0]
    latents, shapes = aligned.split((aligned.shape[2] - CELL_PX**2, CELL_PX**2), dim=2)
    is_seen = (shapes * weights).amax(dim=2, keepdim=True) > 0
    merged = (latents * is_seen).sum(1) / is_seen.sum(1).clamp(min=1)  # one value in each cell
    weighed, seen = (shapes * weights).sum(1), (shapes * (weights > 0)).sum(1)
    share = weighed.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.cat([merged * share, weighed], dim=1)


def anchor_codes(noise: Tensor) -> Tensor:
    """Return position codes relative to the anchors in `noise` (B, C, h, w), (B, 30, h, w).

    Whether a cell lies on the horizon or in the sun depends on a product of position and noise,
    which layers that add the two learn badly.
    """
    rows, columns = noise.shape[-2:]
    points = cell_positions(rows, columns, like=noise)
    places = 2 * anchors(layout_uniforms(noise)) - 1
    axes = points[:, [1, 0, 1]]  # horizon and planet are heights, the sun is placed from the left
    codes = fourier_features(axes - places[:, None])
    return codes.transpose(1, 2).unflatten(2, (rows, columns))
