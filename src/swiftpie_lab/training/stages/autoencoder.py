"""The patch autoencoder, from principal components to visually lossless."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.models.autoencoder import PATCH, PatchAutoencoder
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_lab.training.losses import gradient_l1, psnr_db
from swiftpie_world.sampler import World

PCA_BATCHES = 6
LATENT_NOISE = 0.03  # teaches the decoder to forgive small errors of the denoiser


@dataclass(frozen=True)
class AutoencoderConfig:
    """Settings of the stage."""

    num_subjects: int = 8
    start: str = ""  # go on from "mini", a run or a folder of exported weights; else from nothing

    def build(self, context: Context) -> "AutoencoderStage":
        worlds = context.world("train"), context.world("held_out")
        if not self.start:
            return AutoencoderStage(*worlds, config=self)
        return AutoencoderStage(*worlds, config=self, start=context.autoencoder(self.start))


@dataclass(frozen=True)
class AutoencoderStage:
    """Reconstruct pictures and references of the world."""

    world: World
    held_out: World
    config: AutoencoderConfig
    start: PatchAutoencoder | None = None

    @property
    def samples_per_step(self) -> int:
        return 2 * self.config.num_subjects

    def network(self) -> PatchAutoencoder:
        """Return the one to go on from, or a new one whose linear path is already fitted."""
        if self.start is not None:
            network = copy.deepcopy(self.start).train().requires_grad_(requires_grad=True)
            return network.to(memory_format=torch.channels_last)
        torch.manual_seed(0)
        network = PatchAutoencoder()
        pictures = [
            self.world.batch(16, 4, seed=VALIDATION_SEED - 1 - i).pixels for i in range(PCA_BATCHES)
        ]
        fit_linear(network, torch.cat(pictures).cpu())
        return network.to(self.world.tiles.device).to(memory_format=torch.channels_last)

    def losses(self, network: PatchAutoencoder, step: int) -> dict[str, Tensor]:
        """Return pixel, gradient and latent-size terms."""
        batch = self.world.batch(self.config.num_subjects, 1, seed=step)
        pixels = torch.cat([batch.pixels, batch.reference])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, torch.bfloat16):
            latents = network.encode_raw(pixels)
            generator = torch.Generator().manual_seed(step)
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            decoded = network.decode_raw(latents + LATENT_NOISE * noise)
        decoded = decoded.float()
        return {
            "l1": F.l1_loss(decoded, pixels),
            "rms": 0.5 * F.mse_loss(decoded, pixels).sqrt(),
            "edges": 0.7 * gradient_l1(decoded, pixels),
            "latents": 1e-3 * latents.float().square().mean(),
        }

    @torch.no_grad()
    def sample(self, network: PatchAutoencoder, path: Path) -> dict[str, float]:
        """Save originals above reconstructions; return the mean PSNR on held-out subjects."""
        pixels = self.held_out.batch(32, 1, seed=VALIDATION_SEED).pixels
        decoded = network.decode_raw(network.encode_raw(pixels)).clamp(-1, 1)
        contact_sheet([to_pil(pixels[:12]), to_pil(decoded[:12])], cell_px=128).save(path)
        return {"psnr_db": psnr_db(decoded, pixels)}

    def export(self, network: PatchAutoencoder, folder: Path) -> None:
        """Write the autoencoder with measured latent statistics."""
        standardise(network, self.world.batch(48, 4, seed=VALIDATION_SEED).pixels)
        network.save_pretrained(folder / "autoencoder")


@torch.no_grad()
def fit_linear(network: PatchAutoencoder, pixels: Tensor) -> None:
    """Set the linear path to the principal components of the patches of `pixels`."""
    patches = F.pixel_unshuffle(pixels, PATCH).permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = patches.mean(0)
    encoder, decoder = network.linear_encoder, network.linear_decoder
    basis = torch.linalg.eigh(torch.cov(patches.T)).eigenvectors.flip(1)[:, : encoder.out_channels]
    spread = ((patches - mean) @ basis).std(0).clamp_min(1e-3)
    assert encoder.bias is not None, "it has one"
    assert decoder.bias is not None, "it has one"
    encoder.weight.copy_((basis / spread).T[..., None, None])
    encoder.bias.copy_(-(mean @ (basis / spread)))
    decoder.weight.copy_((basis * spread)[..., None, None])
    decoder.bias.copy_(mean)


@torch.no_grad()
def standardise(network: PatchAutoencoder, pixels: Tensor) -> None:
    """Measure shift and scale of the latents of `pixels`."""
    latents = network.encode_raw(pixels)
    network.shift.copy_(latents.mean((0, 2, 3), keepdim=True))
    network.scale.copy_(latents.std((0, 2, 3), keepdim=True))
