"""A small copy of DreamBench: two subjects of the package's samples on plain grounds."""

import importlib.resources

from PIL import Image

from swiftpie_lab.evaluation.benchmarks.dreambench import LISTS

NUM_PHOTOS = {"dog": 2, "vase": 1}
TEXT = """Classes

subject_name,class
dog,dog
vase,vase
teapot,teapot

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the snow'.format(unique_token, class_token),
'a {0} {1} on top of a mirror'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} in the snow'.format(unique_token, class_token),
'a {0} {1} wearing a red hat'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]
"""


def write_dreambench(root, *, evil=""):
    """Write the lists, photographs and masks, and return the folder; `evil` is in all prompts."""
    root.mkdir(parents=True, exist_ok=True)
    (root / LISTS).write_text(TEXT.replace("{1}", f"{{1}} {evil}") if evil else TEXT)
    samples = sorted(
        importlib.resources.files("swiftpie").joinpath("assets/samples").glob("*.webp")
    )
    for (name, count), sample in zip(NUM_PHOTOS.items(), samples, strict=False):
        sprite = Image.open(sample).convert("RGBA").resize((120, 120))
        (root / name).mkdir()
        for photo in range(count):
            picture = Image.new("RGB", (160, 160), (90, 120 + 30 * photo, 150))
            picture.paste(sprite, (20, 20), mask=sprite.getchannel("A"))
            mask = Image.new("L", picture.size)
            mask.paste(sprite.getchannel("A"), (20, 20))
            picture.save(root / name / f"{photo:02d}.jpg", quality=95)
            mask.save(root / name / f"{photo:02d}.mask.png")
    return root
