import threading

import pytest

from swiftpie.engine.runner import LAYER, reporting_layers

PROMPT = "a dog on a beach"


class Enough(Exception):  # noqa: N818 - a state
    """Raised by a listener."""


def hooks_of(components):
    networks = (components.denoiser, components.autoencoder, components.image_encoder)
    return [hook for one in networks for part in one.modules() for hook in part._forward_pre_hooks]


def test_layers_are_reported_within_a_step_and_change_nothing(session, identity):
    stages, request = [], request_of(session, identity)
    listened = session.draw(request, on_stage=stages.append)
    assert listened.images[0].tobytes() == session.draw(request).images[0].tobytes()
    first = stages.index("place") + 1
    assert stages[first : stages.index("step")].count(LAYER) > 20
    assert stages[stages.index("denoise") : stages.index("decode")].count(LAYER) > 5


@pytest.mark.parametrize("after", [1, 40])
def test_a_listener_that_raises_stops_inside_a_step_and_leaves_no_hook(session, identity, after):
    before, stages = hooks_of(session.components), []

    def listen(stage):
        stages.append(stage)
        if stages.count(LAYER) == after:
            raise Enough

    with pytest.raises(Enough):
        session.draw(request_of(session, identity), on_stage=listen)
    assert "step" not in stages
    assert hooks_of(session.components) == before


def test_another_thread_is_not_reported(session, identity):
    request, stages = request_of(session, identity), []
    with reporting_layers(session.components, stages.append):
        thread = threading.Thread(target=session.draw, args=(request,))
        thread.start()
        thread.join()
        assert stages == []
        session.draw(request)
    assert set(stages) == {LAYER}


def test_a_copy_made_meanwhile_reports_nothing_later(session):
    from swiftpie.models.denoiser import sharing_weights

    stages, latents = [], None
    with reporting_layers(session.components, stages.append):
        copy = sharing_weights(session.components.autoencoder)
        latents = session.components.autoencoder.encode(_pixels())
    stages.clear()
    assert copy.decode(latents).shape == (1, 3, 64, 64)
    assert stages == []


def _pixels():
    import torch

    return torch.zeros(1, 3, 64, 64)


def request_of(session, identity):
    from swiftpie.pipelines.request import PersonalizeRequest, Subject

    subjects = session.with_named(PROMPT, [Subject(identity)])
    return PersonalizeRequest(subjects=subjects, prompt=PROMPT, seeds=(3,))
