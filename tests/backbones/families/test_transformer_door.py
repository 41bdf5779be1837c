"""A transformer with joint attention, flow matching and continuous times moves in as one family.

All of it is in this file, which another distribution could offer: the preset and the family are
found by entry points, and nothing else of SwiftPie knows them.
"""

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import nn
from typer.testing import CliRunner

import swiftpie
from swiftpie import CapabilityError, ConfigError, InputError, Scales, SwiftPiePipeline
from swiftpie.attention.install import Installation, Plan
from swiftpie.attention.kernels import attend, merge_heads, split_heads
from swiftpie.attention.processors import SemanticAttention, layer_masks
from swiftpie.backbones.choices import schedule_of, with_steps
from swiftpie.backbones.components import FAMILIES, Components, Family
from swiftpie.backbones.presets import Capability, Preset, describe, read_preset
from swiftpie.cli.main import app
from swiftpie.diffusers.modules import KeepingOffload, take_apart
from swiftpie.imageio.images import to_pil
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import Prediction
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.noise import draw_noise
from tests.pipelines.tiny_editor import WIDTH, text_tower

NAME = "tiny-joint"
SIDE_PX, CELLS, CHANNELS = 128, 16, 16
SHIFT = 1.7  # of times towards noise, as flow-matching models for large pictures have it
PROMPT = "a photo of the cat on a red sofa"


def shifted(num_steps):
    shares = [1 - index / num_steps for index in range(num_steps)]
    return tuple(1000 * SHIFT * share / (1 + (SHIFT - 1) * share) for share in shares)


PRESET = Preset(
    name=NAME,
    summary="A random transformer, for tests.",
    source="local:nowhere",
    licence="none",
    is_commercial=True,
    family=NAME,
    image_size_px=SIDE_PX,
    latent_channels=CHANNELS,
    latent_cell_px=8,
    timesteps=shifted(1),
    more_steps=(4,),
    prediction_type="flow",
    noise_scale="flow",
    capabilities=frozenset({Capability.PERSONALIZE}),
)


class JointAttention(SemanticAttention):
    """One softmax over picture and text; identities are added to what the picture reads."""

    def __call__(
        self, attn, hidden_states, encoder_hidden_states, attention_mask=None, *, condition, notes
    ):
        assert attention_mask is None
        own = [attn.to_q, attn.to_k, attn.to_v]
        added = [attn.add_q_proj, attn.add_k_proj, attn.add_v_proj]
        query, key, value = (
            torch.cat(
                [
                    split_heads(one(hidden_states), attn.heads),
                    split_heads(other(encoder_hidden_states), attn.heads),
                ],
                dim=2,
            )
            for one, other in zip(own, added, strict=True)
        )
        count = hidden_states.shape[1]
        picture, words = merge_heads(attend(query, key, value)).tensor_split([count], dim=1)
        identity_key = self.identity_keys(condition, attn.heads)
        if identity_key is not None:
            masks = layer_masks(condition, count, notes)
            shown = self.identities(query[:, :, :count], identity_key, masks, condition, notes)
            picture = picture + shown
        return attn.to_out[0](picture), words if attn.context_pre_only else attn.to_add_out(words)


def install(transformer, token_width):
    originals = dict(transformer.attn_processors)
    names = [path.removesuffix(".processor") for path in originals]
    widths = {name: transformer.get_submodule(name).inner_dim for name in names}
    semantic = {
        name: JointAttention(name, inner_width=width, token_width=token_width)
        for name, width in widths.items()
    }
    transformer.set_attn_processor({f"{name}.processor": one for name, one in semantic.items()})
    plan = Plan(token_width=token_width, detail=frozenset())
    return Installation(transformer, plan, originals=originals, semantic=semantic, detail={})


class JointDenoiser(nn.Module):
    """Tells the transformer fractional times, and turns its velocity into clean minus noise."""

    def __init__(self, transformer, token_width):
        super().__init__()
        self.transformer = transformer
        self.installation = install(transformer, token_width)
        self.times = []

    def forward(self, latents, timestep, text, condition, notes):
        self.times.append(timestep)
        velocity = self.transformer(
            hidden_states=latents,
            encoder_hidden_states=text.hidden_states,
            pooled_projections=text.pooled,
            timestep=torch.full((len(latents),), timestep),
            joint_attention_kwargs={"condition": condition.attention, "notes": notes},
        ).sample
        return Prediction(-velocity, subject_mask=latents.new_zeros(len(latents), 1, 1, 1))

    def encode_reference(self, *_):
        raise AssertionError("no layer has a detail branch")

    def read_reference(self, *_):
        raise AssertionError("no layer has a detail branch")

    def place_subjects(self, autoencoder, frames, *, layouts, present, cells):
        del autoencoder, frames, layouts
        return present.new_zeros(*present.shape, 0, *cells)


class JointFamily(Family):
    name = NAME

    def load(self, preset, *, device, choices):
        if refused := {name for name, value in choices.items() if value} - {"steps"}:
            raise ConfigError(f"{refused} has no effect")
        preset = with_steps(preset, choices.get("steps"), spaced=shifted)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            transformer = SD3Transformer2DModel(
                sample_size=CELLS,
                patch_size=2,
                in_channels=CHANNELS,
                out_channels=CHANNELS,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=4,
                joint_attention_dim=WIDTH,
                caption_projection_dim=32,
                pooled_projection_dim=WIDTH,
                pos_embed_max_size=CELLS,
            )
            for weight in transformer.parameters():  # fresh ones hardly say anything
                nn.init.normal_(weight, std=max(weight.shape) ** -0.5)
            networks = {
                "text": text_tower(),
                "image_encoder": ConvImageEncoder(WIDTH),
                "autoencoder": LatentAutoencoder(autoencoder()),
                "denoiser": JointDenoiser(transformer, WIDTH),
            }
        for network in [networks["text"].encoder, *list(networks.values())[1:]]:
            network.to(device).eval().requires_grad_(False)
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            inversion=None,
            fingerprint="random",
            **networks,
        )

    def to_modules(self, components):
        return {
            "transformer": components.denoiser.transformer,
            "vae": components.autoencoder.network,
            "text_encoder": components.text.encoder,
            "tokenizer": components.text.tokenizer,
            "image_encoder": components.image_encoder,
        }

    def from_modules(self, modules, loaded):
        if loaded is None or loaded.denoiser.transformer is not modules["transformer"]:
            raise InputError("The transformer was exchanged.")
        vae = LatentAutoencoder(modules["vae"])
        return replace(loaded, autoencoder=vae, image_encoder=modules["image_encoder"])


def autoencoder():
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=CHANNELS,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


FAMILY = JointFamily()


@pytest.fixture(scope="module", autouse=True)
def offered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guest")
    metadata = folder / "guest_family-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-family\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[swiftpie.presets]\n{NAME} = {__name__}:PRESET\n"
        f"[swiftpie.families]\n{NAME} = {__name__}:FAMILY\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield


@pytest.fixture(params=[1, 4])
def joint(request):
    return swiftpie.load(NAME, steps=request.param)


def plain_picture(components, *, seed=0):
    components.denoiser.installation.undo()
    transformer = components.denoiser.transformer
    text = components.text.encode([PROMPT])
    times = components.preset.timesteps
    latents = draw_noise([seed], (CHANNELS, CELLS, CELLS))
    with torch.no_grad():
        for time, following in zip(times, (*times[1:], 0), strict=True):
            velocity = transformer(
                latents, text.hidden_states, text.pooled, torch.tensor([time])
            ).sample
            latents = latents + (following - time) / 1000 * velocity
        return to_pil(components.autoencoder.decode(latents).clamp(-1, 1))[0]


def far_apart(one, other):
    return np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).max() > 2


def test_a_subject_is_drawn_at_fractional_times(joint, sprite):
    result = joint.personalize(joint.encode_identity(sprite), PROMPT, seed=0)
    times = joint.components.denoiser.times
    assert result.images[0].size == (SIDE_PX, SIDE_PX)
    assert times == [*shifted(len(joint.components.schedule.steps))]
    assert len(times) == 1 or any(not time.is_integer() for time in times)


def test_without_identity_it_is_the_plain_transformer(joint, sprite):
    identity = joint.encode_identity(sprite)
    silent = joint.personalize(identity, PROMPT, seed=3, scales=Scales(identity_scale=0.0))
    shown = joint.personalize(identity, PROMPT, seed=3, scales=Scales(identity_scale=1.0))
    assert far_apart(silent.images[0], shown.images[0])
    plain = plain_picture(joint.components, seed=3)
    assert np.abs(np.asarray(silent.images[0], int) - np.asarray(plain, int)).max() <= 1


def test_the_command_line_draws_with_it(sprite, tmp_path):
    sprite.save(tmp_path / "subject.png")
    call = ["personalize", str(tmp_path / "subject.png"), PROMPT, "--preset", NAME, "--steps", "4"]
    done = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "out.png"), "--seed", "0"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.png").stat().st_size > 0


def test_the_registry_and_the_preset_know_it_as_any_other():
    assert FAMILIES.get(NAME) is FAMILY
    assert {NAME, "tiny", "sd15", "sd21", "sdxl"} <= {*FAMILIES.names()}
    assert read_preset(describe(PRESET)) == PRESET
    assert not math.isclose(PRESET.timesteps[0], 999)


@pytest.fixture
def pipe(joint):
    made = SwiftPiePipeline.from_components(joint.components)
    made.set_progress_bar_config(disable=True)
    return made


def test_the_pipeline_of_diffusers_draws_what_the_session_draws(joint, pipe, sprite):
    drawn = joint.personalize(joint.encode_identity(sprite), PROMPT, seed=3).images[0]
    call = {"prompt": PROMPT, "ip_adapter_image": sprite, "seeds": [3]}
    assert pipe.unet is None
    assert pipe(**call).images[0].tobytes() == drawn.tobytes()
    pipe.enable_model_cpu_offload(device="cpu")
    assert np.abs(np.int16(pipe(**call).images[0]) - np.int16(drawn)).max() <= 1
    assert isinstance(pipe.transformer._hf_hook, KeepingOffload)
    pipe.remove_all_hooks()


def test_a_pipeline_has_one_denoiser(joint):
    modules = take_apart(joint.components)
    with pytest.raises(InputError, match="one denoiser"):
        SwiftPiePipeline(**modules | {"transformer": None})
    with pytest.raises(InputError, match="one denoiser"):
        SwiftPiePipeline(**modules, unet=modules["transformer"])


def test_what_it_does_not_offer_says_so(joint, sprite):
    with pytest.raises(CapabilityError, match="pipeline of diffusers"):
        Family.to_modules(FAMILY, joint.components)
    with pytest.raises(CapabilityError, match="inversion"):
        joint.edit(sprite, PROMPT)
    with pytest.raises(InputError, match="multiples"):
        joint.personalize(joint.encode_identity(sprite), PROMPT, size=(100, 100))
    with pytest.raises(ConfigError, match="2 steps"):
        swiftpie.load(NAME, steps=2)
