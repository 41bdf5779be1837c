"""Draws a subject with onnxruntime alone: neither PyTorch nor SwiftPie has to be installed.

It takes the folder that `swiftpie export onnx mini-onnx` writes, perhaps on another machine.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

FOLDER = Path("mini-onnx")
SUBJECT = "dog.png"  # a picture with transparency around the subject
PROMPT = "a dog on a beach"
SEED = 7
FILL = 0.9  # of the frame's side that the subject's longer side takes

sheet = json.loads((FOLDER / "swiftpie.json").read_text())


def compute(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return all outputs of a graph by their names."""
    session = onnxruntime.InferenceSession(FOLDER / sheet["graphs"][name]["file"])
    names = [output.name for output in session.get_outputs()]
    given = {entry.name: inputs[entry.name] for entry in session.get_inputs()}
    return dict(zip(names, session.run(names, given), strict=True))


subject = Image.open(SUBJECT).convert("RGBA")
subject = subject.crop(subject.getchannel("A").getbbox())
side = sheet["frame_px"]
subject.thumbnail((round(FILL * side),) * 2)
frame = Image.new("RGBA", (side, side))
frame.paste(subject, tuple((side - length) // 2 for length in subject.size))
values = np.asarray(frame, dtype=np.float32).transpose(2, 0, 1)[None] / 255
mask = values[:, 3:]
pixels = (2 * values[:, :3] - 1) * mask  # grey outside of the subject

tokenizer = Tokenizer.from_file(str(FOLDER / sheet["tokenizers"][0]))
tokens = tokenizer.encode(PROMPT)
text = {"input_ids": np.array([tokens.ids]), "attention_mask": np.array([tokens.attention_mask])}
ports = sheet["graphs"]["draw"]["inputs"]
tensors = {
    name: np.full(ports[name][1], value, np.float32) for name, value in sheet["defaults"].items()
}
tensors |= {name: np.ones(ports[name][1], np.float32) for name in ("region", "detail_region")}
tensors |= {"box": np.array([[0.0, 0.0, 1.0, 1.0]], np.float32), "pixels": pixels, "mask": mask}
tensors |= compute("identity", tensors) | compute("text", text)
tensors["noise"] = np.random.default_rng(SEED).standard_normal(ports["noise"][1], np.float32)
image = compute("draw", tensors)["image"][0].transpose(1, 2, 0)
Image.fromarray(((image + 1) * 127.5).round().astype(np.uint8)).save("out.png")
print("wrote out.png")
