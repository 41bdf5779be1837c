"""`swiftpie identity`, `tune`, `cutout` and `library`: subjects in files and pictures."""

from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftpie.backbones.presets import PRESETS
from swiftpie.cli import options
from swiftpie.cli.console import bar, examples, print_json, print_text, say, write_table
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.cli.subjects import read_source, with_cutouts
from swiftpie.errors import ConfigError
from swiftpie.imageio.atomic import check_target
from swiftpie.library import CREDIT, Named, subject_library
from swiftpie.pipelines.request import Pictures
from swiftpie.pipelines.settings import TuneSettings
from swiftpie.scenes import scene_library
from swiftpie.types import CutoutMethod, spell_cutouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from swiftpie.backbones.choices import LoadOptions
    from swiftpie.pipelines.request import Source
    from swiftpie.pipelines.tuning import TuneEvent
    from swiftpie.types import Cutout

OPAQUE = (".jpg", ".jpeg")


class CutoutForm(StrEnum):
    """Forms in which a cut-out is written."""

    FRAME = "frame"
    RGBA = "rgba"
    MASK = "mask"


IdentityFile = Annotated[
    Path, typer.Option("-o", "--out", metavar="FILE", help="Identity file to write (.spid).")
]

Every = Annotated[
    bool,
    typer.Option(
        "--all",
        help="Take each subject that stands out in the picture; --out is then a folder of files "
        "numbered from left to right.",
    ),
]

app = typer.Typer()
identity_app = typer.Typer(
    name="identity", no_args_is_help=True, help="Encode a subject once and keep it as a file."
)
app.add_typer(identity_app)


@identity_app.command(
    epilog=examples(
        "swiftpie identity save dog.jpg -o dog.spid",
        "swiftpie identity save a.png b.jpg --cutout auto --cutout mask.png -o robot.spid",
        "swiftpie identity save dog.jpg -o dog.spid --recipe sdxl-turbo",
        "swiftpie identity save street.jpg --all -o street",
    )
)
@options.with_fields
def save(
    *,
    subjects: options.Subjects,
    out: IdentityFile,
    cutouts: options.Cutouts = None,
    every: Every = False,
    networks: options.Networks,
    force: options.Force = False,
) -> None:
    """Encode pictures of one subject into a file that `personalize` takes as SUBJECT.

    With --all, each subject of one picture becomes a file, with its cut-out as a PNG beside it.
    """
    if every:
        _save_all(subjects, out, cutouts, networks=networks, force=force)
        return
    check_target(out, force=force)
    (source,) = with_cutouts([read_source(subjects)], cutouts)
    preset = preset_for(networks)
    session = open_session(**networks).session
    identity = session.identity_of(source)
    session.save_identity(identity, out, force=force)
    size, how = f"{out.stat().st_size / 1024:.0f} KiB", spell_cutouts((identity.cutouts,))
    say(f"wrote {out} ({size}, preset {preset.name}; cut out by {how})")


@app.command(
    epilog=examples(
        "swiftpie cutout dog.jpg -o seen.png",
        "swiftpie cutout dog.jpg -o dog.png --to rgba",
        "swiftpie cutout street.jpg --all -o street",
        "swiftpie cutout street.jpg -o seen.png --cutout 0.1,0.4,0.4,0.95",
        "swiftpie cutout street.jpg -o seen.png --cutout '0.25,0.6 not:0.5,0.5'",
    )
)
def cutout(
    *,
    image: Annotated[str, options.argument("A picture.", "IMAGE")],
    out: options.PictureOut,
    form: Annotated[
        CutoutForm | None,
        typer.Option(
            "--to",
            help="frame, the default, is what the encoders see. At the size of the picture, rgba "
            "is the picture with transparency around the subject, and mask is white where the "
            "subject is.",
        ),
    ] = None,
    cutouts: options.Cutouts = None,
    every: Every = False,
    preset: options.PresetName = "mini",
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Show what the encoders see of a picture: the subject alone, centred, on grey.

    With --to rgba or mask, cut the subject out at full size, to correct it and use it again. With
    --all, each subject is cut out so with transparency.
    """
    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.images import to_pil
    from swiftpie.imageio.writing import check_image_target, save_image
    from swiftpie.masks import load_mask
    from swiftpie.photo.matte import with_own_colours
    from swiftpie.photo.search import search_of
    from swiftpie.pipelines.identity import crop_subject, frame_of, subject_in

    if every:
        _check_rgba(form)
        facts = [
            {"path": str(path), "cutout": how._asdict()}
            for path, _, how in _each_subject([image], out, cutouts, force=force)
        ]
        say(f"wrote {len(facts)} subjects into {out}")
        if as_json:
            print_json(facts)
        return
    form = form or CutoutForm.FRAME
    check_image_target(out, force=force)
    _check_transparency(out, form)
    size_px = PRESETS.get(preset).image_size_px
    (source,) = with_cutouts([read_source([image])], cutouts)
    pictures = _pictures_of(source)
    picture, given = load_image(pictures.images[0]), next(iter(pictures.masks), None)
    mask = None if given is None else load_mask(given, picture.size, of_subject=True)
    search = search_of(pictures.cutouts[0])
    if form is CutoutForm.FRAME:
        pixels, _, how = frame_of(crop_subject(picture, mask, search, name=image), size_px)
        cut = to_pil(pixels)[0]
    else:
        found, how = subject_in(picture, mask, search, name=image)
        is_cut = how.way is CutoutMethod.TRANSPARENCY
        cut = picture.convert("RGBA") if is_cut else with_own_colours(picture, found)
        cut = cut if form is CutoutForm.RGBA else cut.getchannel("A")
    save_image(cut, out, metadata=None, force=force)
    say(f"wrote {out} ({cut.width}x{cut.height} px; cut out by {how})")
    if as_json:
        size = {"width": cut.width, "height": cut.height}
        print_json({"path": str(out), "size": size, "cutout": how._asdict()})


def _each_subject(
    images: list[str], folder: Path, cutouts: list[str] | None, *, force: bool
) -> "Iterator[tuple[Path, Image.Image, Cutout]]":
    """Write each subject of a picture into `folder`; yield its file, the cut-out and how."""
    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.writing import save_image
    from swiftpie.photo.matte import with_own_colours
    from swiftpie.photo.several import cut_out_all

    if cutouts or len(images) != 1:
        raise ConfigError(
            f"--all cannot be combined with {len(images)} pictures and {len(cutouts or [])} "
            "--cutout: it finds the subjects of one picture. Give one, and leave --cutout out."
        )
    (image,) = _pictures_of(read_source(images)).images
    picture = load_image(image).convert("RGB")
    found = cut_out_all(picture)
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(found, start=1):
        cut, path = with_own_colours(picture, one.mask), folder / f"{number}.png"
        save_image(cut, path, metadata=None, force=force)
        yield path, cut, one.how


def _save_all(
    subjects: list[str],
    folder: Path,
    cutouts: list[str] | None,
    *,
    networks: "LoadOptions",
    force: bool,
) -> None:
    """Write each subject of a picture as a PNG and as an identity."""
    preset, session, number = preset_for(networks), open_session(**networks).session, 0
    for path, cut, _ in _each_subject(subjects, folder, cutouts, force=force):
        identity = session.encode_identity(cut.convert("RGB"), masks=cut.getchannel("A"))
        session.save_identity(identity, path.with_suffix(".spid"), force=force)
        number += 1
    say(f"wrote {number} subjects into {folder} (a .png and a .spid each, preset {preset.name})")


def _pictures_of(source: "Source") -> "Pictures":
    """Return the pictures of a subject, also of one of the library."""
    match source:
        case Pictures():
            return source
        case Named(name=name):
            return Pictures((subject_library().picture(name),))
        case _:
            raise ConfigError("An identity file is cut out already. Give a picture instead.")


def _check_rgba(form: CutoutForm | None) -> None:
    if form not in {None, CutoutForm.RGBA}:
        raise ConfigError(f"--all writes cut-outs with transparency. Leave --to {form} out.")


def _check_transparency(out: Path, form: CutoutForm) -> None:
    if form is CutoutForm.RGBA and out.suffix.lower() in OPAQUE:
        raise ConfigError(
            f"'{out}' would be a JPEG, which has no transparency. --to rgba needs it. Write a .png "
            "or .webp."
        )


@app.command(
    epilog=examples("swiftpie library", "swiftpie library kitten", "swiftpie library --scenes")
)
def library(
    *,
    query: Annotated[
        str, options.argument("A word; by default all names are listed.", "[WORD]")
    ] = "",
    scenes: Annotated[
        bool, typer.Option("--scenes", help="List the places that --scene takes by name.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """List the subjects that you can draw by name, or those that a word matches."""
    facts: list[dict[str, Any]]
    if scenes:
        places = scene_library()
        names = [places.find(query)] if query else [*places.names()]
        facts = [
            {"name": name, "pictures": places.count(name), "credits": places.credits_of(name)}
            for name in names
        ]
        count, credit = len(places), places.credit
    else:
        known = subject_library()
        if query:
            known.find(query)  # raises, with similar names
        entries = [known.entry(name) for name in known.matching(query)]
        facts = [{"name": entry.name, "words": entry.words} for entry in entries]
        count, credit = len(known), CREDIT
    if as_json:
        print_json(facts)
    elif query and not scenes:
        rows = [(entry["name"], ", ".join(entry["words"])) for entry in facts]
        write_table(rows, headings=("name", "also called, or tagged as"))
    else:
        print_text("".join(f"{entry['name']}\n" for entry in facts))
    say(f"{len(facts)} of {count}. {credit}.")


@app.command(
    epilog=examples(
        "swiftpie tune dog.jpg -o dog.spid",
        "swiftpie tune front.jpg side.jpg back.jpg -o robot.spid",
        "swiftpie tune dog.spid -o finer.spid --steps 200",
        "swiftpie tune dog.jpg -o dog.spid --recipe sdxl-turbo",
    )
)
@options.with_fields
def tune(
    *,
    subjects: options.Subjects,
    out: IdentityFile,
    cutouts: options.Cutouts = None,
    settings: Annotated[TuneSettings, options.FieldOptions(TuneSettings)],
    networks: options.Networks,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Train a subject for about a minute, where the encoder alone loses its details.

    Models that draw in one step can: mini, and published ones with an identity adapter, such as
    sd-turbo, sdxl-turbo, sdxl-lightning-1 and hyper-sdxl-1. A minute is meant for a card; on
    a processor these take long, and a bar shows the time left. Ctrl-C keeps the best so far.

    The file is an identity like any other. Of three or more pictures the last one is only used to
    judge. With mini the gain is hardly seen: its pictures show the subject's own pixels anyway.
    """
    from swiftpie.batch.run import stopping
    from swiftpie.pipelines.tuning import NUM_CHECKS, seconds_of

    check_target(out, force=force)
    (source,) = with_cutouts([read_source(subjects)], cutouts)
    preset = preset_for(networks)
    session = open_session(**networks).session
    identity, events = session.identity_of(source), list["TuneEvent"]()
    limit = seconds_of(session.components, settings)
    say(
        f"tuning draws {settings.num_scenes + NUM_CHECKS} scenes and takes up to {settings.steps} "
        f"steps{f', at most {limit} s in all' if isfinite(limit) else ''}; Ctrl-C keeps the best "
        "so far"
    )
    with (
        bar(settings.steps) as update,
        stopping(lambda: update(description="ends after this step")) as stop,
    ):

        def on_event(event: "TuneEvent") -> bool:
            events[:] = [event]
            left = f", about {event.seconds_left:.0f} s left"
            update(completed=event.step, description=f"subject {event.psnr:.1f} dB{left}")
            if stop.is_set() and event.step == 0:  # nothing is tuned yet
                raise KeyboardInterrupt
            return stop.is_set()

        tuned = session.tune(identity, settings, on_event=on_event)
    session.save_identity(tuned, out, force=force)
    last, size_kib = events[-1], out.stat().st_size / 1024
    gain, what = last.best_psnr - last.first_psnr, f"{size_kib:.0f} KiB, preset {preset.name}"
    found = (
        f"tuned in {tuned.tuned}: the subject is {gain:.1f} dB nearer to its pictures, at "
        f"{last.best_psnr:.1f} dB"
    )
    if session.components.family.shows_own_pixels:
        found += ", which is hardly seen, as pictures show its own pixels without tuning too"
    say(f"wrote {out} ({what}; {found if gain else 'no step helped, so it is as encoded'})")
    if as_json:
        facts = {"path": str(out), "tuned": tuned.tuned, "size_kib": round(size_kib, 1)}
        figures = {"steps": last.step, "first_psnr": last.first_psnr, "psnr": last.best_psnr}
        print_json(facts | figures)
