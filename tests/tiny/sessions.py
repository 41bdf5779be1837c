"""What sessions with the tiny models of a family take: their folders, a preset and a subject."""

from dataclasses import replace

from PIL import Image, ImageDraw

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from tests.tiny.adapters import ADAPTERS, make_lora, make_public_adapter
from tests.tiny.folders import choices_in, make_model, make_unet

SIDE_PX = 64


def make_models(root):
    """Write a folder a family into `root`, and return that.

    SDXL's has one transformer layer where the model has up to ten: layers are numbered alike, and
    files of all of them are compared with diffusers elsewhere.
    """
    for family in ADAPTERS:
        folder = root / family
        make_model(folder, family)
        make_public_adapter(folder / "public.safetensors", family)
        make_unet(folder / "other_unet", family)
        for seed, name in enumerate("ab"):
            make_lora(folder / f"{name}.safetensors", family, seed=seed)
    return root


def components_in(folder, adapter="own", *, preset=None, **changes):
    """Load the models in the folder of a family; `adapter` is own, public or None."""
    choices = choices_in(folder, adapter and f"{adapter}.safetensors")
    return load_components(preset or preset_of(folder.name), **choices | changes)


def preset_of(family, **changes):
    sizes = {"family": family, "image_size_px": SIDE_PX}
    return replace(PRESETS.get("sd-turbo"), **sizes | changes)


def subject():
    picture = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((8, 12, 52, 60), fill=(200, 40, 70, 255))
    draw.rectangle((20, 20, 40, 36), fill=(30, 90, 220, 255))
    return picture
