"""`swiftpie face`: a photograph of a person and a sentence to new pictures."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.apps.cli import console
from swiftpie.apps.cli import options as given
from swiftpie.apps.cli.asking import ask
from swiftpie.backbones.choices import Choices, LoadOptions
from swiftpie.backbones.recipe import Use
from swiftpie.engine.origin import check_texts, origin_of
from swiftpie.faces.face import CONSENT, METADATA, FaceSettings
from swiftpie.pipelines.drawing.settings import Scales, Style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from swiftpie.backbones.acquire.download import Needs
    from swiftpie.engine.session import Session
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.faces.face import FaceEncoder, FaceEncoders

NO_JUDGE = (
    "No identity score: it takes a second face encoder, one that the generator did not use, and "
    "only one is here. Give its files with --judge-models."
)
PUBLISHED_WITH = "insightface"
LOADED = (*given.DRAWING, "lora_scale", "face_version")
SCALES = ("identity_scale", "text_scale", "balance")

FaceScales = Annotated[dict[str, float], given.Fields(Scales, SCALES)]
Recognisers = Annotated[
    FaceSettings, given.Fields(FaceSettings, ("encoder", "face_models", "judge", "judge_models"))
]
Photo = Annotated[
    str,
    typer.Argument(
        metavar="FACE",
        help="A photograph that shows the person's face; - reads standard input.",
        show_default=False,
    ),
]
FaceNumber = Annotated[
    int | None,
    typer.Option(
        "--face",
        min=1,
        metavar="N",
        help="Which face, counted from the left; by default the largest or most central.",
    ),
]
StyleName = Annotated[
    Style,
    typer.Option(
        "--style",
        help="How prompt and face share the picture: dcg follows styles, am1 and am2 keep more "
        "of the face.",
    ),
]
SidePx = Annotated[
    int | None,
    typer.Option(
        "--side", min=64, metavar="PX", help="Side of the square pictures; else the preset's."
    ),
]

app = typer.Typer()


@app.command(
    help="Draw the person of a photograph into the scene that PROMPT describes.\n\n"
    "The face is found, turned upright and described by an encoder (for its files see `swiftpie "
    f"licenses face`). {CONSENT}",
    epilog=console.examples(
        'swiftpie face me.jpg "a person reading in a cafe" -o out.png --preset hyper-sdxl-1 '
        "--adapter h94/IP-Adapter-FaceID:ip-adapter-faceid-plusv2_sdxl.bin --allow-pickle "
        "--encoder insightface --judge opencv",
        'swiftpie face me.jpg "an oil painting" -o out.png --recipe face-plus --style dcg',
    ),
)
@given.with_fields
def face(
    *,
    photo: Photo,
    prompt: given.Prompt,
    output: given.Output,
    style: StyleName = Style.PLAIN,
    number: FaceNumber = None,
    recognisers: Recognisers,
    seed: given.Seed = None,
    num_images: given.NumImages = 1,
    scales: FaceScales,
    side: SidePx = None,
    loading: Annotated[LoadOptions, given.Fields(LoadOptions, LOADED)],
) -> None:
    """Draw the person of a photograph into the scene that PROMPT describes."""
    from swiftpie.faces.choose import choose_face, find_faces
    from swiftpie.imageio.files import load_image
    from swiftpie.noise import seeds_from

    first_seed = seeds_from(seed, num_images)[0]
    prompts = given.read_prompts(prompt)
    for words in prompts:
        check_texts(prompt=words)
    targets = console.plan_outputs(output, count=num_images * len(prompts))
    loading, _ = given.settled(loading, use=Use.FACE)
    encoders, agreed = open_face_encoders(recognisers, loading)
    found = find_faces(encoders.encoder, load_image(given.read_picture(photo)))
    chosen = choose_face(found, number=number, name=photo)
    for note in chosen.notes:
        console.say(f"{photo}: {console.in_options(note)}")

    agreed.fetch()
    session = given.open_session(**loading).session
    warn_of_strange_vectors(session, encoders.encoder)
    preset = session.components.preset
    strengths = replace(Scales.of(preset), **scales)
    judge = None if encoders.judge is None else encoders.judge.name
    about = {"style": style.value, "face_encoder": encoders.encoder.name, **METADATA}
    rows, timings = [], Counter[str]()
    for words, own in console.shared_out(prompts, targets):
        result = session.face(
            chosen,
            words,
            style=style,
            seed=first_seed,
            num_images=num_images,
            scales=strengths,
            size_px=None if side is None else (side, side),
        )
        about |= {"branches": ", ".join(result.branches), **result.origin}
        origin = origin_of(preset.name, strengths, prompt=words, **about)
        drawn = zip(result.images, result.subject_masks, result.seeds, own, strict=True)
        console.write_outputs(drawn, metadata=origin, force=output.force)
        scores = _scores(encoders.judge, chosen, result.images)
        for target, one, identity in zip(own, result.seeds, scores, strict=True):
            console.tell_written(target, one, more=_spell(judge, identity))
            found_in = {"path": target.picture, "seed": one, "prompt": words}
            rows.append({**found_in, "identity": identity})
        timings.update(result.timings_ms)
    console.say(CONSENT)
    if output.as_json:
        box = {edge: round(value, 1) for edge, value in chosen.face.box._asdict().items()}
        where = {"number": chosen.number, "of": chosen.num_faces, "turn": chosen.turn}
        console.print_pictures(
            rows,
            timings,
            face={**where, "score": round(chosen.face.score, 4), "box": box},
            judge=judge,
            notes=list(chosen.notes),
            branches=list(result.branches),
            **console.asked_of(
                preset.name, strengths, result.images[0], prompt=prompt, style=style.value
            ),
        )


def open_face_encoders(
    settings: FaceSettings, loading: LoadOptions
) -> "tuple[FaceEncoders, Needs]":
    """Open the encoder and the judge, fetched if they may be, and tell if there is no judge.

    Who is asked about their files is asked about those of all networks at once: also return what is
    needed for these, to fetch when a face was found. It is nothing if nobody had to be asked yet.

    Raises:
        ConfigError: Something is missing, and nobody can be asked.
    """
    from swiftpie.backbones.acquire.download import Needs
    from swiftpie.backbones.acquire.face_files import fetched, plan_faces, with_files
    from swiftpie.faces.face import open_encoders

    offline: Choices = {"offline": loading.get("offline", False)}
    faces, agreed = plan_faces(fetched(settings), offline), Needs()
    if faces.bytes_left:
        agreed = given.needs_of(loading)
        ask(faces + agreed, yes=loading.get("yes", False))
    encoders = open_encoders(with_files(settings, offline))
    if encoders.judge is None:
        console.say(NO_JUDGE)
    return encoders, agreed


def warn_of_strange_vectors(session: "Session", encoder: "FaceEncoder") -> None:
    """Tell that an adapter may have been trained with the vectors of another encoder."""
    from swiftpie.models.vision import FaceIdentityEncoder

    reads_vectors = isinstance(session.components.image_encoder, FaceIdentityEncoder)
    if reads_vectors and encoder.name != PUBLISHED_WITH:
        console.say(
            f"This adapter reads face vectors, and understands only those of the encoder that it "
            f"was trained with: {PUBLISHED_WITH} for the published FaceID files. Those of "
            f"{encoder.name} show it a stranger, unless it was trained with them."
        )


def _scores(
    judge: "FaceEncoder | None", chosen: "ChosenFace", images: "Sequence[Image.Image]"
) -> list[float | None]:
    from swiftpie.faces.choose import likenesses, same_face

    if judge is None:
        return [None] * len(images)
    reference = same_face(judge, chosen)
    if reference is None:
        console.say(f"No identity score: the judge {judge.name!r} sees no face in that place.")
    return likenesses(judge, reference, images)


def _spell(judge: str | None, identity: float | None) -> str:
    if judge is None:
        return ""
    return ", no face to judge" if identity is None else f", identity {identity:.3f} by {judge}"
