"""Makes a folder of subjects with masks and captions from downloaded parts of Open Images.

`runs/open_images.sh` downloads them to RAW and calls `open_images RAW PHOTOS`.
"""

import csv
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from swiftpie.imageio.atomic import write_file
from swiftpie_lab.data.photographs import MASK_SUFFIX

MIN_SHARE, MAX_SHARE = 0.05, 0.8  # limits of the share that a subject's box has in its picture
MIN_IOU = 0.85  # of a mask, as a network foresees it; 0 where nothing was foreseen
SPLITS = ("validation", "test")


class Instance(NamedTuple):
    """One thing in one picture."""

    image: Path
    mask: Path
    noun: str
    caption: str


def instances(raw: Path) -> Iterator[Instance]:
    """Yield the things that are large enough, and whose picture and mask are in `raw`."""
    with (raw / "class-descriptions-boxable.csv").open(encoding="utf-8", newline="") as file:
        nouns = {label: name.lower() for label, name in csv.reader(file)}
    for split in SPLITS:
        captions = read_captions(raw / f"open_images_{split}_captions.jsonl")
        table = raw / f"{split}-annotations-object-segmentation.csv"
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                width, height = (float(row[f"Box{a}Max"]) - float(row[f"Box{a}Min"]) for a in "XY")
                iou = float(row["PredictedIoU"] or 0)
                if not MIN_SHARE <= width * height <= MAX_SHARE or 0 < iou < MIN_IOU:
                    continue
                image = raw / "images" / f"{row['ImageID']}.jpg"
                mask = raw / "masks" / row["MaskPath"]
                if image.is_file() and mask.is_file():
                    caption = captions.get(row["ImageID"], "")
                    yield Instance(image, mask, nouns[row["LabelName"]], caption)


def read_captions(path: Path) -> dict[str, str]:
    """Return the captions by image."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {row["image_id"]: row["caption"] for row in rows}


def write_instance(instance: Instance, folder: Path) -> None:
    """Link picture and mask of `instance` into the folder of its noun, with a caption."""
    place = folder / instance.noun.replace("/", " ")
    place.mkdir(parents=True, exist_ok=True)
    stem = place / instance.mask.stem
    for source, suffix in ((instance.image, ".jpg"), (instance.mask, MASK_SUFFIX)):
        target = stem.with_name(stem.name + suffix)
        if not target.exists():
            os.link(source, target)
    # The words for the subject come first: an encoder reads 77 tokens, narratives are longer.
    text = f"a photo of a {instance.noun}. {instance.caption}".strip()
    write_file(stem.with_name(stem.name + ".txt"), text.encode(), force=True)


def main() -> None:
    """Write all instances and print how many there are."""
    raw, folder = (Path(word) for word in sys.argv[1:])
    count = 0
    for instance in instances(raw):
        write_instance(instance, folder)
        count += 1
    sys.stdout.write(f"{count} pictures of subjects are in {folder}\n")


if __name__ == "__main__":
    main()
