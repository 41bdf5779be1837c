import numpy as np
import onnxruntime
import pytest
import torch

from swiftpie.engine.graphs.to_onnx import NamedFunction, write_onnx
from swiftpie.geometry.relief import height, turn
from swiftpie_world.frames import pose_subjects

POSES = [(0.6, -0.2, 0, 0), (0, 0, 0.3, 0), (0.3, 0.1, -0.2, 0.4), (0, 0, 0, -0.4), (0, 0, 0, 0)]


def turned(given):
    shown = turn(given["frame"], height(given["frame"][:, 3:]), given["pose"])
    return dict(zip(("shown", "height", "normals"), shown, strict=True))


@pytest.mark.thorough
def test_a_graph_of_one_pose_turns_stretches_and_bends_all_others(subjects, tmp_path):
    still = torch.zeros(1)
    frame = pose_subjects(subjects.tiles[:1], rotation=still, flip=still, hue=still)
    samples = {"frame": frame, "pose": torch.tensor([[0.2, 0.1, 0.0, 0.0]])}
    write_onnx(NamedFunction({}, turned, samples), places={}, path=tmp_path / "turned.onnx")
    graph = onnxruntime.InferenceSession(tmp_path / "turned.onnx")
    for values in POSES:
        given = {"frame": frame, "pose": torch.tensor([values], dtype=torch.float32)}
        found = graph.run(None, {name: tensor.numpy() for name, tensor in given.items()})
        for one, other in zip(found, turned(given).values(), strict=True):
            assert np.abs(one - other.numpy()).mean() < 1e-3, values


def test_noise_of_a_seed_of_its_own_is_numbers_in_a_graph_and_no_function_of_pytorch_changes(
    tmp_path,
):
    def noisy(given):
        noise = torch.randn((2, 3), generator=torch.Generator().manual_seed(7))
        return {"made": given["clean"] + noise}

    drawn, samples = torch.randn, {"clean": torch.zeros(2, 3)}
    seen = []

    def watched(given):
        seen.append(torch.randn is drawn)
        return noisy(given)

    write_onnx(NamedFunction({}, watched, samples), places={}, path=tmp_path / "noisy.onnx")
    assert all(seen)
    graph = onnxruntime.InferenceSession(tmp_path / "noisy.onnx")
    for clean in (torch.zeros(2, 3), torch.ones(2, 3)):
        (found,) = graph.run(None, {"clean": clean.numpy()})
        assert np.allclose(found, noisy({"clean": clean})["made"].numpy())
