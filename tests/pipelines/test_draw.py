import ctypes
import mmap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import ImageChops
from torch import nn

from swiftpie import GenerationResult, OutOfMemory, PersonalizeRequest, Subject, WeightsError
from swiftpie.guidance import ClassifierFree
from swiftpie.imageio.images import to_pil
from swiftpie.models.denoiser import WrappedDenoiser
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.choose import STEP
from swiftpie.pipelines.denoise import trim_heap
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.request import ConditionPart, Output, cells_of
from swiftpie.pipelines.tasks import EditRequest, RetouchRequest

PROMPT, OTHER = "a photo of a subject on a beach", "a photo of a subject in the snow"


@pytest.fixture
def request_of_one(identity):
    return PersonalizeRequest(
        scene="words", subjects=(Subject(identity),), prompt=PROMPT, seeds=(3, 4)
    )


def bytes_of(result):
    return [image.tobytes() for image in result.images]


def test_each_picture_may_have_a_prompt_of_its_own(session, request_of_one):
    expected = [
        bytes_of(session.draw(replace(request_of_one, prompt=prompt)))[index]
        for index, prompt in enumerate((PROMPT, OTHER))
    ]
    drawn = session.draw(replace(request_of_one, prompt=(PROMPT, OTHER)))
    assert bytes_of(drawn) == expected


def test_encoded_prompts_and_given_noise_stand_for_words_and_seeds(session, request_of_one):
    expected = bytes_of(session.draw(request_of_one))
    components = session.components
    shape = (components.preset.latent_channels, *cells_of(components.preset, None))
    spelled = replace(
        request_of_one,
        prompt=components.text.encode([PROMPT]),
        seeds=(),
        noise=draw_step_noise((3, 4), shape, count=1),
    )
    result = draw(components, spelled)
    assert bytes_of(result) == expected
    assert result.seeds == ()


def test_outputs_show_one_picture(session, request_of_one):
    pil = session.draw(request_of_one)
    pixels = session.draw(replace(request_of_one, output=Output.PIXELS))
    latents = session.draw(replace(request_of_one, output=Output.LATENTS))
    assert pil.tensor is None
    assert pixels.images == latents.images == ()
    assert [image.tobytes() for image in to_pil(pixels.tensor)] == bytes_of(pil)
    decoded = session.components.autoencoder.decode(latents.tensor).clamp(-1, 1)
    assert torch.equal(decoded, pixels.tensor)
    assert [mask.size for mask in latents.subject_masks] == [(128, 128)] * 2


def test_parts_that_are_left_out_change_the_picture(session, request_of_one):
    parts = [frozenset(), {ConditionPart.ALIGNED}, {ConditionPart.PLACE}, frozenset(ConditionPart)]
    drawn = [bytes_of(session.draw(replace(request_of_one, without=part)))[0] for part in parts]
    assert len(set(drawn)) == len(parts)


def test_negative_prompts_are_one_a_picture_too(session, request_of_one):
    guided = replace(request_of_one, guidance=ClassifierFree((2.0,)))
    both = bytes_of(session.draw(replace(guided, negative_prompt=(OTHER, "a dog"))))
    for index, negative in enumerate((OTHER, "a dog")):
        alone = bytes_of(session.draw(replace(guided, negative_prompt=negative)))
        assert both[index] == alone[index]


def test_stages_are_reported_in_their_order_and_may_stop_the_drawing(session, request_of_one):
    seen = []
    result = draw(session.components, request_of_one, on_stage=seen.append)
    assert seen == ["text", "place", STEP, "denoise", "decode", "join"]
    assert [*result.timings_ms] == [*(stage for stage in seen if stage != STEP), "total"]

    def stop(stage):
        raise InterruptedError(stage)

    with pytest.raises(InterruptedError, match="text"):
        draw(session.components, request_of_one, on_stage=stop)


class Cramped(WrappedDenoiser):
    """A denoiser whose memory ends beyond so many rows, as CUDA's does or as the processor's."""

    def __init__(self, inner, room, error):
        super().__init__(inner)
        self.room, self.error, self.drawn = room, error, []

    def _predict(self, call):
        if len(call.latents) > self.room:
            raise self.error
        self.drawn.append(len(call.latents))
        return super()._predict(call)


NO_ROOM = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("Check 'ptr' failed at cpu_memory.cpp:257:\nFailed to allocate 3276800 bytes"),
]


@pytest.fixture(scope="module")
def three(session, identity):
    request = PersonalizeRequest(
        scene="words",
        subjects=(Subject(identity),),
        seeds=(3, 4, 5),
        prompt=(PROMPT, OTHER, PROMPT),
        guidance=ClassifierFree((2.0,)),
        output=Output.PIXELS,
    )
    return request, draw(session.components, request)


def test_what_does_not_fit_at_once_is_drawn_in_parts(session, three, caplog):
    request, expected = three
    denoiser = Cramped(session.components.denoiser, 4, NO_ROOM[0])
    made = draw(replace(session.components, denoiser=denoiser), request)
    assert denoiser.drawn == [2, 4]
    assert "2 are drawn at a time" in caplog.text
    assert torch.allclose(made.tensor, expected.tensor, atol=1e-4)
    assert made.regions.shape == expected.regions.shape
    assert len(made.subject_masks) == 3


@pytest.mark.parametrize("error", NO_ROOM, ids=["accelerator", "processor", "openvino"])
def test_a_picture_that_does_not_fit_alone_says_what_to_try(session, request_of_one, error):
    tight = replace(session.components, denoiser=Cramped(session.components.denoiser, 0, error))
    with pytest.raises(OutOfMemory, match="engine='offload'"):
        draw(tight, replace(request_of_one, seeds=(3,)))


class Painted(nn.Module):
    """An autoencoder that decodes to one colour, as one does that overflows."""

    def __init__(self, inner, colour):
        super().__init__()
        self.inner, self.colour = inner, colour
        self.encode = inner.encode

    def decode(self, latents):
        return torch.full_like(self.inner.decode(latents), self.colour)


@pytest.mark.parametrize(("colour", "what"), [(-1.0, "is black all over"), (float("nan"), "NaN")])
def test_a_decoder_that_overflows_is_named_with_what_to_try(session, request_of_one, colour, what):
    painted = Painted(session.components.autoencoder, colour)
    with pytest.raises(WeightsError, match=f"{what}.*the decoder is in float32.*dtype="):
        draw(replace(session.components, autoencoder=painted), request_of_one)


def test_a_dark_picture_is_a_picture(session, request_of_one):
    painted = Painted(session.components.autoencoder, -0.99)
    assert len(draw(replace(session.components, autoencoder=painted), request_of_one).images) == 2


def images_of(result):
    return result.images if isinstance(result, GenerationResult) else (result.image,)


def test_requests_drawn_together_give_what_each_gives_alone(session, identity, sprite):
    calls = []

    def counting(stage):
        calls.append(stage)

    other = session.encode_identity(sprite.rotate(90))
    photo = session.personalize(identity, PROMPT, seed=9, scene="words").images[0]
    drawn = [
        PersonalizeRequest(scene="words", subjects=(Subject(identity),), prompt=PROMPT, seeds=(3,)),
        RetouchRequest(image=photo, mask=(0.2, 0.2, 0.8, 0.8), seed=1),
        PersonalizeRequest(
            scene="words",
            subjects=(Subject(other, box=(0.1, 0.2, 0.6, 0.8)),),
            prompt=OTHER,
            seeds=(7,),
        ),
        PersonalizeRequest(
            scene="words", subjects=(Subject(identity), Subject(other)), prompt=PROMPT, seeds=(5,)
        ),
        EditRequest(image=photo, prompt=OTHER, source_prompt=PROMPT, seed=1),  # by its own pixels
    ]
    together = session.draw_together(drawn, on_stage=counting)
    assert calls.count("denoise") == 2  # one subject, two subjects
    for request, result in zip(drawn, together, strict=True):
        alone = session.draw(request)
        # Sums of two pictures at once may be rounded otherwise: a level of some values.
        for one, other in zip(images_of(result), images_of(alone), strict=True):
            apart = ImageChops.difference(one, other).getextrema()
            assert max(most for _, most in apart) <= 1
        if isinstance(request, EditRequest | RetouchRequest):
            assert result.seed == alone.seed
        else:
            assert result.seeds == alone.seeds
            assert len(result.subject_masks) == len(request.seeds)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc's allocator")
def test_freed_memory_goes_back_to_the_system():
    def held_mib():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / 2**20

    # 160 MB, each piece too small for a map of its own.
    pieces = [torch.ones(10_000) for _ in range(4000)]
    last = pieces[::100]  # they hold the rest in the heap
    before = held_mib()
    del pieces
    trim_heap()
    assert held_mib() < before - 100
    assert len(last) == 40
