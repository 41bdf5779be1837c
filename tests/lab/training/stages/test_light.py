import math
from dataclasses import replace

import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie.models.light import LightNetwork
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.stages.light import LightPairsConfig
from tests.lab.data.light_scenes import make_folder


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = make_folder(tmp_path_factory.mktemp("pairs"))
    context = Context(data=folder, runs=folder, device="cpu")
    return LightPairsConfig(str(folder), batch_size=4).build(context)


def test_a_folder_without_pairs_is_refused(tmp_path):
    context = Context(data=tmp_path, runs=tmp_path, device="cpu")
    for pairs in ("", str(tmp_path)):
        with pytest.raises(ConfigError, match="swiftpie data light"):
            LightPairsConfig(pairs).build(context)


def test_a_step_repeats_and_reads_scenes_that_were_added(stage, tmp_path):
    folder = make_folder(tmp_path, num_scenes=1)
    growing = replace(stage, config=replace(stage.config, pairs=str(folder)), _files=[])
    network = growing.network()
    first, again = (growing.losses(network, 1) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    make_folder(tmp_path, num_scenes=3)
    growing.losses(network, 100)
    assert len(growing._files) == 3


def test_figures_say_what_no_shadow_is_wrong_by(stage, tmp_path):
    network = stage.network()
    figures = stage.sample(network, tmp_path / "samples.png")
    # An untrained network draws no gains; the ground of these scenes keeps half of its light.
    assert figures["none"] == pytest.approx(math.log(2), rel=0.05)
    assert figures["drawn"] == pytest.approx(figures["none"], rel=0.2)
    assert {name.split("_")[0] for name in figures} == {"none", "blind", "drawn"}
    assert (tmp_path / "samples.png").stat().st_size > 0


def test_what_is_exported_draws_the_same(stage, tmp_path):
    network = stage.network().eval()
    torch.nn.init.normal_(network.leave.weight)
    stage.export(network, tmp_path)
    maps, numbers = torch.randn(1, 14, 64, 64), torch.randn(1, 106)
    read = LightNetwork.from_pretrained(tmp_path / "light")
    assert torch.equal(read(maps, numbers), network(maps, numbers))


@pytest.mark.thorough
def test_it_learns_how_much_light_the_ground_keeps(stage):
    network = stage.network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        loss = stage.losses(network, step)["ground"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
