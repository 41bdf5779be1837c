"""A small folder of PIE-Bench's layout: random pictures and the entries about them."""

import json

import numpy as np
from PIL import Image

SIDE_PX = 48
RUNS = [2 * SIDE_PX + 5, 20, 3 * SIDE_PX + 5, 20, SIDE_PX * SIDE_PX - 4, 99]
FOLDER = "1_change_object_80"


def random_picture(seed, *, side=SIDE_PX):
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def pie_entries():
    """Two entries, as the published mapping spells them."""
    return {
        f"{number:012d}": {
            "image_path": f"{FOLDER}/{number:012d}.jpg",
            "original_prompt": "a [cat] on a sofa",
            "editing_prompt": "a [dog] on a sofa",
            "editing_instruction": "Change the cat to a dog",
            "editing_type_id": str(number + 1),
            "blended_word": "cat dog",
            "mask": RUNS,
        }
        for number in range(2)
    }


def write_pie(folder, mapping=None, *, pictures=True):
    """Write the mapping, by default that of `pie_entries`, and its pictures; return the root."""
    root = folder / "pie"
    place = root / "annotation_images" / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        if pictures:
            random_picture(number).save(place / f"{number:012d}.jpg", quality=95)
    mapping = pie_entries() if mapping is None else mapping
    text = mapping if isinstance(mapping, str) else json.dumps(mapping)
    (root / "mapping_file.json").write_text(text)
    return root
