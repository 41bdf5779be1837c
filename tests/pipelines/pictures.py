"""Requests spelled as calls, for tests without a session."""

from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, as_subjects, region_of
from swiftpie.pipelines.tasks import EditRequest


def personalize(components, subjects, prompt, *, mask="none", box=None, seeds=(0,), **asked):
    request = PersonalizeRequest(
        subjects=as_subjects(subjects, box=box),
        prompt=prompt,
        seeds=seeds,
        mask=region_of(mask),
        **{"scene": WORDS_ALONE} | asked,
    )
    return draw(components, request.with_files_opened(components.preset.image_size_px))


def edit(components, image, prompt, *, seed=0, **asked):
    return draw(components, EditRequest(image=image, prompt=prompt, seed=seed, **asked))
