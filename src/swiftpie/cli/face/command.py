"""The command `swiftpie face`, as Typer reads it."""

import secrets
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.face.drawing import Drawing, identity_of
from swiftpie.cli.face.options import (
    EncoderName,
    Eyes,
    FaceModels,
    FaceNumber,
    JudgeModels,
    JudgeName,
    LoraScale,
    PlusVersion,
    choose,
    open_eyes,
    warn_of_strange_vectors,
    with_face_adapter,
)
from swiftpie.cli.options import (
    Adapter,
    AllowPickle,
    AsJson,
    Base,
    Device,
    Dtype,
    Engine,
    Force,
    ImageEncoder,
    Offline,
    Out,
    PresetName,
    Steps,
    Weights,
    choices_of,
    open_session,
    read_picture,
)
from swiftpie.cli.outputs import (
    MAX_STORED_PROMPT,
    Output,
    check_outputs,
    plan_outputs,
    write_outputs,
)
from swiftpie.cli.personalize import (
    RANDOM_SEEDS,
    Balance,
    IdentityScale,
    NumImages,
    Prompt,
    Seed,
    TextScale,
)
from swiftpie.faces.consent import CONSENT, METADATA
from swiftpie.guidance.style import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swiftpie.engine.session import Session
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.faces.face import FaceEncoder
    from swiftpie.pipelines.request import Scales
    from swiftpie.types import GenerationResult

Photo = Annotated[
    str,
    typer.Argument(
        metavar="FACE",
        help="A photograph that shows the person's face; - reads standard input.",
        show_default=False,
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
        "--side",
        min=64,
        metavar="PX",
        show_default=False,
        help="Side of the square pictures; else the preset's.",
    ),
]

app = typer.Typer()


class Job(NamedTuple):
    """What to draw and where it goes."""

    prompt: str
    seed: int | None  # None draws one
    outputs: list[Output]
    force: bool


class Scores(NamedTuple):
    """What the judge said."""

    judge: str | None  # None where there is none
    identity: "list[float | None]"  # cosine for each picture, None without a face


@app.command(
    help="Draw the person of a photograph into the scene that PROMPT describes.\n\n"
    "The face is found, turned upright and described by an encoder whose files you bring (see "
    f"`swiftpie licenses face`). {CONSENT}",
    epilog=examples(
        'swiftpie face me.jpg "a person reading in a cafe" -o out.png --preset hyper-sdxl-1 '
        "--adapter ip-adapter-faceid-plusv2_sdxl.bin --allow-pickle --encoder insightface "
        "--image-encoder models/image_encoder --judge opencv --judge-models face-models",
        'swiftpie face me.jpg "an oil painting" -o out.png --preset sdxl-lightning-4 --style dcg '
        "--adapter ip-adapter-plus-face_sdxl_vit-h.safetensors --face-models face-models "
        "--image-encoder models/image_encoder",
    ),
)
def face(
    *,
    photo: Photo,
    prompt: Prompt,
    out: Out,
    preset: PresetName,
    adapter: Adapter = None,
    style: StyleName = Style.PLAIN,
    number: FaceNumber = None,
    encoder: EncoderName = "opencv",
    face_models: FaceModels = None,
    judge: JudgeName = None,
    judge_models: JudgeModels = None,
    seed: Seed = None,
    num_images: NumImages = 1,
    identity_scale: IdentityScale = None,
    text_scale: TextScale = 1.0,
    balance: Balance = 0.0,
    side: SidePx = None,
    steps: Steps = None,
    weights: Weights = None,
    base: Base = None,
    image_encoder: ImageEncoder = None,
    lora_scale: LoraScale = None,
    face_version: PlusVersion = None,
    dtype: Dtype = None,
    allow_pickle: AllowPickle = False,
    offline: Offline = False,
    device: Device = "cpu",
    engine: Engine = "",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw the person of a photograph into the scene that PROMPT describes."""
    job = Job(prompt, seed, _outputs(out, num_images, as_json=as_json, force=force), force=force)
    eyes = open_eyes(encoder, face_models, judge, judge_models)
    chosen = _find(eyes, photo, number)
    choices = choices_of(
        base=base,
        adapter=adapter,
        image_encoder=image_encoder,
        dtype=dtype,
        allow_pickle=allow_pickle,
        offline=offline,
    )
    choices = with_face_adapter(choices, lora_scale=lora_scale, version=face_version)
    made = open_session(preset, choices, device=device, weights=weights, steps=steps, engine=engine)
    scales = strength_of(made.session, identity_scale, text=text_scale, balance=balance)
    result = carry_out(Drawing(made.session, scales, style, side), eyes, chosen, job)
    _tell(result, job.outputs, chosen, score(eyes.judge, chosen, result), as_json=as_json)


def carry_out(drawing: Drawing, eyes: Eyes, chosen: "ChosenFace", job: Job) -> "GenerationResult":
    """Draw the pictures of `job` and write every file of it."""
    warn_of_strange_vectors(drawing.session, eyes.encoder)
    seed = secrets.randbelow(RANDOM_SEEDS) if job.seed is None else job.seed
    identity = identity_of(drawing.session, chosen)
    result = drawing.draw(identity, job.prompt, seed=seed, num_images=len(job.outputs))
    facts = _metadata(job.prompt, drawing, encoder=eyes.encoder.name)
    write_outputs(result, job.outputs, metadata=facts, force=job.force)
    return result


def strength_of(
    session: "Session", identity: float | None, *, text: float = 1.0, balance: float = 0.0
) -> "Scales":
    """Return the scales, the preset's own identity scale where none is given."""
    from dataclasses import replace

    from swiftpie.pipelines.request import Scales

    own = Scales.of(session.components.preset)
    chosen = own.identity_scale if identity is None else identity
    return replace(own, identity_scale=chosen, text_scale=text, balance=balance)


def score(judge: "FaceEncoder | None", chosen: "ChosenFace", result: "GenerationResult") -> Scores:
    """Return how alike each picture and the photograph are to the judge."""
    from swiftpie.faces.likeness import likeness, see_again, shown_face

    if judge is None:
        return Scores(None, [None] * len(result.images))
    reference = see_again(judge, chosen)
    if reference is None:
        say(f"No identity score: the judge {judge.name!r} sees no face in that place.")
    shown = [shown_face(judge, image) for image in result.images]
    return Scores(judge.name, [likeness(reference, one) for one in shown])


def _outputs(out: str, count: int, *, as_json: bool, force: bool) -> list[Output]:
    outputs = plan_outputs(out, None, count=count, as_json=as_json)
    check_outputs(outputs, force=force)
    return outputs


def _find(eyes: Eyes, photo: str, number: int | None) -> "ChosenFace":
    from swiftpie.files import load_image

    return choose(eyes.encoder, load_image(read_picture(photo)), number, name=photo)


def _metadata(prompt: str, drawing: Drawing, *, encoder: str) -> dict[str, str]:
    scales = {name: str(value) for name, value in vars(drawing.scales).items()}
    return {
        "prompt": prompt[:MAX_STORED_PROMPT],
        "preset": drawing.session.components.preset.name,
        "style": drawing.style.value,
        "face_encoder": encoder,
        "swiftpie": __version__,
        **METADATA,
        **scales,
    }


def _tell(
    result: "GenerationResult",
    outputs: "Sequence[Output]",
    chosen: "ChosenFace",
    scores: Scores,
    *,
    as_json: bool,
) -> None:
    rows = list(zip(outputs, result.seeds, scores.identity, strict=True))
    for output, seed, identity in rows:
        where = output.picture or "the picture to standard output"
        say(f"wrote {where} (seed {seed}{_spell(scores.judge, identity)})")
    say(CONSENT)
    if as_json:
        box = {edge: round(value, 1) for edge, value in chosen.face.box._asdict().items()}
        face = {"number": chosen.number, "of": chosen.num_faces, "turn": chosen.turn}
        print_json(
            {
                "face": {**face, "score": round(chosen.face.score, 4), "box": box},
                "judge": scores.judge,
                "pictures": [
                    {"path": str(output.picture), "seed": seed, "identity": identity}
                    for output, seed, identity in rows
                ],
                "notes": list(chosen.notes),
                "timings_ms": {stage: round(ms, 2) for stage, ms in result.timings_ms.items()},
            }
        )


def _spell(judge: str | None, identity: float | None) -> str:
    if judge is None:
        return ""
    return ", no face to judge" if identity is None else f", identity {identity:.3f} by {judge}"
