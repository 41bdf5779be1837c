import pytest
import torch
from diffusers import Flux2Transformer2DModel, UNet2DConditionModel

from benchmarks._models import KLEIN, KLEIN_DENOISER, SDXL_UNET
from benchmarks._models import PRESETS as MEASURED
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.presets import PRESETS
from swiftpie.backbones.readers import lack_of_memory, readers_for

GIB = 1 << 30
LARGEST = {  # network of each model
    "sdxl": lambda: UNet2DConditionModel(**SDXL_UNET),
    KLEIN: lambda: Flux2Transformer2DModel(**KLEIN_DENOISER),
}


def plan_of(family):
    with torch.device("meta"):
        network = LARGEST[family]()
    size = 2 * sum(weight.numel() for weight in network.parameters())
    return DownloadPlan(memory_bytes=2 * size, largest_bytes=size)


@pytest.mark.parametrize(("family", "fits_gib", "lacks_gib"), [("sdxl", 8, 5), (KLEIN, 12, 8)])
def test_published_models_say_whether_their_networks_fit_in_turns(
    family, fits_gib, lacks_gib, monkeypatch, caplog
):
    plan, preset = plan_of(family), PRESETS.get(MEASURED[family])
    choices = Choices(dtype="bfloat16", offloads="auto")
    for free_gib, word in ((fits_gib, ""), (lacks_gib, preset.name)):
        free = free_gib * GIB
        monkeypatch.setattr("swiftpie.backbones.readers.free_memory", lambda _, free=free: free)
        lack = lack_of_memory(plan, preset, device="cpu", dtype=torch.bfloat16)
        assert bool(lack) == bool(word)
        assert word in lack
        caplog.clear()
        readers = readers_for(plan, preset, device="cpu", choices=choices)
        assert readers.execution_device is not None
        assert [record.getMessage() for record in caplog.records] == [lack] * bool(lack)
