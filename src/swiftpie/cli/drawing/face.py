"""`swiftpie face`: draw the person of a photograph into new scenes."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftpie.backbones.choices import Choices, LoadOptions
from swiftpie.backbones.presets import RECIPES, Recipe, Use
from swiftpie.batch.lists import read_prompts
from swiftpie.cli import console, options
from swiftpie.cli.drawing.subjects import read_picture
from swiftpie.cli.drawing.writing import Drawing, draw_files, plan_targets, shared_out
from swiftpie.cli.loading import confirm_download, open_session, plan_downloads, preset_for
from swiftpie.engine.origin import check_texts
from swiftpie.faces import CONSENT, FaceSettings, FaceSource
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import IdentityGuidance, Scales

if TYPE_CHECKING:
    from swiftpie.backbones.downloads import DownloadPlan
    from swiftpie.engine.session import Session
    from swiftpie.faces import FaceEncoder
    from swiftpie.faces.choose import ChosenFace

PUBLISHED_WITH = "insightface"
LOADED = options.DRAWING
SCALES = ("identity_scale", "text_scale", "balance")

FaceScales = Annotated[dict[str, float], options.FieldOptions(Scales, SCALES)]
Recogniser = Annotated[FaceSettings, options.FieldOptions(FaceSettings, ("encoder", "face_models"))]
Photo = Annotated[
    str,
    options.argument("A photograph that shows the person's face; - reads standard input.", "FACE"),
]
Request = Annotated[
    dict[str, Any], options.FieldOptions(PersonalizeRequest, ("identity_guidance",))
]
GuidanceName = Annotated[
    IdentityGuidance, options.option_of(PersonalizeRequest, "identity_guidance")
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
    "The face is found, turned upright and described by an encoder (its files and licences: "
    f"`swiftpie licenses opencv`). {CONSENT}",
    epilog=console.examples(
        'swiftpie face me.jpg "a person reading in a cafe" -o out.png --preset hyper-sdxl-1 '
        "--adapter h94/IP-Adapter-FaceID:ip-adapter-faceid-plusv2_sdxl.bin --allow-pickle "
        "--encoder insightface",
        'swiftpie face me.jpg "an oil painting" -o out.png --recipe face-plus '
        "--identity-guidance dcg",
    ),
)
@options.with_fields
def face(
    *,
    photo: Photo,
    prompt: options.Prompt,
    output: options.Output,
    request: Request,
    source: Annotated[FaceSource, options.FieldOptions(FaceSource, ("face_number",))],
    recogniser: Recogniser,
    sampling: options.Seeds,
    scales: FaceScales,
    side: SidePx = None,
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, LOADED)],
) -> None:
    """Draw the person of a photograph into the scene that PROMPT describes."""
    seeds = sampling.seeds
    prompts = read_prompts(prompt)
    for words in prompts:
        check_texts(prompt=words)
    targets = plan_targets(output, count=len(seeds) * len(prompts))
    preset_for(loading, use=Use.FACE)
    recogniser, agreed = with_face_files(recogniser, loading)
    encoder = recogniser.open()
    chosen = choose_in(encoder, replace(source, face=photo))
    agreed.fetch()
    loaded = open_session(**loading)
    warn_of_strange_vectors(loaded.session, encoder)
    first = PersonalizeRequest(
        subjects=(Subject(loaded.session.encode_face(chosen)),),
        prompt=prompts[0],
        scene=WORDS_ALONE,
        seeds=seeds,
        scales=Scales(**scales),
        size_px=None if side is None else (side, side),
        **request,
    )
    drawings = [
        Drawing(replace(first, prompt=words), own) for words, own in shared_out(prompts, targets)
    ]
    guidance = request.get("identity_guidance", IdentityGuidance.PLAIN).value
    box = {edge: round(value, 1) for edge, value in chosen.face.box._asdict().items()}
    where = {"number": chosen.number, "of": chosen.num_faces, "turn": chosen.turn}
    draw_files(
        loaded,
        drawings,
        output,
        metadata={"identity_guidance": guidance, "face_encoder": encoder.name},
        prompt=prompt,
        identity_guidance=guidance,
        face={**where, "score": round(chosen.face.score, 4), "box": box},
        notes=list(chosen.notes),
    )
    console.say(CONSENT)


def with_face_files(
    settings: FaceSettings, loading: LoadOptions
) -> "tuple[FaceSettings, DownloadPlan]":
    """Return the settings with the recipe's encoder and all files, downloaded if the user agrees.

    One question covers the files of encoders and of the networks. The second value is what the
    networks need, to be downloaded once a face is found; it is empty if there was no question.

    Raises:
        ConfigError: Files are missing and there is no terminal for the question.
    """
    from swiftpie.backbones.downloads import DownloadPlan
    from swiftpie.backbones.sources import fetched, plan_faces, with_files

    settings = replace(settings, encoder=settings.encoder or encoder_of(loading))
    offline: Choices = {"offline": loading.get("offline", False)}
    faces, agreed = plan_faces(fetched(settings), offline), DownloadPlan()
    if faces.bytes_left:
        agreed = plan_downloads(loading)
        confirm_download(faces + agreed, yes=loading.get("yes", False))
    return with_files(settings, offline), agreed


def encoder_of(loading: LoadOptions) -> str | None:
    """Return the face encoder of the chosen recipe; None if there is none."""
    recipe = loading.get("recipe")
    if isinstance(recipe, str):
        recipe = RECIPES.get(recipe)
    return recipe.face_encoder if isinstance(recipe, Recipe) else None


def choose_in(encoder: "FaceEncoder", source: FaceSource) -> "ChosenFace":
    """Return the face of a photograph, and report what there is to know about it."""
    from swiftpie.faces.choose import choose_face, find_faces
    from swiftpie.imageio.decoding import load_image

    found = find_faces(encoder, load_image(read_picture(source.face)))
    chosen = choose_face(found, number=source.face_number, name=source.face)
    for note in chosen.notes:
        console.say(f"{source.face}: {console.in_options(note)}")
    return chosen


def warn_of_strange_vectors(session: "Session", encoder: "FaceEncoder") -> None:
    """Warn that an adapter may have been trained with the vectors of another encoder."""
    from swiftpie.models.vision import FaceIdentityEncoder

    reads_vectors = isinstance(session.components.image_encoder, FaceIdentityEncoder)
    if reads_vectors and encoder.name != PUBLISHED_WITH:
        console.say(
            f"This adapter reads face vectors of the encoder that it was trained with: "
            f"{PUBLISHED_WITH} for the published FaceID files. With vectors of {encoder.name} it "
            "draws another person, unless it was trained with them."
        )
