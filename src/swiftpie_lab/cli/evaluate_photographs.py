"""Commands under `swiftpie evaluate` that draw what photographs show, things and people."""

from dataclasses import replace
from pathlib import Path

import typer

from swiftpie.backbones.presets import Use
from swiftpie.cli.console import examples
from swiftpie.cli.drawing.face import (
    GuidanceName,
    Recognisers,
    SidePx,
    open_face_encoders,
    warn_of_strange_vectors,
)
from swiftpie.cli.loading import resolved
from swiftpie.cli.options import AsJson, IdentityScale, with_fields
from swiftpie.faces import CONSENT
from swiftpie.pipelines.drawing.settings import IdentityGuidance, Scales
from swiftpie_lab.cli import evaluate_options as given
from swiftpie_lab.cli import evaluate_output as output
from swiftpie_lab.cli import evaluate_parts as parts
from swiftpie_lab.cli import evaluate_rivals as others

RELEASED_SEED = 50  # of FastFace's released code, which then draws all noise from one generator

app = typer.Typer()


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
