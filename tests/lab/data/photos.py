"""Generated photos of coloured things on plain grounds, in folders and tars."""

import io
import json
import tarfile

from PIL import Image, ImageDraw

SIZE = (96, 80)  # width and height


def photo(colour, *, left=20, size=SIZE):
    """A thing on a ground, and its mask."""
    place = (left, 16, left + 40, 64)
    picture = Image.new("RGB", size, (70, 110, 70))
    draw = ImageDraw.Draw(picture)
    draw.ellipse(place, fill=colour)
    draw.rectangle((left + 12, left + 14, left + 22, left + 20), fill="white")  # tells views apart
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse(place, fill=255)
    return picture, mask


def encoded(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def make_folder(folder, *, views=3):
    """Two subjects with masks: a red cup and a blue vase."""
    for name, colour in (("red_cup", (210, 40, 40)), ("vase2", (40, 60, 210))):
        (folder / name).mkdir(parents=True)
        for number in range(views):
            picture, mask = photo(colour, left=10 + 12 * number)
            picture.save(folder / name / f"{number}.png")
            mask.save(folder / name / f"{number}.mask.png")
    return folder


def make_tar(path, members):
    """An uncompressed tar of (name, bytes)."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def sample_members(key, colour, *, subject=None, caption=None):
    """The files of one photo in a shard."""
    picture, mask = photo(colour)
    members = [(f"{key}.png", encoded(picture)), (f"{key}.mask.png", encoded(mask))]
    fields = {"subject": subject} if subject else {}
    if fields:
        members.append((f"{key}.json", json.dumps(fields).encode()))
    if caption:
        members.append((f"{key}.txt", caption.encode()))
    return members
