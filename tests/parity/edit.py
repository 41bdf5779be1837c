"""Editing against SwiftEdit's equation and released code, written out plainly in float64."""

import copy
from dataclasses import replace

import numpy as np
import torch
from diffusers.models.attention_processor import Attention
from PIL import Image

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import install_released
from swiftpie.attention.processors import SemanticAttention
from swiftpie.imageio.images import to_pil, to_tensor
from swiftpie.noise import draw_noise
from swiftpie.pipelines.methods.inversion import EditStart
from swiftpie.pipelines.settings import EditMode, EditSettings, Scales
from tests.parity import dense
from tests.parity.dense import leave
from tests.pipelines.pictures import edit
from tests.tiny.editor import PRESET, SIDE_PX, WIDTH, tiny_editor

BOUND = 1e-5
LEVELS = 1  # of 255, between two roundings of nearly the same number
HEADS, TEXT_WIDTH, LAYER_WIDTH = 3, 16, 24
NAMES = ("identity_scale", "background_scale", "text_scale", "text_background_scale")


def strengths(*values):
    return replace(Scales.for_edit(), **dict(zip(NAMES, values, strict=False)))


STRENGTHS = {
    "as in the paper": Scales.for_edit(),
    "all different": strengths(0.3, 0.8, 1.7, 0.6),
    "text nowhere outside": strengths(0.5, 1.2, 2.0, 0.0),
    "as released": Scales.for_edit(PRESET, mode=EditMode.RELEASED),
    "text off": strengths(0.4, 0.9, 0.0),
}
SOURCE, PROMPT, SEED = "a cat on the sofa", "a dog on the sofa", 3


@torch.no_grad()
def rows():
    compared = []
    for name, scales in STRENGTHS.items():
        compared += [
            (f"Eq. 9 in one layer, {name}", equation_9(scales), BOUND),
            (f"released code in a whole U-Net, {name}", released_unet(scales), BOUND),
        ]
    return [*compared, *whole_edits()]


def condition_of(tokens, mask, scales):
    silent = silent_condition(mask, width=tokens.shape[-1])
    strengths = {
        "identity_scale": scales.identity_scale,
        "identity_background_scale": scales.background_scale,
        "text_scale": scales.text_scale,
        "text_background_scale": scales.text_background_scale,
    }
    filled = {name: torch.full_like(getattr(silent, name), s) for name, s in strengths.items()}
    return silent._replace(identity_tokens=tokens[:, None], region=mask, **filled)


def attended(attn, projections, states, text, tokens):
    """One row in float64: text attention, image attention, and that with all keys masked.

    The released code masks a key by adding the smallest number there is, which swallows the logit.
    """
    to_q, to_k, to_v, to_k_image, to_v_image = (
        layer.weight.double()
        for layer in (attn.to_q, attn.to_k, attn.to_v, projections.to_k_ip, projections.to_v_ip)
    )
    states, text, tokens = states.double(), text.double(), tokens.double()
    query = states @ to_q.T
    image = tokens @ to_k_image.T, tokens @ to_v_image.T
    masked = [torch.finfo(torch.float32).min] * attn.heads
    return (
        dense.attended(query, text @ to_k.T, text @ to_v.T, attn.heads),
        dense.attended(query, *image, attn.heads),
        dense.attended(query, *image, attn.heads, bias=masked),
    )


def largest(found, expected):
    assert found.shape == expected.shape
    assert expected.abs().max() > 0.05  # else equality would say nothing
    return (found.double() - expected).abs().max().item()


def equation_9(scales):
    """Our branch with region scales against `s_y M A_y + s_edit M A_x + s_non (1 - M) A_x`."""
    torch.manual_seed(0)
    attn = Attention(LAYER_WIDTH, cross_attention_dim=TEXT_WIDTH, heads=HEADS, dim_head=8)
    ours = SemanticAttention("x", inner_width=LAYER_WIDTH, token_width=TEXT_WIDTH)
    states, text = torch.randn(2, 64, LAYER_WIDTH), torch.randn(2, 5, TEXT_WIDTH)
    tokens, mask = torch.randn(2, 4, TEXT_WIDTH), (torch.rand(2, 1, 8, 8) < 0.5).float()
    condition = condition_of(tokens, mask, scales)
    found = ours(attn, states, text, condition=condition, notes={})
    expected = []
    for row in range(2):
        said, seen, _ = attended(attn, ours, states[row], text[row], tokens[row])
        expected.append(leave(attn, nine(said, seen, mask[row], scales)))
    return largest(found, torch.stack(expected))


def nine(said, seen, mask, scales):
    """Eq. 9 with text outside of the mask as well."""
    inside = mask.double().reshape(-1, 1)
    words = scales.text_scale * inside + scales.text_background_scale * (1 - inside)
    look = scales.identity_scale * inside * seen + scales.background_scale * (1 - inside) * seen
    return words * said + look


def table(said, seen, blind, mask, scales):
    inside = mask.double().reshape(-1, 1)
    look = (
        scales.identity_scale * inside * blind[1] + scales.background_scale * (1 - inside) * seen[0]
    )
    words = said[1] if scales.text_scale == 0 else scales.text_scale * said[1]
    return [said[0] + seen[0], words + look]


class PlainProcessor:
    """The table, or Eq. 9 for a single row, in one layer of a U-Net in float64."""

    def __init__(self, name, projections, *, tokens, mask, scales):
        self.name, self.projections, self.tokens = name, projections, tokens
        self.mask, self.scales = mask, scales

    def __call__(self, attn, hidden_states, encoder_hidden_states, **_):
        parts = [
            attended(attn, self.projections, states, text, self.tokens)
            for states, text in zip(hidden_states, encoder_hidden_states, strict=True)
        ]
        side = int(hidden_states.shape[1] ** 0.5)
        stride = self.mask.shape[-1] // side
        if len(parts) == 1:
            share = self.mask.reshape(side, stride, side, stride).mean(dim=(1, 3))
            rows = [nine(*parts[0][:2], share, self.scales)]
        elif self.name.startswith("up_blocks"):
            nearest = self.mask[::stride, ::stride]
            rows = table(*zip(*parts, strict=True), nearest, self.scales)
        else:
            rows = [said + seen for said, seen, _ in parts]
        return torch.stack([leave(attn, row) for row in rows])


def plain_prediction(denoiser, latents, text, *, tokens, mask, scales):
    """The output (B, C, h, w) of a plain U-Net in float64: two rows as released, one by Eq. 9."""
    semantic = denoiser.installation.semantic
    denoiser.installation.undo()
    unet = copy.deepcopy(denoiser.unet).double()
    plain = {
        f"{name}.processor": PlainProcessor(name, one, tokens=tokens, mask=mask, scales=scales)
        for name, one in semantic.items()
    }
    unet.set_attn_processor({**unet.attn_processors, **plain})
    return unet(latents.double(), 999, text.double()).sample


def released_unet(scales):
    components = tiny_editor()
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(1, 4, 16, 16, generator=generator).expand(2, -1, -1, -1)
    tokens = torch.randn(1, 4, WIDTH, generator=generator)
    mask = (torch.rand(1, 1, 16, 16, generator=generator) < 0.4).float()
    text = components.text.encode([SOURCE, PROMPT]).hidden_states
    condition = condition_of(tokens.expand(2, -1, -1), mask.expand(2, -1, -1, -1), scales)
    unet = components.denoiser.unet
    with install_released(components.denoiser.installation):
        keywords = {"condition": condition, "notes": {}}
        found = unet(latents, 999, text, cross_attention_kwargs=keywords).sample
    expected = plain_prediction(
        components.denoiser, latents, text, tokens=tokens[0], mask=mask[0, 0], scales=scales
    )
    return largest(found, expected)


def plain_mask(source_noise, edit_noise):
    """The released rule in NumPy for one picture, (1, C, h, w) to (h, w)."""
    difference = np.abs(source_noise - edit_noise).mean(axis=(0, 1))
    ceiling = 3 * difference.mean()
    return np.clip(difference, 0, ceiling) / ceiling > 0.5


def photograph(width=SIDE_PX, height=SIDE_PX, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def whole_edits():
    """Both algorithms from picture to pictures, step by step; rows in levels."""
    by_paper, [edited] = whole_edit(EditMode.PAPER, STRENGTHS["all different"])
    from_noise, [drawn] = whole_edit(
        EditMode.PAPER, STRENGTHS["all different"], start=EditStart.NOISE
    )
    as_released, [kept, changed] = whole_edit(
        EditMode.RELEASED, Scales.for_edit(PRESET, mode=EditMode.RELEASED)
    )
    pairs = {
        "paper, from picture to edit": (by_paper.edited, edited),
        "paper, from noise alone": (from_noise.edited, drawn),
        "released code, from picture to edit": (as_released.edited, changed),
        "released code, from picture to reconstruction": (as_released.reconstruction, kept),
    }
    return [
        (f"{name}, levels", float(np.abs(np.subtract(*map(values, pair))).max()), LEVELS)
        for name, pair in pairs.items()
    ]


def values(image):
    return np.asarray(image, dtype=np.int32)


def changed(result, before):
    return (values(result.image) != values(before)).any(axis=-1)


def whole_edit(mode, scales, *, start=EditStart.MIXTURE):
    components, image = tiny_editor(), photograph()
    settings = EditSettings(mode=mode, start=start, scales=scales)
    ours = edit(components, image, PROMPT, source_prompt=SOURCE, seed=SEED, settings=settings)
    is_released = mode is EditMode.RELEASED
    pixels = to_tensor(image)
    vae = components.autoencoder.network
    posterior = vae.encode(pixels).latent_dist
    spread = posterior.std * draw_noise([SEED], (4, 16, 16)) if is_released else 0
    clean = (posterior.mean + spread) * vae.config.scaling_factor
    text = components.text.encode([SOURCE, PROMPT]).hidden_states
    noise = components.inversion.unet(clean.expand(2, -1, -1, -1), 500, text).sample
    mask = plain_mask(noise[:1].numpy(), noise[1:].numpy())
    kept = np.prod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    alpha, sigma = kept**0.5, (1 - kept) ** 0.5
    texts = text if is_released else text[1:]
    noisy = noise[:1].double()
    if start is EditStart.MIXTURE:
        noisy = alpha * clean.double() + sigma * noisy
    noisy = noisy.expand(len(texts), -1, -1, -1)
    prediction = plain_prediction(
        components.denoiser,
        noisy,
        texts,
        tokens=components.image_encoder(pixels, torch.ones_like(pixels[:, :1]))[0],
        mask=torch.from_numpy(mask).float(),
        scales=scales,
    )
    latents = ((noisy - sigma * prediction) / alpha).float()
    return ours, to_pil(vae.decode(latents / vae.config.scaling_factor).sample)
