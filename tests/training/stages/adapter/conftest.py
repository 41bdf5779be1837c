"""A tiny random Stable Diffusion 2.1, photos of two subjects, and stages on them."""

import pytest
import torch

from swiftpie.training.context import Context
from swiftpie.training.stages.adapter import AdapterConfig
from swiftpie.training.stages.adapter_settings import LossWeights, TeacherSettings
from tests.backbones.tiny_models import make_pipeline, make_public_adapter, make_unet
from tests.data.real.photos import make_folder
from tests.training.tiny_clip import make_clip

SIDE_PX = 64


@pytest.fixture(autouse=True)
def _one_thread():
    """The order of a sum, and so its last bit, depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    """A folder with all that a stage may be built of; not to be changed."""
    root = tmp_path_factory.mktemp("adapter")
    make_pipeline(root / "pipeline", "sd21")
    make_folder(root / "photos", views=2)
    make_unet(root / "teacher", "sd21")
    make_public_adapter(root / "teacher.safetensors", "sd21")
    make_clip(root / "clip")
    return root


@pytest.fixture
def build(place):
    """Builds a stage, exact and quick unless told otherwise."""

    def build_stage(**changes):
        settings = {
            "data": place / "photos",
            "weights": place / "pipeline",
            "image_encoder": place / "encoder",
            "size_px": SIDE_PX,
            "batch_size": 2,
            "checkpointing": False,
            "autocast": False,
        }
        context = Context(data=place, runs=place, device="cpu")
        return AdapterConfig(**settings | changes).build(context)

    return build_stage


@pytest.fixture
def build_matching(build, place):
    """Builds a stage that matches a teacher; `teacher` changes what is said of it."""

    def build_stage(*, teacher=None, **changes):
        parts = {"unet": place / "teacher", "adapter": place / "teacher.safetensors", "rank": 2}
        settings = {"loss": LossWeights(matching=1.0)} | changes
        return build(teacher=TeacherSettings(**parts | (teacher or {})), **settings)

    return build_stage
