import json

import numpy as np
import pytest
from PIL import Image

SIDE_PX = 48
RUNS = [2 * SIDE_PX + 5, 20, 3 * SIDE_PX + 5, 20, SIDE_PX * SIDE_PX - 4, 99]


@pytest.fixture
def mapping():
    """Two entries, as the published mapping spells them."""
    return {
        f"{number:012d}": {
            "image_path": f"1_change_object_80/{number:012d}.jpg",
            "original_prompt": "a [cat] on a sofa",
            "editing_prompt": "a [dog] on a sofa",
            "editing_instruction": "Change the cat to a dog",
            "editing_type_id": str(number + 1),
            "blended_word": "cat dog",
            "mask": RUNS,
        }
        for number in range(2)
    }


@pytest.fixture
def write(tmp_path):
    """A function that writes a folder of PIE-Bench's layout with random pictures."""

    def write_mapping(mapping, *, pictures=True):
        root = tmp_path / "pie"
        folder = root / "annotation_images" / "1_change_object_80"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(2):
            if pictures:
                random_picture(number).save(folder / f"{number:012d}.jpg", quality=95)
        text = mapping if isinstance(mapping, str) else json.dumps(mapping)
        (root / "mapping_file.json").write_text(text)
        return root

    return write_mapping


def random_picture(seed, *, side=SIDE_PX):
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)
