"""Commands under `swiftpie evaluate` that draw what photographs show, things and people."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from swiftpie.apps.cli.console import examples, print_text, say
from swiftpie.apps.cli.drawing.face import (
    GuidanceName,
    Recognisers,
    SidePx,
    open_face_encoders,
    warn_of_strange_vectors,
)
from swiftpie.apps.cli.loading import resolved
from swiftpie.apps.cli.options import (
    AsJson,
    DataPath,
    Force,
    IdentityScale,
    PictureOut,
    with_fields,
)
from swiftpie.backbones.recipes import Use
from swiftpie.faces import CONSENT
from swiftpie.pipelines.drawing.settings import IdentityGuidance, Scales
from swiftpie_lab.cli import evaluate_options as given
from swiftpie_lab.cli import evaluate_output as output
from swiftpie_lab.cli import evaluate_parts as parts
from swiftpie_lab.cli import evaluate_rivals as others

if TYPE_CHECKING:
    from swiftpie_lab.evaluation.portraits import Portraitist

NUM_PLACES = 4  # of photographs, by default
RELEASED_SEED = 50  # of FastFace's released code, which then draws all noise from one generator

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate photos my-photos -o sheet.png",
        "swiftpie evaluate photos my-photos -o sheet.png --places beach,desert --noun thing --json",
        "swiftpie evaluate photos my-photos -o sheet.png --recipe sdxl-turbo",
    )
)
@with_fields
def photos(
    *,
    context: typer.Context,
    folder: given.Photos,
    out: PictureOut,
    places: given.PlaceNames = None,
    limit: given.Limit = 22,
    noun: given.Noun = "",
    rivals: given.Rivals,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    seed: given.Seed = 0,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw subjects of real photographs, and compare what is kept of them with sprites.

    The sheet shows each reference, its cut-out and the pictures. The figure is the similarity of
    subject and reference as the judge of sprites sees it, beside that of as many held-out sprites
    in the same places: the dozen inside the package, or those of --data.
    """
    from swiftpie.imageio.writing import check_image_target
    from swiftpie_lab.data.subjects import load_subjects, sample_subjects
    from swiftpie_lab.evaluation.benchmarks import photos as kept
    from swiftpie_lab.evaluation.benchmarks.sprites import SpritesInPlaces, check_places
    from swiftpie_lab.evaluation.contest import Ability
    from swiftpie_lab.evaluation.judges import shipped_embedder
    from swiftpie_lab.evaluation.page import labelled_sheet
    from swiftpie_lab.evaluation.portraits import OtherPortraitist, SessionPortraitist

    check_image_target(out, force=force)
    subjects = kept.find_subjects(folder, limit=limit)
    pack = sample_subjects() if data is None else load_subjects(data)
    placed = SpritesInPlaces(pack, seed=seed)
    names = placed.places(NUM_PLACES)
    if places is not None:
        names = check_places([name.strip() for name in places.split(",")])
    count, embedder = min(len(subjects), len(placed.codes)), shipped_embedder()
    portraitist: Portraitist
    if others.others_draw(rivals):
        files = kept.finished_names(subjects, placed, count, names)
        painter = others.open_painter(rivals, loading, names=files, needs=(Ability.DRAW,))
        portraitist = OtherPortraitist(painter)
    else:
        portraitist = SessionPortraitist(parts.open_model(loading))
    maker = portraitist.maker
    drawn = kept.draw_photos(
        portraitist, embedder, subjects, places=names, seed=seed, noun=noun.strip()
    )
    everyone = list(output.watched(drawn, "photographs", total=len(subjects)))
    sprites = kept.draw_sprites(portraitist, embedder, placed, num_subjects=count, places=names)
    beside = list(output.watched(sprites, "sprites", total=count))
    report = kept.summarise(
        maker,
        everyone,
        beside,
        places=names,
        seed=seed,
        data=kept.fingerprint_of(subjects, placed),
        command=output.typed_command(context),
    )
    portraits = [one for one in everyone if isinstance(one, kept.Portrait)]
    sheet = labelled_sheet(
        [[one.reference, one.cutout, *one.pictures] for one in portraits],
        columns=["reference", "cut-out", *names],
        captions=[[one.name] for one in portraits],
        cell_px=output.CELL_PX,
    )
    output.save_sheet(sheet, out, preset=maker.name, seed=seed, force=force)
    for left_out in report.left_out:
        say(f"left out {left_out.name}: {left_out.reason}")
    for doubt in report.doubtful:
        say(f"doubtful cut-out: {doubt.name} (confidence {doubt.confidence:.2f})")
    if as_json:
        print_text(report.to_json())
    else:
        output.tell([*kept.describe(report.likeness), kept.WHAT_IT_SAYS], {})
    say(f"the picture is {out}")


@app.command(
    epilog=examples(
        "swiftpie evaluate dreambench dreambooth/dataset",
        "swiftpie evaluate dreambench dreambooth/dataset --recipe ip-adapter-plus_sd15 "
        "--dino-small dino-vits16 --clip-small clip-vit-base-patch32",
        "swiftpie evaluate dreambench dreambooth/dataset --results other-method --out out/other",
        "swiftpie evaluate dreambench dreambooth/dataset --pipeline stable-diffusion-v1-5 "
        "--adapter ip-adapter-plus_sd15.safetensors --image-encoder image_encoder --out out/rival",
        "swiftpie evaluate dreambench photos --subjects 4 --prompts 5 --seeds 1 --json",
        "swiftpie evaluate dreambench dreambooth/dataset --boxes boxes.json",
        "swiftpie evaluate dreambench dreambench_plus/data --set dreambench++ "
        "--siglip2 siglip2-so400m-patch16-naflex",
    )
)
@with_fields
def dreambench(
    *,
    context: typer.Context,
    dataset: given.DreamFolder,
    which: given.DreamSetName = "dreambench",
    boxes: given.SubjectBoxes = None,
    subjects: given.FirstSubjects = None,
    prompts: given.NumPrompts = None,
    seeds: given.NumSeeds = 4,
    all_references: given.UsesAll = False,
    files: given.DreamNetworks,
    rivals: given.Rivals,
    loading: given.LoadedInSteps,
    seed: given.FirstSeed = 0,
    out: given.Out = Path("out/evaluate-dreambench"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Draw photographed subjects by the prompts of DreamBench; bring the dataset yourself.

    DINO, CLIP-I and CLIP-T are computed as DreamBooth defines them and as later papers do, of whole
    pictures and of subjects cut out on white, and MaSC with masks. They take weights that you give,
    and are otherwise reported as not computed. The package's own judge of sprites compares colours
    and shapes without any. An interrupted run goes on where it stopped.
    """
    from swiftpie_lab.evaluation.benchmarks import dreambench as dreams
    from swiftpie_lab.evaluation.judges import SubjectJudge, shipped_embedder

    benchmark = dreams.read_dreambench(
        dataset,
        which,
        limit=subjects,
        num_prompts=prompts,
        num_seeds=seeds,
        seed=seed,
        boxes=boxes,
        uses_all=all_references,
    )
    networks = replace(parts.open_networks(files), subjects=SubjectJudge(shipped_embedder()))
    dealt = benchmark.cases()
    drawer = others.drawer_of(
        benchmark,
        dealt,
        rivals,
        loading,
        lambda: dreams.DreamDrawer(benchmark, parts.open_model(loading)),
    )
    output.carry_out(
        benchmark, dealt, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )


@app.command(
    help="Draw every person of a folder by every prompt of a file, and judge each aspect apart.\n\n"
    "Identity, prompt, style, image quality and face ratio are figures of their own, and pictures "
    "without a face are counted. Figures whose networks you do not give are reported as not "
    f"computed. An interrupted run goes on where it stopped. {CONSENT}",
    epilog=examples(
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--recipe face-plus --clip clip-vit-l14",
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--preset hyper-sdxl-4 --adapter ip-adapter-faceid-plusv2_sdxl.bin --allow-pickle "
        "--encoder insightface --judge opencv --judge-models face-models "
        "--identity-guidance dcg+am2 --out out/dcg-am2 --json",
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--preset sdxl-lightning-4 --weights models/sdxl_lightning_4step_unet.safetensors "
        "--base models/sdxl-base-1.0 --image-encoder models/image_encoder "
        "--adapter models/ip-adapter-plus-face_sdxl_vit-h.safetensors "
        "--face-models models/faces --offline",
    ),
)
@with_fields
def fastface(
    *,
    context: typer.Context,
    identities: given.Identities,
    prompts: given.Prompts,
    identity_guidance: GuidanceName = IdentityGuidance.PLAIN,
    identity_scale: IdentityScale = None,
    side: SidePx = None,
    recognisers: Recognisers,
    files: given.FaceNetworks,
    rivals: given.Rivals,
    seed: given.FirstSeed = RELEASED_SEED,
    loading: given.LoadedForFaces,
    out: given.Out = Path("out/evaluate-fastface"),
    as_json: AsJson = False,
    force: given.Anew = False,
) -> None:
    """Draw every person of a folder by every prompt of a file, and judge each aspect apart."""
    from swiftpie_lab.evaluation.benchmarks import fastface as faces

    others.check_drawn_by_others(
        rivals, identity_guidance=identity_guidance, identity_scale=identity_scale, side=side
    )
    if not others.others_draw(rivals):
        loading, _ = resolved(loading, use=Use.FACE)
    networks = parts.open_networks(files, allow_pickle=loading.get("allow_pickle", False))
    (encoder, judge), agreed = open_face_encoders(recognisers, loading)
    benchmark = faces.read_faces(identities, prompts, seed=seed, encoder=encoder, judge=judge)
    cases = benchmark.cases()
    agreed.fetch()

    def own() -> faces.FaceDrawer:
        session = parts.open_model(loading)
        warn_of_strange_vectors(session, encoder)
        scales = Scales.of(session.components.preset)
        if identity_scale is not None:
            scales = replace(scales, identity_scale=identity_scale)
        return faces.FaceDrawer(session, benchmark, identity_guidance, scales, side)

    drawer = others.drawer_of(benchmark, cases, rivals, loading, own)
    networks = replace(networks, face_judge=judge)
    output.carry_out(
        benchmark, cases, drawer, networks, context=context, out=out, as_json=as_json, force=force
    )
