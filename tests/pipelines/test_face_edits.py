from dataclasses import replace

import numpy as np
import pytest

from swiftpie import EditRequest, EditSettings, IdentityGuidance, InputError
from swiftpie.faces import METADATA
from swiftpie.models.inversion import UNetInversion
from swiftpie.pipelines.identity import face_identity
from swiftpie.pipelines.settings import EditMode
from tests.backbones.tiny_models import make_pipeline
from tests.faces.tiny_faces import make_models, photo
from tests.parity.faces import open_face, someone
from tests.parity.ip_adapter import tiny_unet
from tests.quick import thorough_but

PROMPT = "a chef"
WAYS = {method: EditSettings(method=method) for method in ("inversion", "chord")}


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    from swiftpie.engine.session import Session
    from swiftpie.faces import FACE_ENCODERS

    folder = tmp_path_factory.mktemp("faces")
    make_pipeline(folder / "pipeline", "sd15", is_shallow=True)
    components = open_face(folder, "ip-adapter-faceid-plusv2_sd15", is_shallow=True).components
    inversion = UNetInversion(tiny_unet("sd15", is_shallow=True))
    encoder = FACE_ENCODERS.get("opencv").open(make_models(folder / "models"))
    preset = replace(components.preset, image_size_px=64)
    own = replace(components, inversion=inversion, preset=preset)
    return Session(own).with_face_encoder(encoder)


@pytest.fixture(scope="module")
def people(session):
    vectors, crops = someone(num_faces=2)
    return [face_identity(session.components, vectors[i], crop=crops[i]) for i in range(2)]


def edited(session, person, settings, **options):
    return session.edit(photo(), PROMPT, identity=person, seed=1, settings=settings, **options)


@pytest.mark.parametrize("method", thorough_but(WAYS, ["inversion"]))
def test_the_face_changes_and_all_else_stays_to_the_last_bit(session, people, method):
    before = np.asarray(photo())
    results = [edited(session, person, WAYS[method]) for person in people]
    first, second = (np.asarray(result.image) for result in results)
    outside = np.asarray(results[0].region) == 0
    assert 0.5 < outside.mean() < 0.9
    assert (first[outside] == before[outside]).all()
    assert (first[~outside] != before[~outside]).any()
    assert (first != second).any()  # so it is the person who is drawn
    assert results[0].origin["face"] == METADATA["face"]


@pytest.mark.parametrize("place", [{"mask": (0.0, 0.0, 0.5, 1.0)}, {"keyword": "a dog"}])
def test_a_place_that_is_named_goes_before_the_face(session, people, place):
    brought = {"source": people[0], "finds_face": True}
    request = EditRequest(image=photo(), prompt=PROMPT, seed=1, **brought, **place)
    assert session.resolved(request).mask == place.get("mask")
    assert session.resolved(replace(request, mask=None, keyword="")).mask is not None


@pytest.mark.thorough
def test_a_style_steers_an_edit_and_is_kept_with_it(session, people):
    plain, steered = (
        edited(session, people[0], WAYS["inversion"], identity_guidance=style)
        for style in (IdentityGuidance.PLAIN, IdentityGuidance.AM1)
    )
    assert plain.image.tobytes() != steered.image.tobytes()
    assert ("identity_guidance" in plain.origin, steered.origin["identity_guidance"]) == (
        False,
        "am1",
    )


@pytest.mark.parametrize("settings", [WAYS["chord"], EditSettings(mode=EditMode.RELEASED)])
def test_what_cannot_be_steered_refuses_a_style(session, people, settings):
    with pytest.raises(InputError, match="guidance"):
        edited(session, people[0], settings, identity_guidance=IdentityGuidance.DCG)
