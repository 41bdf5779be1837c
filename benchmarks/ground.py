"""How subjects stand on the ground of photographs: `python -m benchmarks.ground [FOLDER -o OUT]`.

The layer of `swiftpie.photo.ground` is fitted by ridge regression to the annotated photographs of
the package, and to crops of them, which move the horizon; whether a place is near, to renderings as
well. What is printed is measured by layers that saw no photograph of the place in question, nor of
another with the same title: on the photographs, and on their crops, with subjects of several usual
heights, how many come without a warning, of these how many have their lowest point on the annotated
ground, and their height within a factor 1.5 of the usual one; and how many come with a warning, of
which how many have neither.

`--stamps` names a folder with the photographed stamps of Debian's `tuxpaint-stamps-default`, pasted
into these places. The layer that tells the height of a thing is fitted to those with a usual
height; what is printed of it is measured by layers that did not see the stamp. `--fit` stores what
was fitted.

With FOLDER, DreamBench's photographs, 40 pictures are drawn: subjects, cut out by their hand-drawn
outlines of photographs that show them whole, in places that the seed deals: small things in places
seen from near, others in the others. Three figures: in how many pictures the subject's lowest point
lies on the annotated ground, in how many it has a quarter of the picture's height or more, and in
how many of the first 16, drawn at night and at sunset as well, the subject and what is around it
keep the same share of their daylight, within 15 %.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import load_file, save_file
from torch import Tensor

import swiftpie
from benchmarks.cutout import open_photo, read_outlines
from benchmarks.sheet import Pair, identity_of, save
from swiftpie import scenes
from swiftpie.errors import SwiftPieError
from swiftpie.geometry.ground import ASSETS, SMALL_M, Ground, heights_in
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import plane
from swiftpie.lexicon import tokens_in
from swiftpie.masks import HALF, Box
from swiftpie.noise import draw_noise, share_of
from swiftpie.photo.ground import (
    CELLS,
    WEIGHTS,
    GroundEstimate,
    features_of,
    find_box,
    height_of,
    mean_in,
)
from swiftpie.places.relight import NOISE_SHAPE
from swiftpie.scenes import scene_library
from swiftpie_lab.data.photographs import photos_of
from swiftpie_world.blender.collect import is_rendered
from swiftpie_world.subjects import Split

NUM_CROPS = 5  # of each photograph, by turns of most and of a part of it
WHOLE, PART = (0.55, 1.0), (0.25, 0.55)  # of the width
RIDGE = 0.1
EVERYTHING = (0.0, 0.0, 1.0, 1.0)
# Of the layer that tells heights: its ridge, how often each stamp is pasted, the share of the
# height that it takes there, and the folds by which the layer's answers are stretched.
HEIGHT_RIDGE, NUM_PASTED, TALL, NUM_FOLDS = 3.0, 3, (0.3, 0.85), 8
# Mean error of the logarithm on 73 photographs of 14 things of DreamBench, which are smaller than
# stamps that look like them.
STAMPS_ARE_LARGER = 0.39
PART_OF_PLACE = (0.3, 0.8)  # of the width
PASTED_PX, NUM_FINE = 384, 112  # width of a picture with a stamp, and features that are read
# Folders of stamps: none, and usual heights in metres where the name of a stamp says none.
NO_STAMPS = ("cartoon", "symbols", "space")
METRES = {0.03: "insects", 0.1: "fruit vegetables dishes", 0.15: "tools easter", 0.2: "birds"}
METRES |= {0.3: "flowers", 3.0: "locomotive masstransit", 5.0: "houses monuments trees"}
NOWHERE = Ground((), ((0.0, 0.0), (1.0, 1.0)), is_near=False)
# Where the ground of backgrounds begins, as a share of the height; 1 where there is none. In those
# that are not named it does not reach both sides.
FAR_END = {
    1.0: "Bamboo Foggy-Trees God-Rays Green-Maple Lichen-Branches Mountain Peaks Red-Maple "
    "Sea-of-Lanterns Spruce-Needles Sunset-Clouds White-Flower Yellow-Flower Bridge Dragonfly "
    "Kleiber Picture_1A free friends greentock life seeding Butterfly-Kenneth-Wimer Valendas "
    "after-the-rain appleflower beam butterfly cloud drop flowers Aqua Blinds Dune FreshFlower "
    "Garden GreenMeadow LadyBird RainDrops TwoWings YellowFlower DarkestHour Kite OneStandsOut "
    "Volna summer_1am garching-gl1 garching-gl3 garching-ground3 ocean2 ocean9",
    0.81: "hurricane1 hurricane2 hurricane6 hurricane8",
    0.74: "hurricane4 this-is-not-windows",
    0.65: "aitzgorri picosdeeuropa sunset fog Path",
    0.51: "guereins1 guereins3 guereins8",
    0.35: "BytheWater",
}
BACKGROUND = -1  # the group of all of them, which are not validated
FACTOR = 1.5  # by which a height may be off
SLACK = 0.03  # of the picture, by which feet may be off
FINE = 8  # in each direction of a cell: points at which polygons are drawn
# Usual height in metres, and width over height: what stands on near and on other ground.
NEAR = ((0.1, 1.0), (0.15, 0.6), (0.25, 1.0))
FAR = ((0.6, 1.0), (0.45, 0.7), (1.5, 1.6), (1.75, 0.4), (1.0, 1.0))
NUM_PICTURES, NUM_NIGHTS, SIZE = 40, 16, (768, 576)
DARK = ("at night", "at sunset")
OUTLINE_SLACK = 0.015  # of the picture: what an outline is off at the feet
SEEN_WELL = 0.25  # of the picture's height, from which a subject can be seen well
AROUND = 0.12  # of the longer side: how far the surroundings of a subject reach
DARKER = 0.15  # by which subjects may keep another share of their daylight than surroundings


class View(NamedTuple):
    """A photograph or a crop of one, and what is known of it."""

    group: int  # of places that show the same site
    is_crop: bool
    aspect: float  # width over height
    ground: Ground
    horizon: float
    features: Tensor  # (cells, C), the last of which is 1
    thing: Tensor  # (h, w) in [0, 1], where the photograph has a subject
    thing_m: float  # the estimated height of that
    targets: Tensor  # (cells, 3), 1 or -1: things stand there, below the horizon, in a near place
    is_rendered: bool


class Score(NamedTuple):
    """How many subjects stand as they should."""

    unwarned: int
    on_ground: int  # of these
    usual_height: int
    warned: int
    rightly: int  # of those that are warned of


def views() -> Iterator[View]:
    """Yield each annotated photograph of the package, and its crops."""
    rows = json.loads((scenes.ASSETS / scenes.PLACES_INDEX).read_text(encoding="utf-8"))
    known, groups, dealer = scenes.scene_library(), _groups(rows), random.Random(0)
    for row in rows:
        name, photographs = row["name"], row["photographs"]
        for number, facts in enumerate(photographs):
            photograph = known.image(name, number)
            ground = known.ground(name, (number + 0.5) / len(photographs)) or NOWHERE
            boxes = [_dealt_crop(dealer, (WHOLE, PART)[crop % 2]) for crop in range(NUM_CROPS)]
            for box in [EVERYTHING, *boxes]:
                view = _view(photograph, ground, facts["horizon"], box, groups[name])
                yield view._replace(is_rendered=is_rendered(facts))


def _view(photograph: Image.Image, ground: Ground, horizon: float, box: Box, group: int) -> View:
    left, top, right, bottom = box
    width, height = photograph.size
    part = photograph.crop((left * width, top * height, right * width, bottom * height))
    seen, horizon = ground.seen_in(box), (horizon - top) / (bottom - top)
    read, thing = features_of(part)
    features = read[0].flatten(1).T.double()
    features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    fine = Image.new("1", (CELLS * FINE, CELLS * FINE))
    if seen.corners:
        corners = [(x * fine.width, y * fine.height) for x, y in seen.corners]
        ImageDraw.Draw(fine).polygon(corners, fill=1)
    stands = plane(fine.convert("L"))[0, 0, FINE // 2 :: FINE, FINE // 2 :: FINE] > 0.5
    below = ((torch.arange(CELLS) + 0.5) / CELLS > horizon)[:, None].expand(CELLS, CELLS)
    near = torch.full_like(below, fill_value=ground.is_near)
    targets = torch.stack([stands.flatten(), below.flatten(), near.flatten()], dim=1)
    return View(
        *(group, box != EVERYTHING, part.width / part.height, seen, horizon, features),
        thing=thing[0, 0],
        thing_m=height_of(read, thing),
        targets=2 * targets.double() - 1,
        is_rendered=False,
    )


def _dealt_crop(dealer: random.Random, shares: tuple[float, float]) -> Box:
    wide = dealer.uniform(*shares)
    high = min(1.0, wide * dealer.uniform(0.75, 1.3))
    left, top = dealer.uniform(0, 1 - wide), dealer.uniform(0, 1 - high)
    return (left, top, left + wide, top + high)


def _groups(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return a number for each place, the same for places whose photographs have one title."""
    groups: list[tuple[set[str], set[str]]] = []
    for row in rows:
        names, titles = {row["name"]}, {each["credit"]["title"] for each in row["photographs"]}
        for other in [group for group in groups if group[1] & titles]:
            groups.remove(other)
            names, titles = names | other[0], titles | other[1]
        groups.append((names, titles))
    return {name: number for number, (names, _) in enumerate(groups) for name in names}


def far_end_of(path: Path) -> float | None:
    """Return where the ground of a background begins; None if that is not known."""
    name = path.stem.partition("-")[2].split("_by_")[0]
    return next((far for far, names in FAR_END.items() if name in names.split()), None)


def backgrounds(folder: Path, split: Split) -> Iterator[View]:
    """Yield one side of the backgrounds, and crops of them; only their ground is known."""
    dealer = random.Random(1)
    for path in photos_of(folder.iterdir(), split):
        far, photograph = far_end_of(path), load_image(path).convert("RGB")
        for box in [EVERYTHING, *(_dealt_crop(dealer, part) for part in (WHOLE, PART))]:
            if far is not None:
                corners = ((0.0, far), (1.0, far), (1.0, 1.0), (0.0, 1.0)) if far < 1 else ()
                ground = NOWHERE._replace(corners=corners)
                yield _view(photograph, ground, far, box, BACKGROUND)


def fit(seen: Sequence[View]) -> Tensor:
    """Return the weights (C, 3) by ridge regression, for features of unit variance."""
    photographs = [view for view in seen if not view.is_rendered]
    known = [view for view in seen if view.group != BACKGROUND]
    places = [view for view in known if view.ground.corners]
    below = [view for view in known if not view.is_rendered]
    columns = (photographs, below, places)
    return torch.cat([_ridge(each)[:, [n]] for n, each in enumerate(columns)], dim=1)


def _ridge(seen: Sequence[View]) -> Tensor:
    features, targets = (
        torch.cat([getattr(view, name) for view in seen]) for name in ("features", "targets")
    )
    return solved(features, targets, RIDGE)


def solved(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Return the weights of features (N, C) for targets (N, D)."""
    penalty = ridge * len(features) * features.var(dim=0).diag()
    return torch.linalg.solve(features.T @ features + penalty, features.T @ targets)


class Stamp(NamedTuple):
    """A thing that is pasted into a place."""

    path: Path
    height_m: float


def stamps_in(folder: Path) -> Iterator[Stamp]:
    """Yield the photographed stamps of Tux Paint whose usual height is known."""
    for path in sorted(folder.rglob("*.png")):
        name, about = path.relative_to(folder).as_posix(), path.with_suffix(".txt")
        if any(word in name for word in NO_STAMPS) or path.stem.endswith("_mirror"):
            continue
        title = about.read_text(errors="ignore").split(".")[0] if about.is_file() else ""
        words = tokens_in(title) + tokens_in(path.stem.replace("_", " "))
        folders = [m for m, parts in METRES.items() if set(parts.split()) & set(name.split("/"))]
        known = heights_in(words) or folders
        if known:
            yield Stamp(path, known[0])


def pasted(folder: Path) -> tuple[Tensor, Tensor, list[Path]]:
    """Return the features of stamps in places, the logarithms of their heights, and the files."""
    dealer, known = random.Random(2), scene_library()
    places = [name for name in known.names() if known.is_photographed(name)]
    features, heights, paths = [], [], []
    for stamp in [*stamps_in(folder)] * NUM_PASTED:
        cut = load_image(stamp.path).convert("RGBA")
        cut = cut.crop(cut.getchannel("A").getbbox())
        place = known.image(dealer.choice(places)).convert("RGB")
        wide = dealer.uniform(*PART_OF_PLACE) * place.width
        high = min(place.height, wide * dealer.uniform(0.75, 1.2))
        left, top = dealer.uniform(0, place.width - wide), dealer.uniform(0, place.height - high)
        place = place.crop((left, top, left + wide, top + high))
        place = place.resize((PASTED_PX, round(PASTED_PX * high / wide)))
        tall = dealer.uniform(*TALL)
        scale = min(tall * place.height / cut.height, 0.95 * place.width / cut.width)
        cut = cut.resize((max(1, int(scale * cut.width)), max(1, int(scale * cut.height))))
        foot = int(dealer.uniform(max(tall, 0.75), 0.98) * place.height)
        place.paste(cut, (dealer.randint(0, place.width - cut.width), foot - cut.height), cut)
        read, thing = features_of(place)
        features.append(mean_in(read[:, :NUM_FINE], thing)[0])
        heights.append(math.log(stamp.height_m))
        paths.append(stamp.path)
    return torch.stack(features).double(), torch.tensor(heights).double(), paths


def fit_heights(folder: Path) -> tuple[Tensor, str]:
    """Return the layer (C + 1) that tells heights, and how well it does for stamps not seen."""
    features, heights, paths = pasted(folder)
    features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    names = sorted(set(paths))
    random.Random(0).shuffle(names)
    fold = torch.tensor([names.index(path) % NUM_FOLDS for path in paths])
    said = torch.zeros_like(heights)
    for number in range(NUM_FOLDS):
        weights = solved(features[fold != number], heights[fold != number], HEIGHT_RIDGE)
        said[fold == number] = features[fold == number] @ weights
    slope = torch.cov(torch.stack([said, heights]))[0] / said.var()  # 1, and that of heights
    off = (slope[1] * (said - said.mean()) + heights.mean() - heights).abs()
    shift = heights.mean() - slope[1] * said.mean() - STAMPS_ARE_LARGER
    weights = slope[1] * solved(features, heights, HEIGHT_RIDGE)
    weights[-1] += shift
    near = off.lt(math.log(FACTOR)).sum()
    return weights.float(), f"heights of stamps within a factor {FACTOR}: {near} of {len(off)}\n"


def validated(seen: Sequence[View]) -> Iterator[tuple[View, GroundEstimate]]:
    """Yield each photographed view and what it shows to a layer that saw none of its group."""
    for group in sorted({view.group for view in seen} - {BACKGROUND}):
        weights = fit([view for view in seen if view.group != group])
        for view in seen:
            if view.group == group and not view.is_rendered:
                scores = (view.features @ weights).T.reshape(3, CELLS, CELLS)
                yield view, GroundEstimate(scores.float(), view.thing, view.thing_m)


def score(found: Sequence[tuple[View, GroundEstimate]]) -> Score:
    """Return how subjects stand in photographs with annotated ground."""
    results = []
    for view, estimate in found:
        if not view.targets[:, 0].gt(0).any():
            continue
        for height_m, shape in NEAR if view.ground.is_near else FAR:
            box, doubt, _ = find_box(estimate, (shape / view.aspect, 1.0), height_m)
            results.append((*stands(box, view.ground, height_m), bool(doubt)))
    unwarned = [(on, usual) for on, usual, doubt in results if not doubt]
    warned = [(on, usual) for on, usual, doubt in results if doubt]
    return Score(
        len(unwarned),
        sum(on for on, _ in unwarned),
        sum(usual for _, usual in unwarned),
        len(warned),
        sum(not (on and usual) for on, usual in warned),
    )


def stands(box: Box, ground: Ground, height_m: float) -> tuple[bool, bool]:
    """Return whether the feet of a box are on annotated ground, and its height is the usual one."""
    left, top, right, foot = box
    ys = [y for _, y in ground.corners]
    y = min(max(ys), max(min(ys), foot))
    first, last = ground.span_at(y)
    is_on = abs(y - foot) <= SLACK and first - SLACK <= (left + right) / 2 <= last + SLACK
    factor = (foot - top) / max(1e-6, ground.metre_at(foot) * height_m)
    return is_on, 1 / FACTOR <= factor <= FACTOR


def report(seen: Sequence[View]) -> str:
    """Return how subjects without a box stand, on photographs and on crops, a line each."""
    lines, found = list[str](), list(validated(seen))
    for name, is_crop in (("photographs", False), ("crops", True)):
        stood = score([each for each in found if each[0].is_crop == is_crop])
        lines.append(
            f"without a box, {name} that the layer did not see: on the ground {stood.on_ground} of "
            f"{stood.unwarned} unwarned, usual height {stood.usual_height}; "
            f"warned of {stood.warned}, {stood.rightly} rightly\n"
        )
    return "".join(lines)


def refusals(seen: Sequence[View], weights: Tensor) -> str:
    """Return how many subjects backgrounds with ground and without refuse."""
    refused: dict[bool, list[bool]] = {True: [], False: []}
    for view in seen:
        scores = (view.features @ weights).T.reshape(3, CELLS, CELLS).float()
        estimate = GroundEstimate(scores, view.thing, view.thing_m)
        for height_m, shape in FAR if not view.is_crop else ():
            is_hopeless = find_box(estimate, (shape / view.aspect, 1.0), height_m)[2]
            refused[bool(view.ground.corners)].append(is_hopeless)
    return "".join(
        f"backgrounds {name} ground that the layer did not see refuse {sum(refused[has])} of "
        f"{len(refused[has])}\n"
        for name, has in (("with", True), ("without", False))
    )


class Standing(NamedTuple):
    """One picture, and how its subject stands."""

    pair: Pair
    is_on_ground: bool
    tall: float  # share of the picture's height
    dark: dict[str, float]  # its share of daylight over that of its surroundings, by time of day


def standing_in(mask: Image.Image, ground: Ground) -> tuple[bool, float]:
    """Return whether a subject's lowest point lies on the ground, and its share of the height."""
    seen = np.asarray(mask) > 255 * HALF
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen[seen.any(1)][-1])
    foot = ((rows[-1] + 1) / len(seen), (columns.mean() + 0.5) / seen.shape[1])
    ys = [y for _, y in ground.corners]
    y = min(max(ys), max(min(ys), foot[0]))
    left, right = ground.span_at(y)
    slack = OUTLINE_SLACK
    is_on = abs(y - foot[0]) <= slack and left - slack <= foot[1] <= right + slack
    return bool(is_on), float(rows[-1] + 1 - rows[0]) / len(seen)


def brightness(picture: Image.Image, mask: Image.Image) -> tuple[float, float]:
    """Return the mean brightness in [0, 1] of a subject and of what is around it."""
    grey, seen = np.asarray(picture.convert("L")) / 255, np.asarray(mask)
    reach, solid = round(AROUND * max(mask.size)), seen > 255 * HALF
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    around = np.zeros_like(solid)
    top, left = max(0, rows[0] - reach), max(0, columns[0] - reach)
    around[top : rows[-1] + reach, left : columns[-1] + reach] = True
    rim = np.asarray(mask.filter(ImageFilter.MaxFilter(9))) > 0
    return float(grey[solid].mean()), float(grey[around & ~rim].mean())


def pictures(session: swiftpie.Session, folder: Path, *, seed: int) -> Iterator[Standing]:
    """Yield pictures of subjects in places that the seed deals.

    Raises:
        InputError: A photograph is missing, or another one than was outlined.
    """
    dealer, known = random.Random(seed), scene_library()
    outlines = [*read_outlines(whole=True).items()]
    grounds = {name: known.ground(name, 0) for name in known.names()}
    near, far = (
        [name for name, ground in grounds.items() if ground and ground.is_near == is_near]
        for is_near in (True, False)
    )
    for number in range(NUM_PICTURES):
        known_as, outline = dealer.choice(outlines)
        words = tokens_in(known_as.replace("_", " "))
        noun = words[-1].rstrip("0123456789")
        noun = f"toy {noun}" if words[0] == "rc" else noun  # DreamBench's class is "toy"
        height = next(iter(heights_in([*words[:-1], *noun.split()])), None)
        name = dealer.choice(near if height is not None and height < SMALL_M else far)
        prompt = f"a {noun} {known.phrase(name)}"
        identity = identity_of(session, folder, outline)
        drawn = session.personalize(identity, prompt, scene=name, seed=seed + number, size=SIZE)
        share = share_of(draw_noise([seed + number], NOISE_SHAPE))
        whole = known.ground(name, known.share_for(name, share, is_small=name in near))
        assert whole is not None, "dealt places have ground"
        ground = whole.seen_in(whole.part_shown(SIZE, whole=known.size_of(name)))
        is_on, tall = standing_in(drawn.subject_masks[0], ground)
        dark = {}
        for time in DARK if number < NUM_NIGHTS else ():
            dim = session.personalize(
                identity, f"{prompt} {time}", scene=name, seed=seed + number, size=SIZE
            )
            (subject, place), (lit, lit_place) = (
                brightness(result.images[0], result.subject_masks[0]) for result in (dim, drawn)
            )
            dark[time] = (subject / lit) / (place / lit_place)
        # A portrait's feet are below the picture.
        stands_on = "cut" if identity.is_cut else "on" if is_on else "OFF"
        title = f"{prompt}: {stands_on}, {tall:.2f}"
        pair = Pair(title, open_photo(folder, outline), drawn.images[0])
        yield Standing(pair, is_on, tall, dark)


def main() -> None:
    """Print how subjects stand, store the layer with --fit, and draw with a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="DreamBench's photographs")
    parser.add_argument("-o", "--out", type=Path, default=Path("standing.png"), help="the sheet")
    parser.add_argument("--each", type=Path, help="a folder for all pictures at their full size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stamps", type=Path, help="the stamps of Tux Paint, for heights")
    parser.add_argument("--backgrounds", type=Path, help="photographs of free packages")
    parser.add_argument("--fit", action="store_true", help="store the layers of all photographs")
    given = parser.parse_args()
    if given.folder is not None:
        sys.stdout.write(drawn_report(given))
    seen = list(views())
    if given.backgrounds is not None:
        seen += backgrounds(given.backgrounds, "train")
    sys.stdout.write(report(seen))
    stored, weights = load_file(ASSETS / WEIGHTS), fit(seen)
    if given.backgrounds is not None:
        sys.stdout.write(refusals([*backgrounds(given.backgrounds, "held_out")], weights))
    weights = weights.float()
    stored |= {"weight": weights[:-1].T.contiguous(), "bias": weights[-1].clone()}
    if given.stamps is not None:
        weights, line = fit_heights(given.stamps)
        sys.stdout.write(line)
        stored |= {"height_weight": weights[:-1].clone(), "height_bias": weights[-1:].clone()}
    if given.fit:
        save_file(stored, ASSETS / WEIGHTS)


def drawn_report(given: argparse.Namespace) -> str:
    """Draw and store a sheet; return how its subjects stand."""
    found = list(pictures(swiftpie.load("mini"), given.folder, seed=given.seed))
    save([each.pair for each in found], given, total=NUM_PICTURES)
    on = sum(each.is_on_ground for each in found)
    well = sum(each.tall >= SEEN_WELL for each in found)
    alike = (
        f"as dark as its place {time} "
        f"{sum(abs(each.dark[time] - 1) <= DARKER for each in found[:NUM_NIGHTS])} of {NUM_NIGHTS}"
        for time in DARK
    )
    return (
        f"on the ground {on}, a quarter of the height or more {well}, of {len(found)}, "
        f"{', '.join(alike)}\n"
    )


if __name__ == "__main__":
    try:
        main()
    except SwiftPieError as error:
        sys.exit(str(error))
