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
