"""Whole pictures of faces, with every IP-Adapter FaceID, through diffusers' pipelines and ours.

Both read the same files, LoRA included. Networks and vectors are random and small.
"""

import itertools
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, TCDScheduler
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.pipelines.identity import face_identity
from swiftpie.types import Identity
from tests.parity.ip_adapter import difference
from tests.parity.pipelines import BOUND_PIXELS, PIPELINES, our_picture, rows_of, their_picture
from tests.tiny.adapters import FACES, PICKLED, face_adapter
from tests.tiny.folders import choices_in, make_pipeline
from tests.tiny.networks import FACE
from tests.tiny.sessions import preset_of

STEPS = ("timesteps", "noise_scale", "renoise")  # what of a preset decides about its steps
CROP_PX = 32  # what the tiny image encoder takes
SCALES = (0.4, 1.0)
PLUS_V2 = "ip-adapter-faceid-plusv2_sdxl"
FOUR_STEPS = {
    "sdxl-lightning-4": (EulerDiscreteScheduler, {"timestep_spacing": "trailing"}),
    "hyper-sdxl-4": (TCDScheduler, {"original_inference_steps": 4, "clip_sample": False}),
}
SHOWN = {0: "no_face", 1: "one face", 2: "two faces"}


def open_face(folder, name, *, is_shallow=True, like=None, **choices):
    """A session of the family in `folder`, with the adapter called `name`.

    It takes one step, or those of the preset `like`.
    """
    steps = {} if like is None else {step: getattr(like, step) for step in STEPS}
    components = load_components(
        preset_of(FACES[name][0], **steps),
        **choices_in(folder, face_adapter(folder, name, is_shallow=is_shallow)),
        allow_pickle=name in PICKLED,
        **choices,
    )
    return Session(components)


def someone(*, num_faces=1):
    """Unit vectors of one person, (R, F), and as many pictures."""
    generator = torch.Generator().manual_seed(4)
    vectors = torch.nn.functional.normalize(torch.randn(num_faces, FACE, generator=generator))
    noise = torch.randint(0, 256, (num_faces, 8, 8, 3), generator=generator, dtype=torch.uint8)
    crops = [Image.fromarray(sample.numpy()).resize((CROP_PX, CROP_PX)) for sample in noise]
    return vectors, crops


def no_face(components, *, num_faces=1):
    """The identity of no_face, as in the pipelines that FaceID was published with.

    A vector of zeros goes through the projection, and with it a picture in which nothing is seen.
    """
    encoder, side = components.image_encoder, components.preset.image_size_px
    pixels, mask = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side)
    with torch.no_grad():
        tokens = encoder(pixels, mask, torch.zeros(1, encoder.face_width))
    return Identity(
        preset=components.preset.name,
        fingerprint=components.fingerprint,
        tokens=tokens.repeat(1, num_faces, 1),
        pooled=tokens[:, 0],
        keys={},
        values={},
        pixels=pixels.repeat(num_faces, 1, 1, 1),
        mask=mask.repeat(num_faces, 1, 1, 1),
    )


def their_hidden(folder, crops):
    """States (1, R, L, C) of pictures in the image encoder; None is one in which nothing is."""
    tower = CLIPVisionModelWithProjection.from_pretrained(folder / "encoder")
    size = {"size": {"shortest_edge": CROP_PX}, "crop_size": CROP_PX}
    pixels = torch.zeros(1, 3, CROP_PX, CROP_PX)
    if crops is not None:  # blue first, as OpenCV reads them in the publishers' examples
        crops = [Image.fromarray(np.asarray(crop)[..., ::-1]) for crop in crops]
        pixels = CLIPImageProcessor(**size)(images=crops, return_tensors="pt").pixel_values
    return tower(pixels, output_hidden_states=True).hidden_states[-2][None]


def their_pipeline(folder, name):
    """A pipeline of diffusers with the adapter called `name`, and the projection of that."""
    pipeline = PIPELINES[FACES[name][0]].from_pretrained(folder / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    [file] = (path.name for path in folder.glob(f"{name}.*"))
    pipeline.load_ip_adapter(str(folder), subfolder="", weight_name=file, image_encoder_folder=None)
    return pipeline, *pipeline.unet.encoder_hid_proj.image_projection_layers


def pictures(folder, name, session):
    pipeline, projection = their_pipeline(folder, name)
    version = FACES[name][2].get("version")
    if version:
        projection.shortcut = version == 2
    found = {}
    for num_faces, shown in SHOWN.items():
        vectors, crops = someone(num_faces=max(1, num_faces))
        if num_faces:
            identity = face_identity(session.components, vectors, crop=crops if version else None)
        else:
            vectors, crops, identity = 0 * vectors, None, no_face(session.components)
        if version:
            projection.clip_embeds = their_hidden(folder, crops)
        for scale in SCALES if num_faces == 1 else SCALES[-1:]:
            pipeline.set_ip_adapter_scale(scale)
            theirs = their_picture(pipeline, ip_adapter_image_embeds=[vectors[None]])
            ours = our_picture(session, identity, scale=scale)
            found[f"{shown} at {scale}"] = (ours, theirs)
    return found


def four_steps(folder, like, *, is_shallow):
    """Rows for FaceID-PlusV2 on XL in the steps of a preset, by the scheduler of its authors."""
    session = open_face(folder, PLUS_V2, is_shallow=is_shallow, like=PRESETS.get(like))
    pipeline, projection = their_pipeline(folder, PLUS_V2)
    scheduler, settings = FOUR_STEPS[like]
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **settings)
    vectors, crops = someone()
    projection.shortcut, projection.clip_embeds = True, their_hidden(folder, crops)
    pipeline.set_ip_adapter_scale(0.8)
    theirs = their_picture(pipeline, num_steps=4, ip_adapter_image_embeds=[vectors[None]])
    identity = face_identity(session.components, vectors, crop=crops)
    ours = our_picture(session, identity, scale=0.8)
    return rows_of(f"{PLUS_V2}, as {like}", ours, theirs)


def compare(folder, name, *, is_shallow):
    found = pictures(folder, name, open_face(folder, name, is_shallow=is_shallow))
    pairs = itertools.combinations([theirs[1] for _, theirs in found.values()], 2)
    apart = min(difference(*pair) for pair in pairs)
    assert apart > 10 * BOUND_PIXELS, "two pictures are alike"  # else equality would say nothing
    return [row for what, pair in found.items() for row in rows_of(f"{name}, {what}", *pair)]


@torch.no_grad()
def rows(names=tuple(FACES), *, is_shallow=False):
    found = []
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as root:
        # diffusers' schedulers hand tensors to numpy in a way that numpy 2 complains of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        for family in sorted({FACES[name][0] for name in names}):
            make_pipeline(Path(root) / family / "pipeline", family, is_shallow=is_shallow)
        for name in names:
            found += compare(Path(root) / FACES[name][0], name, is_shallow=is_shallow)
        if PLUS_V2 in names:
            for like in FOUR_STEPS:
                found += four_steps(Path(root) / "sdxl", like, is_shallow=is_shallow)
    return found
