"""The inversion network of the embedded model, which finds the region of an edit as well."""

from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.geometry.layout import cell_positions
from swiftpie.mini.denoiser import MASK_CELLS, WAVES, fourier_features, tiny_unet
from swiftpie.models.inversion import INVERSION_TIMESTEP, START, InversionOutput
from swiftpie.noise import COUPLED_CHANNELS
from swiftpie.types import TextCondition

NUM_NOTES = 32  # channels for the comparison of two prompts
BLOCKS = 4  # a side of the lattice of noise means that place things
HIDDEN = 128  # of the perceptron that sees the whole picture


class PromptDifference(NamedTuple):
    """The change from a source prompt to a target prompt."""

    mask: Tensor  # (B, 1, 4h, 4w) logits of where
    same_subject: Tensor  # (B,) logits that the target prompt is about the same subject


class TinyInversion(ModelMixin, ConfigMixin):
    """Inversion network of 128 px pictures.

    The channels that pictures depend on hold the expected noise, so they vanish where a picture
    does not show its noise. All other channels hold how far the prompt fails to describe a cell, in
    [0, 1], so that the noise of two prompts differs where they disagree.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 32,
        widths: tuple[int, int] = (72, 96),
        heads: tuple[int, int] = (2, 2),
        text_width: int = 160,
        embedding_width: int = 160,
        start: str = START,  # noqa: ARG002 - read from the config
        timestep: int = INVERSION_TIMESTEP,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.text_norm = nn.LayerNorm(text_width)
        self.unet = tiny_unet(
            latent_channels + 4 * len(WAVES),
            COUPLED_CHANNELS + 1 + NUM_NOTES,
            widths=widths,
            heads=heads,
            text_width=text_width,
            embedding_width=embedding_width,
            class_width=text_width,
        )
        cells = BLOCKS**2
        last = nn.Linear(HIDDEN, COUPLED_CHANNELS // 4 * cells)
        self.overview = nn.Sequential(nn.Linear(NUM_NOTES * cells, HIDDEN), nn.SiLU(), last)
        self.outline = _mask_head(NUM_NOTES)
        self.differ = _mask_head(2 * NUM_NOTES)
        self.recognise = nn.Sequential(
            nn.Linear(2 * text_width, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1)
        )

        with torch.no_grad():  # starts near the mean of all noise, which is the best first guess
            self.unet.conv_out.weight.mul_(0.3)
            last.weight.mul_(0.3)

    def forward(self, latents: Tensor, text: TextCondition) -> Tensor:
        """Return the inverted noise in float32; see `Inversion`."""
        return self.read(latents, text).noise

    def read(self, latents: Tensor, text: TextCondition) -> InversionOutput:
        """Return all outputs for clean `latents` (B, C, h, w)."""
        count, channels, rows, columns = latents.shape
        prompt = self.text_norm(text.pooled)
        places = fourier_features(cell_positions(rows, columns, like=latents)).T.unflatten(
            1, (rows, columns)
        )
        output: Tensor = self.unet(
            torch.cat([latents, places.expand(count, -1, -1, -1)], dim=1),
            self.config.timestep,
            text.hidden_states,
            class_labels=prompt,
            encoder_attention_mask=text.attention_mask,
        ).sample.float()
        coupled, doubt, notes = output.split([COUPLED_CHANNELS, 1, NUM_NOTES], dim=1)
        free = torch.sigmoid(doubt).expand(-1, channels - COUPLED_CHANNELS, -1, -1)
        noise = torch.cat([coupled + self._means(notes, (rows, columns)), free], dim=1)
        subject = F.pixel_shuffle(self.outline(notes).float(), MASK_CELLS)
        return InversionOutput(noise, doubt, subject, notes, prompt)

    def compare(self, source: InversionOutput, target: InversionOutput) -> PromptDifference:
        """Return what two prompts disagree about, which trains the network's notes."""
        pair = torch.cat([source.notes, target.notes - source.notes], dim=1)
        prompts = torch.cat([source.prompt, target.prompt - source.prompt], dim=1)
        return PromptDifference(
            mask=F.pixel_shuffle(self.differ(pair).float(), MASK_CELLS),
            same_subject=self.recognise(prompts).float().squeeze(1),
        )

    def _means(self, notes: Tensor, cells: tuple[int, int]) -> Tensor:
        """Return the means of blocks of noise, predicted from the whole picture, (B, 16, h, w).

        Objects anywhere in a picture decide about noise at fixed places, which local layers learn
        badly.
        """
        seen = F.adaptive_avg_pool2d(notes, BLOCKS).flatten(1)
        means = self.overview(seen).float().unflatten(1, (-1, BLOCKS, BLOCKS))
        fields = F.interpolate(means, size=(2 * cells[0], 2 * cells[1]), mode="nearest")
        return F.pixel_unshuffle(fields, 2)


def _mask_head(channels: int) -> nn.Sequential:
    """Return layers from notes to the logits of a mask, `MASK_CELLS` squared to a cell."""
    return nn.Sequential(
        nn.Conv2d(channels, NUM_NOTES, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(NUM_NOTES, MASK_CELLS**2, 3, padding=1),
    )
