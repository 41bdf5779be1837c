import json

from swiftpie_lab.data.open_images import instances, write_instance
from swiftpie_lab.data.photographs import caption_of, list_folder, words_of
from tests.lab.data.photos import photo

COLUMNS = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"


def make_raw(raw):
    """One split with four things: usable, too small, badly cut, and without a picture."""
    (raw / "images").mkdir(parents=True)
    (raw / "masks").mkdir()
    rows = {
        "a_m01_1": "0.1,0.9,0.2,0.8,0.95,",
        "a_m01_2": "0.1,0.2,0.2,0.3,0.95,",
        "a_m01_3": "0.1,0.9,0.2,0.8,0.5,",
        "gone_m01_4": "0.1,0.9,0.2,0.8,0.95,",
    }
    picture, mask = photo("red")
    picture.save(raw / "images" / "a.jpg")
    lines = [COLUMNS]
    for stem, rest in rows.items():
        mask.save(raw / "masks" / f"{stem}.png")
        image, _, box = stem.split("_")
        lines.append(f"{stem}.png,{image},/m/01,{box},{rest}")
    (raw / "class-descriptions-boxable.csv").write_text("/m/01,Coffee cup\n")
    for split, table in (("validation", lines), ("test", [COLUMNS])):
        (raw / f"{split}-annotations-object-segmentation.csv").write_text("\n".join(table) + "\n")
        line = json.dumps({"image_id": "a", "caption": "In this image there is a cup."})
        (raw / f"open_images_{split}_captions.jsonl").write_text(line + "\n")
    return raw


def test_large_well_cut_things_become_photos_with_mask_caption_and_words(tmp_path):
    raw, folder = make_raw(tmp_path / "raw"), tmp_path / "photos"
    for _ in range(2):  # a second call changes nothing
        for instance in instances(raw):
            write_instance(instance, folder)
    (entry,) = list_folder(folder)
    assert entry.picture.read_bytes() == (raw / "images" / "a.jpg").read_bytes()
    assert entry.mask.read_bytes() == (raw / "masks" / "a_m01_1.png").read_bytes()
    assert words_of(entry.subject) == "coffee cup"
    assert caption_of(entry) == "a photo of a coffee cup. In this image there is a cup."
