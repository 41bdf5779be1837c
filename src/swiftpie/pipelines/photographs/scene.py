"""Draws subjects into a given scene: the place in the prompt's light, then the subjects in it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from PIL import Image, ImageOps

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.geometry.layout import Layout
from swiftpie.noise import draw_noise, draw_step_noise
from swiftpie.pipelines.drawing.edit import EditResult
from swiftpie.pipelines.drawing.prepare import num_draws, place_subject, read_prompts, side_by_side
from swiftpie.pipelines.drawing.request import Output, PersonalizeRequest, RepaintRequest
from swiftpie.pipelines.drawing.settings import Scales
from swiftpie.pipelines.photographs.relight import NOISE_SHAPE, add_weather, relight
from swiftpie.scenes import SceneSetting, packaged, read_setting
from swiftpie.types import GenerationResult, TextCondition

OWN_PICTURE = "a picture of your own"  # what metadata call a scene that is no name


class SceneRow(NamedTuple):
    """One picture: its empty place, and what is in the air before it."""

    place: Image.Image
    setting: SceneSetting
    noise: torch.Tensor  # (1, 32, 32, 32) that the weather follows
    prompt: str
    seed: int
    layouts: tuple[Layout | None, ...]  # of the subjects, a row each; None: proposed by the place


@torch.no_grad()
def prepare(components: Components, request: PersonalizeRequest) -> list[SceneRow]:
    """Choose the scene of each picture, show it as the prompt says, and place the subjects.

    Raises:
        CapabilityError: The request asks for latents, or the preset cannot turn subjects.
        InputError: There is no such scene, or noise or encoded prompts came with it.
    """
    if request.output is Output.LATENTS:
        raise CapabilityError("A scene is drawn in pixels and has no latents. Ask for pictures.")
    if request.noise is not None or isinstance(request.prompt, TextCondition):
        raise InputError(
            "`scene` came with noise or with an encoded prompt. A scene is chosen and lit by seed "
            "and words. Give a prompt as text, and seeds."
        )
    height, width = (
        cells * components.preset.latent_cell_px for cells in components.cells_of(request.size_px)
    )
    prompts = (request.prompt,) if isinstance(request.prompt, str) else request.prompt
    rows = []
    for index, seed in enumerate(request.seeds):
        prompt = prompts[index % len(prompts)]
        setting = read_setting(prompt)
        noise = draw_noise_of(seed)
        name, picture = _scene_of(request, noise)
        fitted = ImageOps.fit(picture.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
        place = relight(fitted, setting, noise=noise, place=name)
        layouts = _layouts(components, request, prompt, seed)
        rows.append(SceneRow(place, setting, noise, prompt, seed, layouts))
    return rows


def insertions(
    components: Components,
    request: PersonalizeRequest,
    rows: Sequence[SceneRow],
    index: int,
    places: Sequence[Image.Image],
) -> list[RepaintRequest]:
    """Return the requests that put one subject into the places of all pictures."""
    subject = request.subjects[index]
    return [
        RepaintRequest(
            image=place,
            seed=row.seed,
            identity=subject.identity,
            prompt=row.prompt,
            box=subject.box,
            view=subject.view,
            layout=row.layouts[index],
            scales=_insertion_scales(components, request.scales),
            guidance=request.guidance,
            shaping=request.shaping,
            negative_prompt=request.negative_prompt,
        )
        for row, place in zip(rows, places, strict=True)
    ]


def _insertion_scales(components: Components, scales: Scales | None) -> Scales | None:
    """Return the scales of an insertion with the strengths of a drawing; None: the usual ones.

    An insertion has one strength for both identity branches: `identity_scale` sets it.
    """
    if scales is None:
        return None
    usual = Scales.for_edit(components.preset, has_reference=True)
    shown = "identity_scale" if components.layout_predictor is None else "background_scale"
    strengths = {shown: scales.identity_scale, "text_scale": scales.text_scale}
    return replace(usual, **strengths, balance=scales.balance, energy_cap=scales.energy_cap)


def finish(
    request: PersonalizeRequest,
    rows: Sequence[SceneRow],
    drawn: Sequence[Sequence[EditResult]],
    timings: Mapping[str, float],
) -> GenerationResult:
    """Return the pictures with rain, flakes and fog before everything; `drawn` is by subject."""
    pictures = [
        add_weather(result.image, row.setting, noise=row.noise)
        for row, result in zip(rows, drawn[-1], strict=True)
    ]
    last = drawn[-1]
    named = tuple(
        subject.identity.named for subject in request.subjects if subject.identity.named is not None
    )
    scene = request.scene if isinstance(request.scene, str) else OWN_PICTURE
    origins = [result.origin for results in drawn for result in results]
    return GenerationResult(
        images=tuple(pictures),
        subject_masks=tuple(result.region for result in last),
        regions=torch.cat([result.latent_region for result in last]),
        seeds=request.seeds,
        layouts=(),
        branches=last[0].branches,
        cutouts=tuple(subject.identity.cutouts for subject in request.subjects),
        timings_ms=timings,
        origin={**dict(pair for origin in origins for pair in origin.items()), "scene": scene},
        named=named,
    )


def draw_noise_of(seed: int) -> torch.Tensor:
    """Return the noise (1, 32, 32, 32) that the scene, its clouds and its weather follow."""
    return draw_noise([seed], NOISE_SHAPE)


def _scene_of(request: PersonalizeRequest, noise: torch.Tensor) -> tuple[str | None, Image.Image]:
    """Return the name and the picture of a scene; noise chooses among those of a name."""
    if isinstance(request.scene, Image.Image):
        return None, request.scene
    scenes = packaged()
    name = scenes.find(request.scene)
    chosen = float(torch.special.ndtr(noise[0, 0].sum() / noise[0, 0].numel() ** 0.5))
    number = min(int(2 * chosen * scenes.count(name)), 2 * scenes.count(name) - 1)
    picture = scenes.image(name, number // 2)
    return name, ImageOps.mirror(picture) if number % 2 else picture


def _layouts(
    components: Components, request: PersonalizeRequest, prompt: str, seed: int
) -> tuple[Layout | None, ...]:
    """Return where the model places the subjects of one picture.

    Boxes and models that place no subjects leave it to the insertion.
    """
    if components.layout_predictor is None:
        return (None,) * len(request.subjects)
    shape = (components.preset.latent_channels, *components.cells_of(request.size_px))
    noise = draw_step_noise([seed], shape, count=num_draws(components))[0].to(components.device)
    text = read_prompts(components, prompt, rows=1)
    return tuple(
        place_subject(components, subject, noise, text=text)
        for subject in side_by_side(request.subjects)
    )
