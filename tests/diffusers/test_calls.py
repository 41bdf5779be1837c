"""Each row of the table of habits: it draws what the core draws, or its error says what to use."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from diffusers.callbacks import SDCFGCutoffCallback
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image

from swiftpie import EditSettings, Subject, SwiftEditPipeline, SwiftPiePipeline
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import WeightsKind
from swiftpie.guidance.cfg import ClassifierFree
from swiftpie.masks import load_mask
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.request import Output, PersonalizeRequest
from swiftpie.pipelines.settings import EditMethod, Scales
from swiftpie.types import TextCondition
from tests.backbones import tiny_models
from tests.parity.pipelines import preset_of, subject
from tests.pipelines.pictures import edit
from tests.policy.project import ROOT

PROMPT, OTHER = "a photo of a subject on a beach", "a photo of a subject in the snow"
BY_INVERSION = EditSettings(method=EditMethod.INVERSION)
ROW = re.compile(r"^\| (?P<habit>.+?) \| (?P<kind>works|error) \| (?P<how>.+?) \|$", re.M)
PAGE = (ROOT / "docs" / "diffusers.md").read_text(encoding="utf-8")
ROWS = {found["habit"]: found for found in ROW.finditer(PAGE)}
CASES = {}


def habit(row):
    """Register what a row is tested by; a row of errors has a function that makes each of them."""

    def register(case):
        assert row not in CASES, row
        CASES[row] = case
        return case

    return register


class Tools:
    """Pipelines around mini, tiny ones of Stable Diffusion, and what they are compared with."""

    def __init__(self, session, identity, sprite, place):
        self.session, self.identity, self.sprite, self.place = session, identity, sprite, place
        self.pipe = quiet(SwiftPiePipeline.from_components(session.components))
        self.edit = quiet(SwiftEditPipeline.from_components(session.components))
        self.photo = sprite.convert("RGB").resize((128, 128))

    def __call__(self, *prompts, **options):
        """A call as tests make it: one subject, seed 3."""
        subjects = {"subjects": self.identity} if "subjects" not in options else {}
        given = {"generator", "latents", "seeds"} & options.keys()
        seeds = {} if given else {"seeds": [3]}
        return self.pipe(*prompts or (PROMPT,), **seeds | subjects | options)

    def drawn(self, **asked):
        """What the core draws for a request."""
        asked = {"prompt": PROMPT, "seeds": (3,)} | asked
        subjects = asked.pop("subjects", (Subject(self.identity),))
        request = PersonalizeRequest(subjects=subjects, **asked)
        return draw(self.session.components, request)

    def edited(self, **asked):
        """What the core makes of the picture; a session remembers texts, and how they were read."""
        return edit(self.session.components, self.photo, OTHER, **asked)

    def large(self, *, adapter=None, preset=None, kind=SwiftPiePipeline, **choices):
        """A tiny model of Stable Diffusion 2.1's shape, from its folder."""
        given = {"weights": self.place / "pipeline"} | choices
        if adapter:
            given |= {"adapter": self.place / adapter, "image_encoder": self.place / "encoder"}
        return quiet(kind.from_components(load_components(preset or preset_of("sd21"), **given)))

    def theirs(self, name=None):
        """The same as a pipeline of diffusers, which was loaded by a name."""
        pipe = StableDiffusionPipeline.from_pretrained(self.place / "pipeline")
        if name is not None:
            pipe.register_to_config(_name_or_path=name)
        return pipe

    def with_lora(self):
        """The same with a LoRA, as presets that are one load it."""
        base = str(self.place / "pipeline")
        preset = replace(preset_of("sd21"), kind=WeightsKind.LORA, file="x", base=base)
        return self.large(adapter=OWN, preset=preset, weights=self.place / LORA)


OWN, PUBLIC, LORA = "own.safetensors", "public.safetensors", "lora.safetensors"


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def same(called, reference):
    """Whether two results hold the same pictures, bit by bit."""
    pairs = zip(called.images, reference.images, strict=True)
    return all(one.tobytes() == other.tobytes() for one, other in pairs)


def pixels(pipe, **options):
    call = {"ip_adapter_image": subject(), "seeds": [3], "output_type": "np"} | options
    return pipe(PROMPT, **call).images


@pytest.fixture(scope="module")
def tools(session, identity, sprite, tmp_path_factory):
    place = tmp_path_factory.mktemp("sd21")
    tiny_models.make_pipeline(place / "pipeline", "sd21", is_shallow=True)
    tiny_models.make_own_adapter(place / OWN, "sd21", is_shallow=True)
    tiny_models.make_public_adapter(place / PUBLIC, "sd21", is_shallow=True)
    tiny_models.make_lora(place / LORA, "sd21", is_shallow=True)
    return Tools(session, identity, sprite, place)


@pytest.fixture(autouse=True)
def unchanged(tools):
    """What a case sets on the pipelines goes with it."""
    before = dict(vars(tools.pipe))
    yield
    vars(tools.pipe).clear()
    vars(tools.pipe).update(before)


def test_every_row_has_a_case_and_every_case_a_row():
    assert ROWS.keys() == CASES.keys()
    assert len(ROWS) == len(re.findall(r"\| (?:works|error) \|", PAGE))


@pytest.mark.thorough
@pytest.mark.parametrize("row", ROWS)
def test_a_habit_is_met_as_the_page_says(tools, tmp_path, row):
    if ROWS[row]["kind"] == "works":
        CASES[row](tools, tmp_path)
        return
    calls = CASES[row](tools, tmp_path)
    told = []
    for call in calls if isinstance(calls, tuple) else (calls,):
        with pytest.raises(Exception, match=r"\. ") as caught:
            call()
        told.append(str(caught.value))
        assert "unexpected keyword" not in told[-1]
    for use in re.findall(r"`([^`]+)`", ROWS[row]["how"]):
        assert any(use in one for one in told), (use, told)


@habit('`pipe(["…", "…"], generator=[…])`')
def _(tools, _folder):
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    assert same(
        tools([PROMPT, OTHER], generator=generators),
        tools.drawn(prompt=(PROMPT, OTHER), seeds=(5, 6)),
    )


@habit("`num_images_per_prompt=2`")
def _(tools, _folder):
    called = tools([PROMPT, OTHER], num_images_per_prompt=2, seeds=[5, 6, 7, 8])
    prompts = (PROMPT, PROMPT, OTHER, OTHER)
    assert same(called, tools.drawn(prompt=prompts, seeds=(5, 6, 7, 8)))
    call = {"prompt": OTHER, "image": tools.photo, "settings": BY_INVERSION}
    pair = tools.edit(**call, num_images_per_prompt=2, seeds=[1, 2])
    assert [one.tobytes() for one in pair.images] == [
        tools.edit(**call, seeds=[seed]).images[0].tobytes() for seed in (1, 2)
    ]


@habit('`guidance_scale=2, negative_prompt="…"`')
def _(tools, _folder):
    called = tools(guidance_scale=2, negative_prompt="a cat")
    reference = tools.drawn(guidance=ClassifierFree((2.0,)), negative_prompt="a cat")
    assert same(called, reference)
    assert not same(called, tools.drawn())


@habit("`prompt_embeds=…`")
def _(tools, _folder):
    states, pooled = tools.pipe.encode_prompt(PROMPT)
    called = tools.pipe(
        prompt_embeds=states, pooled_prompt_embeds=pooled, subjects=tools.identity, seeds=[3]
    )
    text = TextCondition(states, states.ne(0).any(-1).long(), pooled)
    assert same(called, tools.drawn(prompt=text))


@habit('`output_type="latent"`')
def _(tools, _folder):
    latents = tools(output_type="latent").images  # a scene is drawn in pixels
    assert torch.equal(latents, tools.drawn(output=Output.LATENTS).tensor)
    array = tools(output_type="np").images[0]
    assert np.abs(array * 255 - np.asarray(tools.drawn().images[0])).max() <= 1


@habit("`callback_on_step_end=…`")
def _(tools, _folder):
    kept = tools(callback_on_step_end=lambda *given: given[-1])
    assert same(kept, tools.drawn())
    assert same(tools(callback_on_step_end=lambda *_: {}), tools.drawn())
    grey = tools(callback_on_step_end=lambda *given: {"latents": 0 * given[-1]["latents"]})
    assert not same(grey, kept)

    def stop(pipe, *given):
        pipe._interrupt = True
        return given[-1]

    assert tools(callback_on_step_end=stop).images == []


@habit('`cross_attention_kwargs={"ip_adapter_masks": …}`')
def _(tools, _folder):
    left = Image.new("L", (128, 128))
    left.paste(255, (0, 0, 64, 128))
    masks = IPAdapterMaskProcessor().preprocess([left], height=128, width=128)
    called = tools.pipe(
        PROMPT,
        ip_adapter_image_embeds=[tools.identity],
        cross_attention_kwargs={"ip_adapter_masks": masks},
        seeds=[3],
    )
    assert same(called, tools.drawn(subjects=(Subject(tools.identity, mask=masks[None, 0]),)))


@habit("`set_ip_adapter_scale(0.6)`")
def _(tools, _folder):
    plain, weaker = tools.drawn(), Subject(tools.identity, scale=0.6)
    tools.pipe.set_ip_adapter_scale(0.6)
    assert same(tools(), tools.drawn(subjects=(weaker,)))
    assert not same(tools(), plain)
    tools.pipe.set_ip_adapter_scale([0.6, 1.0])
    pair = [tools.identity, tools.identity]
    called = tools.pipe(PROMPT, ip_adapter_image_embeds=pair, seeds=[3])
    assert same(called, tools.drawn(subjects=(weaker, Subject(tools.identity))))
    with pytest.raises(ValueError, match="2 numbers, and the call has 1 subjects"):
        tools()
    tools.pipe.set_ip_adapter_scale(1.0)
    assert same(tools(), plain)
    # Beside strengths of a recipe, or of a call, the number stands in place of the identity's.
    components = tools.session.components
    weak = replace(components.preset, defaults={"identity_scale": 0.4, "detail_scale": 0.8})
    pipe = quiet(SwiftPiePipeline.from_components(replace(components, preset=weak)))
    given = {"subjects": tools.identity, "seeds": [3]}
    assert same(pipe(PROMPT, **given), tools.drawn(scales=Scales(0.4, 0.8)))
    pipe.set_ip_adapter_scale(1.0)
    assert same(pipe(PROMPT, **given), tools.drawn(scales=Scales(1.0, 2.0)))
    own = pipe(PROMPT, scales=Scales(0.5, 0.25), **given)
    assert same(own, tools.drawn(scales=Scales(1.0, 0.5)))


@habit('`set_ip_adapter_scale({"up": …})`')
def _(tools, _folder):
    plain = tools.drawn()
    tools.pipe.set_ip_adapter_scale({"down": 1.0, "mid": 1.0, "up": 1.0})
    assert same(tools(), plain)
    tools.pipe.set_ip_adapter_scale({"up": 0.5})
    weaker = Subject(tools.identity, layers={"up": 0.5})
    assert same(tools(), tools.drawn(subjects=(weaker,)))
    assert not same(tools(), plain)
    with pytest.raises(ValueError, match="block_7"):
        tools.pipe.set_ip_adapter_scale({"up": {"block_7": 1.0}})
    tools.pipe.set_ip_adapter_scale(1.0)


@habit('`load_ip_adapter(…, weight_name="….safetensors")`')
def _(tools, _folder):
    expected = pixels(tools.large(adapter=PUBLIC))
    own = tools.large(adapter=OWN)
    before = pixels(own)
    pipe = tools.large()
    twin = SwiftPiePipeline.from_pipe(pipe)
    encoder = str(tools.place / "encoder")
    pipe.load_ip_adapter(tools.place, weight_name=PUBLIC, image_encoder_folder=encoder)
    assert np.array_equal(pixels(pipe), expected)
    own.load_ip_adapter(str(tools.place), "", PUBLIC)  # in place of the other, same encoder
    assert np.array_equal(pixels(own), expected)
    own.load_ip_adapter(tools.place / OWN)
    assert np.array_equal(pixels(own), before)
    own.unload_ip_adapter()
    for bare in (own, quiet(twin)):
        with pytest.raises(Exception, match="without an identity adapter"):
            pixels(bare)
    with pytest.raises(Exception, match="no adapters for it"):
        tools.pipe.load_ip_adapter(tools.place, weight_name=PUBLIC)


def changed(pipe):
    """A weight that the LoRA changes."""
    return next(one for name, one in pipe.unet.named_parameters() if name.endswith("to_q.weight"))


@habit("`load_lora_weights(…)`")
def _(tools, _folder):
    expected, pipe = pixels(tools.with_lora()), tools.large(adapter=OWN)
    before, twin = changed(pipe).clone(), SwiftPiePipeline.from_pipe(pipe)
    old = pipe.to_components().fingerprint
    pipe.load_lora_weights(tools.place, weight_name=LORA)
    assert np.array_equal(pixels(pipe), expected)
    assert pipe.to_components().fingerprint != old
    assert torch.equal(changed(twin), before)
    pipe.load_ip_adapter(tools.place / PUBLIC)
    assert pipe.get_active_adapters() == ["default_0"]
    pipe.load_ip_adapter(tools.place / OWN)
    assert np.array_equal(pixels(pipe), expected)
    pipe.unload_lora_weights()
    assert torch.equal(changed(pipe), before)
    with pytest.raises(Exception, match="no LoRAs for the networks"):
        tools.pipe.load_lora_weights(tools.place, weight_name=LORA)


@habit('`set_adapters(["a", "b"], [0.7, 0.3])`')
def _(tools, _folder):
    pipe = tools.large()
    before = changed(pipe).clone()
    pipe.load_lora_weights(tools.place / LORA, adapter_name="a")
    whole = changed(pipe).clone()
    pipe.load_lora_weights(tools.place / LORA, adapter_name="b")
    assert torch.equal(changed(pipe), whole)
    pipe.set_adapters(["a", "b"])
    assert torch.allclose(changed(pipe), 2 * whole - before, atol=1e-5)
    pipe.set_adapters(["a", "b"], [0.7, 0.3])
    assert torch.allclose(changed(pipe), whole, atol=1e-5)
    assert pipe.get_list_adapters() == {"unet": ["a", "b"]}
    pipe.set_adapters("b", 1.0)
    assert torch.equal(changed(pipe), whole)
    assert pipe.get_active_adapters() == ["b"]
    pipe.disable_lora()
    assert torch.equal(changed(pipe), before)
    pipe.enable_lora()
    pipe.delete_adapters("a")
    pipe.fuse_lora(lora_scale=0.5)
    pipe.unload_lora_weights()
    assert torch.allclose(changed(pipe), (whole + before) / 2, atol=1e-5)


@habit("`from_pipe(pipe)`")
def _(tools, _folder):
    twin = quiet(SwiftPiePipeline.from_pipe(SwiftEditPipeline.from_pipe(tools.pipe)))
    assert twin.unet is tools.pipe.unet
    assert same(twin(PROMPT, subjects=tools.identity, seeds=[3]), tools.drawn())


@habit("`save_pretrained(…)`, `from_pretrained(…)`")
def _(tools, folder):
    tools.pipe.save_pretrained(folder)
    loaded = quiet(SwiftPiePipeline.from_pretrained(folder))
    assert same(loaded(PROMPT, subjects=tools.identity, seeds=[3]), tools.drawn())


@habit("`enable_model_cpu_offload()`")
def _(tools, _folder):
    """The processor stands for the accelerator; moved weights may round differently."""
    pipe = tools.large(adapter=OWN)
    pipe.load_lora_weights(tools.place / LORA)
    pipe.enable_model_cpu_offload(device="cpu")
    assert np.abs(pixels(pipe) - pixels(tools.with_lora())).max() < 1e-4
    with pytest.raises(ValueError, match="before enable_model_cpu_offload"):
        pipe.unload_lora_weights()
    pipe.remove_all_hooks()


@habit("`pipe.vae.enable_tiling()`")
def _(tools, _folder):
    pipe = tools.large(adapter=OWN)
    before = pixels(pipe)
    pipe.vae.enable_tiling()
    assert pixels(pipe).shape == before.shape
    assert not np.array_equal(pixels(pipe), before)  # the seams of so small tiles


@habit("`edit(prompt, image, mask_image)`")
def _(tools, _folder):
    mask = Image.new("L", (128, 128))
    mask.paste(255, (32, 32, 96, 96))
    called = tools.edit(OTHER, tools.photo, mask, settings=BY_INVERSION, seeds=[3])
    drawn = tools.edited(mask=load_mask(mask, (128, 128)), settings=BY_INVERSION, seed=3)
    assert called.images[0].tobytes() == drawn.image.tobytes()


@habit("`edit(…, generator=…)`")
def _(tools, _folder):
    settings = replace(BY_INVERSION, variation=1.0)
    call = {"settings": settings, "generator": torch.Generator().manual_seed(1)}
    first = tools.edit(OTHER, tools.photo, **call)
    second = tools.edit(OTHER, tools.photo, **call)
    assert first.seeds != second.seeds
    for called in (first, second):
        (seed,) = called.seeds
        drawn = tools.edited(seed=seed, settings=settings)
        assert called.images[0].tobytes() == drawn.image.tobytes()
    again = tools.edit(
        OTHER, tools.photo, settings=settings, generator=[torch.Generator().manual_seed(1)]
    )
    assert again.seeds == first.seeds


@habit("`edit(…, ip_adapter_image=…)`")
def _(tools, _folder):
    drawn = tools.edited(source=tools.identity, seed=3)
    for given in ({"ip_adapter_image": tools.sprite}, {"ip_adapter_image_embeds": tools.identity}):
        called = tools.edit(OTHER, tools.photo, seeds=[3], **given)
        assert called.images[0].tobytes() == drawn.image.tobytes()


def refused(row, *makers):
    """Register calls, each made of the tools, that shall be errors."""
    habit(row)(lambda tools, _folder: tuple(lambda make=make: make(tools) for make in makers))


def compile_unet(tools):
    pipe = tools.large(adapter=OWN)
    pipe.unet = torch.compile(pipe.unet)
    pixels(pipe)


def exchange_scheduler(tools):
    pipe = SwiftPiePipeline.from_pipe(tools.pipe)
    pipe.scheduler = EulerDiscreteScheduler()
    pipe(PROMPT, subjects=tools.identity)


def halve(tools):
    tools.large(dtype=torch.bfloat16)  # others are
    preset = SwiftPiePipeline.from_preset("mini")
    preset.to(torch.float16)
    preset(PROMPT, subjects=tools.identity)


refused(
    '`callback_on_step_end_tensor_inputs=["prompt_embeds"]`',
    lambda t: t(callback_on_step_end_tensor_inputs=["prompt_embeds"]),
    lambda t: t(
        callback_on_step_end=SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)
    ),
)
refused("`edit(…, strength=0.6)`", lambda t: t.edit(PROMPT, t.photo, strength=0.6))
refused("`edit(…, height=512)`", lambda t: t.edit(PROMPT, t.photo, height=512))
refused("`pipe(…, image=…)`", lambda t: t(image=t.photo), lambda t: t(mask_image=t.photo))
refused("`pipe(prompt)` without a subject, with `mini`", lambda t: t.pipe(PROMPT))
refused("`num_inference_steps=30`", lambda t: t(num_inference_steps=30))
refused(
    "`timesteps=…`, `sigmas=…`, `eta=…`, `denoising_end=…`",
    lambda t: t(timesteps=[999]),
    lambda t: t(sigmas=[1.0]),
    lambda t: t(eta=0.5),
    lambda t: t(denoising_end=0.8),
)
refused("`pipe.scheduler = …`", exchange_scheduler)
refused("`pipe.unet = torch.compile(pipe.unet)`", compile_unet)
refused("`clip_skip=1`", lambda t: t(clip_skip=1))
refused(
    '`negative_prompt="…"` alone, or `guidance_rescale=…`',
    lambda t: t(negative_prompt="ugly"),
    lambda t: t(guidance_rescale=0.7),
)
refused('`prompt_2="…"`', lambda t: t(prompt_2="x"))
refused(
    '`cross_attention_kwargs={"scale": 0.5}`', lambda t: t(cross_attention_kwargs={"scale": 0.5})
)
refused(
    '`load_ip_adapter(…, weight_name="….bin")`',
    lambda t: t.large().load_ip_adapter("h94/IP-Adapter", "models", "ip-adapter_sd15.bin"),
    lambda t: t.large().load_ip_adapter("h94/IP-Adapter", subfolder="models"),
)
refused(
    "`prepare_ip_adapter_image_embeds(…, device=…)`",
    lambda t: t.pipe.prepare_ip_adapter_image_embeds(t.sprite, device="cpu"),
    lambda t: t.pipe.encode_prompt(PROMPT, "cpu", 1, True),
)
refused(
    "`callback=…, callback_steps=1`",
    lambda t: t(callback=print),
    lambda t: t(callback_on_step_end=lambda *_: None),
    lambda t: t(callback_on_step_end=lambda *_: {"latents": torch.zeros(1)}),
    lambda t: t(callback_on_step_end=lambda *_: {"prompt_embeds": torch.zeros(1)}),
)
refused(
    "`enable_attention_slicing()`, xFormers",
    lambda t: t.pipe.enable_attention_slicing(),
    lambda t: t.pipe.enable_xformers_memory_efficient_attention(),
)
refused(
    "`enable_sequential_cpu_offload()`, `enable_group_offload()`",
    lambda t: t.pipe.enable_sequential_cpu_offload(),
    lambda t: t.pipe.enable_group_offload("cpu"),
)
refused(
    "`enable_vae_tiling()`, `enable_vae_slicing()`",
    lambda t: t.pipe.enable_vae_tiling(),
    lambda t: t.edit.enable_vae_slicing(),
)
refused(
    "`enable_freeu(…)`, `fuse_qkv_projections()`",
    lambda t: t.pipe.enable_freeu(s1=1, s2=1, b1=1, b2=1),
    lambda t: t.pipe.fuse_qkv_projections(),
)
refused("`load_textual_inversion(…)`", lambda t: t.pipe.load_textual_inversion("x"))
refused(
    "`from_preset(…, torch_dtype=…)`",
    lambda _: SwiftPiePipeline.from_preset("mini", torch_dtype=torch.float16),
)
refused(
    "`from_preset(…, safety_checker=None)`",
    lambda _: SwiftPiePipeline.from_preset("mini", safety_checker=None),
    lambda _: SwiftPiePipeline.from_recipe("sdxl-turbo", safety_checker=None),
)
refused("`mini` in half precision", halve)
refused('`from_pretrained("mini")`', lambda _: SwiftPiePipeline.from_pretrained("mini"))
refused("`from_single_file(…)`", lambda _: SwiftPiePipeline.from_single_file("x.safetensors"))
refused(
    "`safe_serialization=False`, `use_safetensors=False`",
    lambda t: t.pipe.save_pretrained("x", safe_serialization=False),
    lambda _: SwiftPiePipeline.from_pretrained("x", use_safetensors=False),
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_unet_is_compiled_in_place(tools):
    graphs = []

    def backend(module, _inputs):
        graphs.append(module)
        return module.forward

    pipe = tools.large(adapter=OWN)
    plain = pixels(pipe)
    pipe.unet.compile(backend=backend)
    assert np.abs(pixels(pipe) - plain).max() < 1e-4
    assert graphs


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: SwiftPiePipeline.from_pretrained(t.place / "pipeline"),
            r"holds a StableDiffusionPipeline of diffusers.*from_preset\(PRESET, weights='",
        ),
        (
            lambda t: SwiftEditPipeline.from_pretrained(t.place),
            r"holds no pipeline.*SwiftEditPipeline\.from_preset",
        ),
        (lambda _: SwiftPiePipeline.from_pretrained("./absent"), r"'\./absent' holds no pipeline"),
        (
            lambda t: SwiftPiePipeline.from_pipe(t.place / "pipeline", preset="sd-turbo"),
            r"got a \w*Path, and a loaded pipeline.*from_pretrained\(FOLDER\)",
        ),
        (
            lambda t: SwiftPiePipeline.from_pipe(t.theirs()),
            r"Add `preset`.*one of `swiftpie presets`",
        ),
        (
            lambda t: SwiftPiePipeline.from_pipe(t.theirs("stabilityai/sd-turbo")),
            r"preset=…\), here 'sd-turbo'",
        ),
        (
            lambda t: SwiftPiePipeline.from_pipe(t.pipe, preset="mini"),
            r"knows its preset.*Leave `preset` and `adapter` out",
        ),
        (
            lambda t: SwiftPiePipeline.from_pipe(t.pipe, torch_dtype=torch.float16),
            r"`torch_dtype=`.*Call to\(dtype\)",
        ),
        (
            lambda t: SwiftPiePipeline.from_pipe(
                t.theirs(), preset="sd-turbo", feature_extractor=1
            ),
            "nothing is checked",
        ),
        (lambda t: SwiftPiePipeline.from_pipe(t.pipe, vea=None), r"vea=….*Leave it out, or.* vae"),
        (
            lambda t: SwiftPiePipeline.from_pipe(
                t.theirs(), preset="sd-turbo", adapter=t.place / OWN
            ),
            r"no image_encoder.*call load_ip_adapter\(\)",
        ),
        (lambda t: t.pipe.encode_image(t.sprite, "cpu", 1), "prepare_ip_adapter_image_embeds"),
        (
            lambda t: t.pipe.prepare_ip_adapter_image_embeds(t.sprite, None, "cpu", 1, True),
            r"`device=` was given.*Leave it out",
        ),
        (
            lambda t: t.pipe.prepare_ip_adapter_image_embeds(t.sprite, [t.identity]),
            r"`ip_adapter_image_embeds=` was given.*Leave it out",
        ),
        (lambda t: t.pipe.prepare_ip_adapter_image_embeds([]), "No picture was given to encode"),
        (lambda t: t.pipe.prepare_ip_adapter_image_embeds(None), r"as NoneType\. A PIL image"),
        (lambda t: t(subjects=None, ip_adapter_image_embeds=3), r"holds a int.* Give the Identity"),
        (
            lambda t: t(subjects=None, ip_adapter_image_embeds=torch.zeros(1, 4, 8)),
            r"holds a Tensor.*that prepare_ip_adapter_image_embeds\(\) returns",
        ),
    ],
)
def test_errors_name_the_remedy(tools, call, message):
    with pytest.raises(Exception, match=message):
        call(tools)


def test_what_is_not_here_is_not_said_to_be(tools):
    assert not hasattr(tools.pipe, "enable_freeu")
    assert hasattr(tools.pipe, "load_lora_weights")
    assert not hasattr(tools.edit, "set_ip_adapter_scale")
    with pytest.raises(TypeError, match="'devise'"):
        tools.pipe.prepare_ip_adapter_image_embeds(tools.sprite, devise="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pipe: pipe.load_lora_weights({"x": 1}), "given as dict"),
        (lambda pipe: pipe.load_lora_weights("nowhere/at-all"), "weight_name"),
        (lambda pipe: pipe.set_adapters("x"), "no LoRA 'x'"),
        (lambda pipe: pipe.set_adapters(["a"], [1, 2]), "2 weights were given for 1"),
        (lambda pipe: pipe.set_adapters("a", {"unet": 1}), "for all of its layers"),
        (lambda pipe: pipe.load_lora_weights("y.safetensors", "a"), "already"),
        (
            lambda pipe: pipe.load_lora_weights("no/y", weight_name="y.safetensors"),
            "downloaded|reach",
        ),
        (lambda pipe: pipe.fuse_lora(components=["text_encoder"]), "U-Net only"),
    ],
)
def test_a_change_that_cannot_be_made_leaves_the_pipeline_as_it_was(lora_pipe, change, message):
    loaded, names = lora_pipe.to_components(), lora_pipe.get_list_adapters()
    with pytest.raises(Exception, match=message):
        change(lora_pipe)
    assert lora_pipe.to_components().denoiser is loaded.denoiser
    assert lora_pipe.get_list_adapters() == names


@pytest.fixture(scope="module")
def lora_pipe(tools):
    pipe = tools.large()
    pipe.load_lora_weights(tools.place / LORA, adapter_name="a")
    return pipe
