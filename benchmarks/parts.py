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
from statistics import fmean
from typing import NamedTuple

import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

import swiftpie
from benchmarks.tables import table
from swiftpie.engine.session import Session
from swiftpie.imageio.images import mask_to_pil, plane, to_pil, to_tensor
from swiftpie_lab.data.archive import default_pack
from swiftpie_lab.data.subjects import load_subjects
from swiftpie_lab.evaluation.metrics.pixels import psnr
from swiftpie_lab.evaluation.report import format_interval, interval

BOX = (0.25, 0.25, 0.75, 0.75)
PROMPT, TWO = "a toy on a beach", "a toy and a toy on a beach"
SEAM = 0.06  # of the height of the box, to either side
WHITE = 1.0


class Part(NamedTuple):
    """A reference: pixels (1, 3, S, S) in [-1, 1] on white, and its mask (1, 1, S, S)."""

    pixels: Tensor
    mask: Tensor

    def encoded(self, session: Session) -> swiftpie.Identity:
        """Return it as a subject."""
        return session.encode_identity(to_pil(self.pixels)[0], masks=mask_to_pil(self.mask)[0])


def part_of(sprite: Tensor) -> Part:
    """Return a premultiplied sprite (4, S, S), bytes, as a reference that fills its frame."""
    frame = sprite[None].float() / 255
    colours, mask = frame[:, :3], frame[:, 3:]
    left, top, right, bottom = _extent(mask)
    crop = torch.cat([colours + WHITE * (1 - mask), mask], dim=1)[..., top:bottom, left:right]
    whole = torch.nn.functional.interpolate(crop, (96, 96), mode="bilinear", antialias=True)
    return Part(2 * whole[:, :3] - 1, whole[:, 3:])


def _extent(mask: Tensor) -> tuple[int, int, int, int]:
    rows, columns = (mask[0, 0] > 0.5).any(1).nonzero(), (mask[0, 0] > 0.5).any(0).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def halves(upper: Part, lower: Part) -> tuple[Part, Part, Part]:
    """Return the upper half of one, the lower of the other, and both in one reference."""
    is_upper = torch.zeros_like(upper.mask)
    is_upper[..., : upper.mask.shape[2] // 2, :] = 1
    both = Part(*(torch.where(is_upper > 0, a, b) for a, b in zip(upper, lower, strict=True)))
    cut = (Part(both.pixels, both.mask * is_upper), Part(both.pixels, both.mask * (1 - is_upper)))
    return (*cut, both)


def box_of(part: Part) -> tuple[float, float, float, float]:
    """Return where a part of the common frame goes, which fills `BOX`."""
    side, extent = part.mask.shape[-1], _extent(part.mask)
    left, top, width = BOX[0], BOX[1], BOX[2] - BOX[0]
    start = (left, top, left, top)
    return tuple(at + width * edge / side for at, edge in zip(start, extent, strict=True))  # type: ignore[return-value]


def main() -> None:
    """Draw every pair, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("-o", "--out", type=Path, default=Path("parts.png"), help="a sheet")
    options = parser.parse_args()
    session, pack = swiftpie.load("mini"), load_subjects(default_pack())
    codes = pack.indices("held_out")[: 2 * options.pairs]
    rows: dict[str, list[float]] = {"over the subject": [], "at the seam": [], "bound": []}
    shown = []
    for seed, pair in enumerate(track(list(zip(codes[::2], codes[1::2], strict=True)))):
        upper, lower, both = halves(*(part_of(pack.tiles[index]) for index in pair))
        whole = [
            session.personalize(both.encoded(session), PROMPT, seed=one, box=box_of(both))
            for one in (seed, seed + 1000)
        ]
        parts = [swiftpie.Subject(one.encoded(session), box=box_of(one)) for one in (upper, lower)]
        made = session.personalize(parts, TWO, seed=seed)
        known, other, drawn = (to_tensor(one.images[0]) for one in (*whole, made))
        mask = plane(whole[0].subject_masks[0])
        height = mask.shape[2]
        seam = torch.zeros_like(mask)
        near = SEAM * (BOX[3] - BOX[1])
        seam[..., int(height * (0.5 - near)) : int(height * (0.5 + near)), :] = 1
        rows["over the subject"].append(psnr(drawn, known, mask))
        rows["at the seam"].append(psnr(drawn, known, mask * seam))
        rows["bound"].append(psnr(other, known, mask))
        shown.append((whole[0].images[0], made.images[0]))
    sheet = Image.new("RGB", (256 * len(shown), 512))
    for column, pictures in enumerate(shown):
        for row, picture in enumerate(pictures):
            sheet.paste(picture.resize((256, 256)), (256 * column, 256 * row))
    sheet.save(options.out)
    lines = [[name, format_interval(interval(values), unit="dB")] for name, values in rows.items()]
    sys.stdout.write(table(["parts beside one reference", "PSNR, dB"], lines) + "\n")
    sys.stdout.write(f"mean {fmean(rows['over the subject']):.1f} dB; look at {options.out}\n")


if __name__ == "__main__":
    main()
