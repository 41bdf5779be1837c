"""Whether one subject can be made of parts of two: the upper half of one, the lower of another.

Run `python -m benchmarks.parts -o SHEET`. Held-out sprites are cut in the middle of their height.
Each half is a subject of its own, cut out by a mask, in its half of one box (MagicTailor,
arXiv:2410.13370, asks for such subjects). The same drawing with both halves in one reference says
what is lost: the table has the PSNR of the first to the second over the subject, and over the
rows next to the seam, and as its bound that of the second to itself with another seed's noise.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

import swiftpie
from benchmarks.tables import table
from swiftpie.engine.session import Session
from swiftpie.imageio.images import contact_sheet, extent_of, mask_to_pil, plane, to_pil, to_tensor
from swiftpie.masks import Box
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.metrics.pixels import psnr
from swiftpie_lab.evaluation.report import format_interval, interval

BOX = (0.25, 0.25, 0.75, 0.75)
PROMPT, TWO = "a toy on a beach", "a toy and a toy on a beach"
SEAM = 0.06  # of the height of the box, to either side
FRAME_PX, CELL_PX = 96, 256


class Part(NamedTuple):
    """A reference: pixels (1, 3, S, S) in [-1, 1] on white, and its mask (1, 1, S, S)."""

    pixels: Tensor
    mask: Tensor

    def encoded(self, session: Session) -> swiftpie.Identity:
        """Return it as a subject."""
        return session.encode_identity(to_pil(self.pixels)[0], masks=mask_to_pil(self.mask)[0])

    @property
    def box(self) -> Box:
        """Where it goes if its frame fills `BOX`."""
        left, top, right, bottom = swiftpie.bounding_box(self.mask)
        x, y, width, height = BOX[0], BOX[1], BOX[2] - BOX[0], BOX[3] - BOX[1]
        return x + width * left, y + height * top, x + width * right, y + height * bottom


def part_of(sprite: Tensor) -> Part:
    """Return a premultiplied sprite (4, S, S), bytes, as a reference that fills its frame."""
    frame = sprite[None].float() / 255
    extent = extent_of(frame[:, 3:])
    assert extent is not None, "a sprite shows something"
    left, top, right, bottom = extent
    cut = frame[..., top:bottom, left:right]
    whole = F.interpolate(cut, (FRAME_PX, FRAME_PX), mode="bilinear", antialias=True)
    colours, mask = whole[:, :3], whole[:, 3:]
    return Part(2 * (colours + 1 - mask) - 1, mask)


def halves(upper: Part, lower: Part) -> tuple[Part, Part, Part]:
    """Return the upper half of one, the lower of the other, and both in one reference."""
    is_upper = torch.zeros_like(upper.mask)
    is_upper[..., : FRAME_PX // 2, :] = 1
    both = Part(*(torch.where(is_upper > 0, a, b) for a, b in zip(upper, lower, strict=True)))
    cut = (Part(both.pixels, both.mask * is_upper), Part(both.pixels, both.mask * (1 - is_upper)))
    return (*cut, both)


def main() -> None:
    """Draw every pair, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("-o", "--out", type=Path, default=Path("parts.png"), help="a sheet")
    options = parser.parse_args()
    session, pack = swiftpie.load("mini"), load_subjects(default_pack())
    codes = pack.indices("held_out")[: 2 * options.pairs]
    figures: dict[str, list[float]] = {"over the subject": [], "at the seam": [], "bound": []}
    shown = []
    for seed, pair in enumerate(track(list(zip(codes[::2], codes[1::2], strict=True)))):
        upper, lower, both = halves(*(part_of(pack.tiles[index]) for index in pair))
        whole = [
            session.personalize(both.encoded(session), PROMPT, seed=number, box=both.box)
            for number in (seed, seed + 1000)
        ]
        parts = [swiftpie.Subject(half.encoded(session), box=half.box) for half in (upper, lower)]
        made = session.personalize(parts, TWO, seed=seed)
        known, other, drawn = (to_tensor(result.images[0]) for result in (*whole, made))
        mask = plane(whole[0].subject_masks[0])
        height, near = mask.shape[2], SEAM * (BOX[3] - BOX[1])
        seam = torch.zeros_like(mask)
        seam[..., int(height * (0.5 - near)) : int(height * (0.5 + near)), :] = 1
        figures["over the subject"].append(psnr(drawn, known, mask))
        figures["at the seam"].append(psnr(drawn, known, mask * seam))
        figures["bound"].append(psnr(other, known, mask))
        shown.append((whole[0].images[0], made.images[0]))
    contact_sheet(list(zip(*shown, strict=True)), cell_px=CELL_PX).save(options.out)
    lines = [[name, format_interval(interval(row), unit="dB")] for name, row in figures.items()]
    sys.stdout.write(table(["parts beside one reference", "PSNR, dB"], lines) + "\n")


if __name__ == "__main__":
    main()
