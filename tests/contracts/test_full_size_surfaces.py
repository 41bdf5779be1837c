"""What Stable Diffusion and FLUX.2 draw, by tiny random weights, is the same from every surface."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from PIL import Image

import swiftpie
from swiftpie.faces import FACE_ENCODERS
from tests.contracts.test_surfaces import (
    BOX,
    SURFACES,
    by_session,
    edit,
    insert,
    nodes,
    picture,
    serve,
)
from tests.golden.cases import FACES
from tests.tiny import klein
from tests.tiny.adapters import make_public_adapter
from tests.tiny.faces import PHOTO, make_models
from tests.tiny.folders import make_pipeline, make_unet

__all__ = ["nodes"]
PRESETS = {"sd15": "instaflow", "sdxl": "sdxl-turbo", "flux2": "flux2-klein-4b"}
WHO, SAYS = "a person at sea", {"source_prompt": "a person in a suit"}
APART = {"nodes": "no node chooses the mode"}
NO_FACES = {"assistant": "it has no encoder of faces"}
STYLE = {"style_reference": "photo.png"}
CASES = {
    "ChordEdit": edit(WHO, {"chord": "fast", **SAYS}),
    "inversion": edit(WHO, {"mode": "released", **SAYS}, left_out=APART),
    "face": edit(WHO, has_face=True, left_out=NO_FACES),
    "style": picture("a robot at sea", {**STYLE, "size": (64, 64)}),
    "best of several": picture("a robot at sea", {"best_of": 3, "size": (64, 64)}),
    "best insertion": insert({"box": BOX, "best_of": 3}),
    "best face": edit(WHO, {"best_of": 3}, has_face=True, left_out=NO_FACES),
    "styled edit": edit(WHO, {"chord": "fast", **STYLE, **SAYS}),
    "styled insertion": insert({"box": BOX, **STYLE}),
    "klein": edit(WHO),
}
DRAWN = [*product(("sd15", "sdxl"), ("ChordEdit", "inversion", "face"))]
DRAWN += [("sdxl", "style"), ("flux2", "klein")]
DRAWN += [*product(("sd15", "sdxl"), ("best of several", "best insertion"))]
DRAWN += [*product(["sd15"], ("style", "styled edit", "styled insertion"))]


@pytest.fixture
def folder(tmp_path, sprite):
    make_models(tmp_path / "faces")
    for name in ("photo.png", "me.jpg"):
        with Image.open(PHOTO) as photo:
            photo.save(tmp_path / name)
    sprite.save(tmp_path / "subject.png")
    return tmp_path


def written(folder, family, name):
    """Write tiny weights for a case, and return what a session is loaded with."""
    choices = {"weights": folder / "pipeline"}
    if family == "flux2":
        klein.make_pipeline(choices["weights"])
        return choices
    kind = {"is_shallow": name != "style"}  # its layers are counted in the whole network
    make_pipeline(choices["weights"], family, **kind)
    if name == "inversion":
        choices["inversion"] = make_unet(folder / "inversion", family, **kind)
    kind["name"] = FACES[family] if name == "face" else None
    adapter = make_public_adapter(folder / "adapter.safetensors", family, **kind)
    return choices | {"adapter": adapter, "image_encoder": folder / "encoder"}


@pytest.mark.thorough
@pytest.mark.parametrize(("family", "name"), DRAWN)
def test_every_surface_draws_what_a_session_draws(folder, monkeypatch, nodes, family, name):
    choices = written(folder, family, name)
    case = replace(CASES[name], preset=PRESETS[family], choices=choices)
    session = swiftpie.load(case.preset, device="cpu", **choices)
    session = session.with_face_encoder(FACE_ENCODERS.get("opencv").open(folder / "faces"))
    wanted = by_session(case, session, folder)
    with serve.serving(session, facts={"knows_faces": True}) as server:
        by = {"command": monkeypatch, "http": server, "assistant": server, "nodes": nodes}
        for surface in SURFACES.keys() - case.left_out.keys():
            drawn = SURFACES[surface](case, session, folder, by.get(surface))
            assert np.array_equal(drawn.convert("RGB"), wanted), surface
