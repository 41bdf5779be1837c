import pytest
import torch
from diffusers import Flux2Transformer2DModel, UNet2DConditionModel

from benchmarks._models import KLEIN, KLEIN_DENOISER, SDXL_UNET
from benchmarks._models import PRESETS as MEASURED
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.load import networks
from swiftpie.backbones.load.networks import lack_of_memory, readers_for
from swiftpie.backbones.machine import NUMBERS_A_PIXEL, SPARE_BYTES
from swiftpie.backbones.presets import PRESETS

GIB = 1 << 30
LARGEST = {  # network of each model
    "sdxl": lambda: UNet2DConditionModel(**SDXL_UNET),
    KLEIN: lambda: Flux2Transformer2DModel(**KLEIN_DENOISER),
}


def plan_of(family):
    with torch.device("meta"):
        network = LARGEST[family]()
    size = 2 * sum(weight.numel() for weight in network.parameters())
    return DownloadList(memory_bytes=2 * size, largest_bytes=size)


@pytest.mark.parametrize(("family", "fits_gib", "lacks_gib"), [("sdxl", 8, 5), (KLEIN, 12, 8)])
def test_published_models_say_whether_their_networks_fit_in_turns(
    family, fits_gib, lacks_gib, monkeypatch, caplog
):
    plan, preset = plan_of(family), PRESETS.get(MEASURED[family])
    choices = Choices(dtype="bfloat16", offloads="auto")
    for free_gib, word in ((fits_gib, ""), (lacks_gib, preset.name)):
        free = free_gib * GIB
        monkeypatch.setattr(
            "swiftpie.backbones.load.networks.free_memory", lambda _, free=free: free
        )
        lack = lack_of_memory(plan, preset, device="cpu", dtype=torch.bfloat16)
        assert bool(lack) == bool(word)
        assert word in lack
        caplog.clear()
        readers = readers_for(plan, preset, device="cpu", choices=choices)
        assert readers.execution_device is not None
        assert [record.getMessage() for record in caplog.records] == [lack] * bool(lack)


@pytest.mark.parametrize(
    ("in_turns", "short_bytes", "offloads", "is_warned"),
    [
        (False, 0, False, False),
        (False, 1, True, False),  # the weights fit, what is computed of a picture does not
        (True, 0, True, False),
        (True, 1, True, True),  # within what the system keeps
    ],
)
def test_what_is_computed_of_a_picture_and_what_the_system_keeps_count(
    in_turns, short_bytes, offloads, is_warned, monkeypatch, caplog
):
    plan, preset = plan_of("sdxl"), PRESETS.get(MEASURED["sdxl"])
    working = NUMBERS_A_PIXEL * preset.image_size_px**2 * 2
    needed = plan.largest_bytes + SPARE_BYTES if in_turns else plan.memory_bytes
    free = needed + working - short_bytes
    monkeypatch.setattr(networks, "free_memory", lambda _: free)
    choices = Choices(dtype="bfloat16", offloads="auto")
    readers = readers_for(plan, preset, device="cpu", choices=choices)
    assert (readers.execution_device is not None) is offloads
    assert bool(caplog.records) is is_warned
