"""SDXL with an adapter, of full size with random weights, in 8 GB that an allocator enforces."""

import pytest
import torch

import swiftpie
from benchmarks._models import ADAPTER, make_elsewhere, reference

GIB = 1 << 30
LIMIT_GIB = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with networks of full size, 8.3 GB."""
    folder = tmp_path_factory.mktemp("sdxl")
    make_elsewhere(folder, family="sdxl", dtype="float16")
    return folder


@pytest.mark.gpu
@pytest.mark.timeout(3600)
def test_a_card_draws_within_a_fraction_of_it(made):
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_per_process_memory_fraction(LIMIT_GIB * GIB / total)
    try:
        session = swiftpie.load(
            "sdxl-turbo",
            device="cuda",
            weights=made / "pipeline",
            adapter=made / ADAPTER,
            image_encoder=made / "image_encoder",
            offline=True,
        )
        assert session.components.engine.device == torch.device("cuda")
        identity = session.encode_identity(reference(512))
        result = session.personalize(identity, "a red cube", seed=0, num_images=2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(result.images) == 2
    assert torch.cuda.max_memory_reserved() <= LIMIT_GIB * GIB
