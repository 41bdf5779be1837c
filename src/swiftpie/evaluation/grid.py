"""A grid of held-out subjects and scenes, dealt by a seed and not picked, with labels."""

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from swiftpie.engine.session import Session
from swiftpie.evaluation.benchmarks.scenes import StickerCase
from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark

LABEL_PX = 14  # size of the letters
MARGIN_PX = 4
MAX_LABEL_LINES = 2
BLANK, INK = "white", "black"


def draw_rows(
    session: Session, benchmark: StickerBenchmark, rows: Sequence[Sequence[StickerCase]]
) -> Iterator[list[Image.Image]]:
    """Yield each row when it is drawn: the reference, then a picture a case."""
    for cases in rows:
        known = benchmark.known(cases[0])
        identity = session.encode_identity(known["reference"], masks=known["reference-mask"])
        drawn = [session.personalize(identity, case.prompt, seed=case.seed) for case in cases]
        yield [known["reference"], *(result.images[0] for result in drawn)]


def labelled_sheet(
    rows: Sequence[Sequence[Image.Image]],
    *,
    columns: Sequence[str],
    names: Sequence[str],
    cell_px: int,
) -> Image.Image:
    """Return one white picture: words above the columns and under the first picture of each row.

    Args:
        rows: Pictures; transparency shows the white ground.
        columns: A label a column.
        names: A label a row.
        cell_px: Side of a cell.
    """
    font = ImageFont.load_default(LABEL_PX)
    line_px = LABEL_PX + MARGIN_PX
    labels = [_wrapped(label, font, cell_px) for label in columns]
    head_px = max(map(len, labels)) * line_px + MARGIN_PX
    pitch = cell_px + line_px + 2 * MARGIN_PX
    sheet = Image.new("RGB", (len(columns) * cell_px, head_px + len(rows) * pitch), BLANK)
    draw = ImageDraw.Draw(sheet)
    for column, lines in enumerate(labels):
        for number, line in enumerate(lines):
            draw.text((column * cell_px + MARGIN_PX, number * line_px), line, fill=INK, font=font)
    for number, (images, name) in enumerate(zip(rows, names, strict=True)):
        top = head_px + number * pitch
        for column, image in enumerate(images):
            _paste(sheet, image, (column * cell_px, top), cell_px)
        draw.text((MARGIN_PX, top + cell_px), name, fill=INK, font=font)
    return sheet


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """Return `text` in at most two lines that fit into a cell; what is left over is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 2 * MARGIN_PX:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines[:MAX_LABEL_LINES]


def _paste(sheet: Image.Image, image: Image.Image, corner: tuple[int, int], side: int) -> None:
    """Fit `image` into the square cell at `corner`, in its middle."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    cell = image.convert("RGBA").resize(size, Image.Resampling.LANCZOS)
    place = (corner[0] + (side - size[0]) // 2, corner[1] + (side - size[1]) // 2)
    sheet.paste(cell, place, cell)
