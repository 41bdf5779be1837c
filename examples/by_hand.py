"""The method by hand: encode, condition, one call of the denoiser, decode."""

from importlib.resources import as_file, files

import torch
from PIL.Image import Image

from swiftpie.backbones.components import Components, load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_pil
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.denoise import decode
from swiftpie.pipelines.identity import encode_identity
from swiftpie.pipelines.request import Subject, cells_of
from swiftpie.pipelines.settings import Scales
from swiftpie.pipelines.techniques.personalize import in_boxes, subject_condition

BOX = (0.2, 0.3, 0.8, 0.95)  # left, top, right and bottom of the subject


@torch.no_grad()
def draw(components: Components, photo: Image, prompt: str, *, seed: int) -> torch.Tensor:
    """Return the pixels (1, 3, H, W) in [-1, 1] of the subject of `photo` in its box."""
    # Encode: tokens of the subject for one branch, features for the other, and the text.
    identity = encode_identity(components, [photo])
    text = components.text.encode([prompt])
    # Condition: where the subject stands, and how strong each branch is in its region.
    shape = (components.preset.latent_channels, *cells_of(components.preset, None))
    noise = draw_step_noise([seed], shape, count=components.schedule.num_draws)[0]
    _, layouts, lights = in_boxes([Subject(identity, BOX)], noise)
    regions = [torch.ones(1, 1, *shape[1:])]  # a mask in place of ones limits the subject
    words = components.text.find_words(prompt, [""])
    scales = Scales.of(components.preset)
    own = {"regions": regions, "lights": lights, "class_tokens": words, "shares": [1.0]}
    condition = subject_condition(components, [identity], layouts, scales=scales, **own)
    # One call: from the noise straight to what the picture is.
    step, latents = components.schedule.steps[0], components.schedule.initial_latents(noise)
    prediction = components.denoiser(latents, step.timestep, text, condition, {}).sample
    return decode(components, components.schedule.advance(latents, prediction, 0))


if __name__ == "__main__":
    with as_file(files("swiftpie") / "assets/photos/dog.jpg") as path:
        mini, dog = load_components(PRESETS.get("mini")), load_image(path)
    to_pil(draw(mini, dog, "a dog on a beach", seed=1))[0].save("by-hand.png")
    print("by-hand.png, one step of 256x256 px")
