"""Generated photos of coloured things on plain grounds, in folders."""

from PIL import Image, ImageDraw

SIZE = (96, 80)  # width and height


def photo(colour, *, left=20, size=SIZE):
    place = (left, 16, left + 40, 64)
    picture = Image.new("RGB", size, (70, 110, 70))
    draw = ImageDraw.Draw(picture)
    draw.ellipse(place, fill=colour)
    draw.rectangle((left + 12, left + 14, left + 22, left + 20), fill="white")  # tells views apart
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse(place, fill=255)
    return picture, mask


def make_folder(folder, *, views=3):
    for name, colour in (("red_cup", (210, 40, 40)), ("vase2", (40, 60, 210))):
        (folder / name).mkdir(parents=True)
        for number in range(views):
            picture, mask = photo(colour, left=10 + 12 * number)
            picture.save(folder / name / f"{number}.png")
            mask.save(folder / name / f"{number}.mask.png")
    return folder
