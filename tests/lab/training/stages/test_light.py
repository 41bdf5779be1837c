import math

import numpy as np
import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.stages.light import LightPairsConfig
from tests.lab.data.test_light_pairs import made_scene


def test_a_growing_folder_of_pairs_is_learned_from_and_judged_by_kind_of_light(tmp_path):
    config = LightPairsConfig(str(tmp_path), batch_size=4)
    context = Context(data=tmp_path, runs=tmp_path, device="cpu")
    with pytest.raises(ConfigError, match="swiftpie data light"):
        config.build(context)
    for row, lights in enumerate((("sky", "sun"), ("window", "lamp"))):
        for split in ("training", "evaluation"):
            (tmp_path / split).mkdir(exist_ok=True)
            np.savez_compressed(tmp_path / split / f"0-{row}.npz", **made_scene(*lights))
        if row == 0:
            stage = config.build(context)
            network = stage.network()
            first, same = (stage.losses(network, 1) for _ in range(2))
            assert all(torch.equal(first[name], same[name]) for name in first)
    stage.losses(network, 100)
    assert len(stage._files) == 2
    figures = stage.sample(network, tmp_path / "samples.png")
    # An untrained network draws no gains, and this ground keeps a quarter of its light.
    assert figures["none"] == pytest.approx(math.log(4), rel=0.05)
    assert figures["drawn"] == pytest.approx(figures["none"], rel=0.1)
    stage.export(network, tmp_path)
