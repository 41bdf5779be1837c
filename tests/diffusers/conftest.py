"""A pipeline around the embedded model."""

import pytest

from swiftpie.diffusers.personalize import SwiftPiePipeline


@pytest.fixture
def pipe(session):
    """Fresh, so that what a test sets on it stays there; the networks are shared."""
    made = SwiftPiePipeline.from_components(session.components)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def saved(session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    SwiftPiePipeline.from_components(session.components).save_pretrained(folder)
    return folder
