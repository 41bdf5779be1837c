"""What the library takes from papers: one case an idea, and their table in the documentation."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import pytest
import torch
from PIL import Image

from swiftpie import AnimateRequest, EditRequest, EditSettings, IdentityGuidance, MaskSource, Scales
from swiftpie.attention.condition import Block
from swiftpie.attention.manipulate import Shaping, fixed_soft_mask
from swiftpie.backbones.components import FAMILIES
from swiftpie.imageio.credentials import credentials_in
from swiftpie.imageio.writing import XMP, read_metadata
from swiftpie.pipelines.identity_file import identity_bytes, load_identity, save_identity
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.settings import TuneSettings
from swiftpie.pipelines.tasks import RepaintRequest
from swiftpie_lab.evaluation.benchmarks import BENCHMARKS
from tests.backbones.test_releases import files_below, packed, planned, release, root
from tests.backbones.tiny_models import make_model
from tests.engine.test_verify import ALL_EQUAL, drawn_by_diffusers, opened, verdicts
from tests.fixtures.mock_hub import clean_machine, serving
from tests.fixtures.signer import make_signer
from tests.golden.cases import BOX, SIDE_PX, photo
from tests.golden.networks import mini, moving_networks, random_networks, reading_networks
from tests.parity.tiny import picture
from tests.policy.project import ROOT

PROMPT, SOURCE = "a dinosaur in a forest", "a dinosaur on a beach"


def drawn(session, **request):
    subject = Subject(session.encode_identity(picture(0)), box=(0.1, 0.3, 0.6, 1.0))
    request = {"subjects": (subject,), "prompt": PROMPT, "seeds": (3,)} | request
    return session.draw(PersonalizeRequest(**request)).images[0].tobytes()


def changes(networks, **request):
    """Whether an option of a drawing changes its pixels."""
    session = networks()
    return drawn(session) != drawn(session, **request)


def each_branch_acts():
    session = mini()
    alone = [
        drawn(session, scales=Scales(**{off: 0})) for off in ("identity_scale", "detail_scale")
    ]
    none = drawn(session, scales=Scales(identity_scale=0, detail_scale=0))
    return len({*alone, none, drawn(session)}) == 4


def edits(networks, **request):
    session, settings = networks(), request.pop("settings", {})
    given = {"image": photo(), "prompt": PROMPT, "source_prompt": SOURCE, "seed": 3}
    request = EditRequest(**given | request, settings=EditSettings(**settings))
    return session.draw(request).image.tobytes() != photo().tobytes()


def changes_a_place(comes=False, **request):
    session = mini()
    who = session.encode_identity(picture(0)) if comes else None
    result = session.draw(RepaintRequest(image=photo(), source=who, seed=3, **request))
    return result.image.tobytes() != photo().tobytes()


def keeps_a_pose():
    session = random_networks("sd15")
    shown = session.encode_identity(picture(0))
    request = RepaintRequest(image=photo(), mask=BOX, seed=3, source=shown, keep_pose=True)
    return session.draw(request).image.tobytes() != photo().tobytes()


def animates():
    session = moving_networks()
    subject = Subject(session.encode_identity(picture(0)))
    request = AnimateRequest(subjects=(subject,), prompt=PROMPT, num_frames=3, seeds=(3,))
    return len(session.draw(request).images) == 3


def is_wide():
    session = random_networks("sd15")
    request = {"size_px": (SIDE_PX, 3 * SIDE_PX), "mask": MaskSource.BOX}
    return len(drawn(session, **request)) == 9 * SIDE_PX**2


def blocks_weigh():
    session = mini()
    one = session.encode_identity(picture(0))
    forms = ({}, {"up": 1.0}, {"down": 0.5, "up": {"block_1": [0.0, 1.0]}})
    return len({drawn(session, subjects=(Subject(one, layers=form),)) for form in forms}) == 3


def shows_several():
    session = mini()
    one, two = (Subject(session.encode_identity(picture(number))) for number in (0, 1))
    return drawn(session, subjects=(one, two)) != drawn(session, subjects=(one,))


def tunes(networks, **settings):
    session = networks()
    one = session.encode_identity(picture(0))
    tuned = session.tune(one, TuneSettings(steps=1, num_scenes=1, **settings))
    return not torch.equal(tuned.tokens, one.tokens)


def has_recipe(module, name):
    return (
        getattr(import_module(f"swiftpie_lab.training.recipes.{module}"), name)().stage is not None
    )


def has_teachers():
    """Whether both are settings of adapter training, and off."""
    stage = import_module("swiftpie_lab.training.recipes.published").adapter().stage
    return (stage.teacher, stage.loss.teacher, stage.dists) == (None, 0, None)


def judges(benchmark, name="", *metrics):
    """Whether a benchmark has its command, and its class `name` all of these figures."""
    module = import_module(f"swiftpie_lab.evaluation.benchmarks.{benchmark}")
    figures = {*getattr(module, name).metrics} if name else set()
    return bool(BENCHMARKS.get(benchmark).examples) and {*metrics} <= figures


def keeps_the_best():
    session = mini()
    one = session.encode_identity(picture(0))
    whole, best = (
        session.personalize(one, PROMPT, seed=3, best_of=4, num_images=n) for n in (4, 1)
    )
    assert session.insert(picture(1), one, seed=3, best_of=2, box=BOX).scores
    worth = [score["place_score"] for score in whole.scores]
    return worth == sorted(worth, reverse=True) and best.seeds == whole.seeds[:1] != (3,)


def keeps_identities(folder):
    session = mini()
    one, place = session.encode_identity(picture(0)), folder / "one.spid"
    save_identity(one, place)
    return torch.equal(load_identity(place, session.components).tokens, one.tokens)


def tells_its_making(folder):
    """Whether a file says that a model made it, and is signed where the extra is installed."""
    session = mini()
    subject = Subject(session.encode_identity(picture(0)))
    drawing = session.draw(PersonalizeRequest(subjects=(subject,), prompt=PROMPT, seeds=(3,)))
    drawing.save(folder / "one.png")
    data = (folder / "one.png").read_bytes()
    is_marked = XMP.encode() in data and read_metadata(data)["prompt"] == PROMPT
    if find_spec("c2pa") is None:
        return is_marked
    drawing.save(folder / "two.png", sign=make_signer(folder / "signer.pem"))
    return is_marked and credentials_in(folder / "two.png").is_intact


def fetches_a_release(folder):
    """Whether a release comes in two pieces, is joined and unpacked, and is then here."""
    with serving({}) as hub, clean_machine(hub, folder):
        release(hub, packed({"unet/config.json": b"{}", "run.sh": b"not kept"}))
        planned().fetch()
        return files_below(root()) == {"unet/config.json": b"{}"} and not planned().parts


def verifies(folder):
    """Whether diffusers draws the same pictures by the same networks."""
    choices = {**make_model(folder, "sd21", adapter="public"), "detail": "joint"}
    theirs = drawn_by_diffusers(opened(choices), choices["adapter"])
    return verdicts(theirs, choices) == ALL_EQUAL


def draws_on_ray(folder):
    pytest.importorskip("ray", reason="needs swiftpie[ray]")
    photo().save(folder / "dog.png")
    rows = [{"subject": "dog.png", "prompt": PROMPT, "size": "64x64", "seed": n} for n in (0, 1)]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = [sys.executable, "-m", "swiftpie", "batch", "jobs.jsonl", "--batch", "1", "--out"]
    for name, more in (("here", ()), ("ray", ("--ray", "local"))):
        # Ray takes a process for itself: clusters of one process have objects of equal ids.
        subprocess.run([*words, name, *more], cwd=folder, check=True, timeout=200)
    here, by_ray = (
        {path.name: path.read_bytes() for path in (folder / name).glob("*.png")}
        for name in ("here", "ray")
    )
    return len(here) == 2 and here == by_ray


async def drawn_from_a_request():
    serve = pytest.importorskip("tests.server.conftest", reason="needs swiftpie[serve]")
    session = mini()
    one = session.encode_identity(picture(0))
    schemas = import_module("swiftpie.server.schemas")
    worker = serve.serving(session).worker
    text = base64.b64encode(identity_bytes(one)).decode()
    subject = {"identity_file": text, "box": [0.1, 0.3, 0.6, 1.0]}
    body = schemas.Drawing(prompt=PROMPT, seed=3, swiftpie={"subjects": [subject]})
    (job,) = await worker.builder.jobs_of(body, caller=serve.CALLER)
    return drawn(session) == session.draw(job.work).images[0].tobytes()


def knows_families(*names):
    return {*names} <= {*FAMILIES.names()}


def reads_by_another():
    own, other = (random_networks("sd21", reads=reads) for reads in (False, True))
    return drawn(own) != drawn(other)


STYLE = Image.new("RGB", (32, 48), "red")


def inserts_in_style():
    session = random_networks("sd15")
    who = session.encode_identity(picture(0))
    request = {"image": photo(), "source": who, "box": BOX, "seed": 3}
    plain, styled = (
        session.draw(RepaintRequest(**request, **style)).image.tobytes()
        for style in ({}, {"style_reference": photo()})
    )
    return plain != styled


class Idea(NamedTuple):
    """A row of the table."""

    idea: str
    paper: str  # arXiv, or where it is from
    command: str
    file: str  # below src/
    shown: str  # on trained weights, on tiny random ones, or by parity in float64
    show: Callable[..., bool]
    marks: tuple[pytest.MarkDecorator, ...] = ()


SD15, MINI = partial(random_networks, "sd15"), mini
GUIDED = partial(random_networks, "sd15", steps=4)
PERSONALIZE, EDIT = "personalize", "edit --method"
IDEAS = (
    Idea(
        "two identity branches",
        "2605.01510",
        PERSONALIZE,
        "swiftpie/attention/processors.py",
        "trained",
        each_branch_acts,
    ),
    Idea(
        "a reference network",
        "2605.01510",
        "personalize --reference",
        "swiftpie/models/denoiser.py",
        "float64",
        reads_by_another,
    ),
    Idea(
        "mask-guided rescaling",
        "2605.01510",
        "personalize --mask box",
        "swiftpie/attention/condition.py",
        "tiny",
        partial(changes, SD15, mask=MaskSource.BOX),
    ),
    Idea(
        "a cap of what subjects add",
        "ours",
        "personalize(scales=Scales(energy_cap=…))",
        "swiftpie/attention/processors.py",
        "tiny",
        partial(changes, SD15, scales=Scales(energy_cap=1.0)),
    ),
    Idea(
        "masks of a first pass",
        "2510.07656",
        "personalize --mask two-pass",
        "swiftpie/pipelines/first_pass.py",
        "tiny",
        partial(changes, SD15, mask=MaskSource.TWO_PASS),
    ),
    Idea(
        "strengths by block",
        "2404.02733",
        "personalize --layers",
        "swiftpie/pipelines/layers.py",
        "trained",
        blocks_weigh,
    ),
    Idea(
        "training of both branches",
        "2605.01510",
        "train adapter",
        "swiftpie_lab/training/stages/adapter/stage.py",
        "tiny",
        partial(has_recipe, "published", "adapter"),
    ),
    Idea(
        "a teacher and DISTS in training",
        "2311.18828, 2004.07728",
        "train adapter --set stage.teacher=DIR",
        "swiftpie_lab/training/stages/adapter/teachers.py",
        "tiny",
        has_teachers,
    ),
    Idea(
        "SwiftEdit",
        "2412.04301",
        f"{EDIT} inversion",
        "swiftpie/mini/inversion.py",
        "trained",
        partial(edits, MINI, settings={"method": "inversion", "accept_smear": True}),
    ),
    Idea(
        "SwiftEdit's soft mask",
        "2412.04301",
        "edit --self-mask soft",
        "swiftpie/pipelines/inversion.py",
        "tiny",
        partial(
            edits,
            partial(random_networks, "sd21", inverts=True),
            settings={"method": "inversion", "self_mask": "soft"},
        ),
    ),
    Idea(
        "SwiftEdit's release",
        "2412.04301",
        "fetch swiftedit",
        "swiftpie/backbones/releases.py",
        "tiny",
        fetches_a_release,
    ),
    Idea(
        "training of inversion",
        "2412.04301",
        "train inversion",
        "swiftpie_lab/training/stages/inversion.py",
        "tiny",
        partial(has_recipe, "published", "inversion"),
    ),
    Idea(
        "one-step students",
        "2408.14176, 2405.14867",
        "train distill-vsd",
        "swiftpie_lab/training/stages/distillation.py",
        "tiny",
        lambda: all(has_recipe("published", f"distill_{kind}") for kind in ("vsd", "dmd2")),
    ),
    Idea(
        "EchoDistill",
        "2510.20512",
        "train echo-distill",
        "swiftpie_lab/training/stages/echo.py",
        "tiny",
        partial(has_recipe, "published", "echo_distill"),
    ),
    Idea(
        "decoupled guidance",
        "2505.21144",
        "personalize --identity-guidance dcg",
        "swiftpie/guidance.py",
        "tiny",
        partial(changes, GUIDED, identity_guidance=IdentityGuidance.DCG),
    ),
    Idea(
        "attention manipulation",
        "2505.21144",
        "personalize --identity-guidance am2",
        "swiftpie/attention/manipulate.py",
        "tiny",
        partial(changes, GUIDED, identity_guidance=IdentityGuidance.AM2),
    ),
    Idea(
        "style of a picture",
        "2312.02133, 2404.02733",
        "personalize --style-reference",
        "swiftpie/attention/condition.py",
        "float64",
        partial(changes, SD15, style_reference=STYLE),
    ),
    Idea(
        "its soft masks as released",
        "2505.21144",
        "personalize(shaping=…)",
        "swiftpie/attention/manipulate.py",
        "tiny",
        partial(
            changes, GUIDED, shaping=Shaping({Block.UP: (fixed_soft_mask(12.5),)}, spans_batch=True)
        ),
    ),
    Idea(
        "ChordEdit",
        "2602.19083",
        f"{EDIT} chord",
        "swiftpie/pipelines/chord.py",
        "tiny",
        partial(edits, partial(random_networks, "sd21"), settings={"method": "chord"}),
    ),
    Idea(
        "style of photographs",
        "2407.00788",
        f"{EDIT} chord --style-reference",
        "swiftpie/pipelines/style.py",
        "tiny",
        partial(edits, SD15, source_prompt=PROMPT, style_reference=STYLE),
    ),
    Idea(
        "style of insertions",
        "2407.02489",
        "insert --style-reference PHOTO",
        "swiftpie/pipelines/style.py",
        "tiny",
        inserts_in_style,
    ),
    Idea(
        "edits by reference",
        "FLUX.2 klein",
        f"{EDIT} reference",
        "swiftpie/pipelines/reference.py",
        "tiny",
        partial(edits, reading_networks, settings={"method": "reference"}),
    ),
    Idea(
        "subjects into photographs",
        "ours",
        "insert",
        "swiftpie/mini/inpainting.py",
        "trained",
        partial(changes_a_place, comes=True),
    ),
    Idea(
        "removal",
        "ours",
        "remove",
        "swiftpie/pipelines/filling.py",
        "trained",
        partial(changes_a_place, mask=BOX),
    ),
    Idea(
        "garments that keep a pose",
        "ours",
        "replace --keep-pose",
        "swiftpie/pipelines/techniques/garment.py",
        "tiny",
        keeps_a_pose,
    ),
    Idea(
        "animation",
        "2307.04725",
        "animate",
        "swiftpie/pipelines/techniques/animate.py",
        "tiny",
        animates,
    ),
    Idea(
        "overlapping windows",
        "2302.08113",
        "personalize --size 512x1536",
        "swiftpie/pipelines/techniques/panorama.py",
        "tiny",
        is_wide,
    ),
    Idea(
        "several subjects",
        "field",
        "personalize --also",
        "swiftpie/mini/placing.py",
        "trained",
        shows_several,
    ),
    Idea(
        "a subject in a minute",
        "field",
        "tune",
        "swiftpie/pipelines/tuning.py",
        "trained",
        partial(tunes, mini),
    ),
    Idea(
        "the same, published models",
        "field",
        "tune --recipe sdxl-turbo",
        "swiftpie/pipelines/tuning.py",
        "tiny",
        partial(tunes, partial(random_networks, "sdxl"), learning_rate=0.1),
    ),
    Idea(
        "published families",
        "field",
        "presets",
        "swiftpie/backbones/families/stable_diffusion.py",
        "tiny",
        partial(knows_families, "sd15", "sd21", "sdxl", "flux2", "tiny"),
    ),
    Idea(
        "provenance",
        "C2PA, IPTC",
        "personalize --sign",
        "swiftpie/imageio/credentials.py",
        "trained",
        tells_its_making,
    ),
    Idea("proof on real weights", "ours", "verify", "swiftpie/engine/verify.py", "tiny", verifies),
    Idea(
        "identity as a file",
        "ours",
        "identity",
        "swiftpie/pipelines/identity_file.py",
        "trained",
        keeps_identities,
    ),
    Idea(
        "identity in a request",
        "ours",
        "serve",
        "swiftpie/server/requests.py",
        "trained",
        lambda: asyncio.run(drawn_from_a_request()),
    ),
    Idea(
        "the best of several",
        "ours",
        "personalize --best-of",
        "swiftpie/pipelines/ranking.py",
        "trained",
        keeps_the_best,
    ),
    Idea(
        "DreamBench and MaSC",
        "2208.12242, 2605.22469",
        "evaluate dreambench",
        "swiftpie_lab/evaluation/benchmarks/dreambench.py",
        "tiny",
        partial(judges, "dreambench"),
    ),
    Idea(
        "PIE-Bench",
        "2310.01506",
        "evaluate pie",
        "swiftpie_lab/evaluation/benchmarks/pie.py",
        "tiny",
        partial(
            judges,
            *("pie", "PieBenchmark", "structure-distance", "clip-whole", "clip-edited"),
            *(f"unedited-{name}" for name in ("psnr", "lpips", "mse", "ssim")),
        ),
    ),
    Idea(
        "figures of rescaling",
        "2605.01510",
        "evaluate rescaling",
        "swiftpie_lab/evaluation/benchmarks/rescaling.py",
        "trained",
        partial(judges, "rescaling", "Rescaling", "subject-psnr", "mask-iou"),
    ),
    Idea(
        "FastFace's protocol",
        "2505.21144",
        "evaluate fastface",
        "swiftpie_lab/evaluation/benchmarks/fastface.py",
        "tiny",
        partial(
            judges,
            *("fastface", "FaceBenchmark", "identity", "clip-large", "clip-small"),
            *("image-reward", "aesthetic", "style"),
        ),
    ),
    Idea(
        "many processes and machines",
        "1712.05889",
        "batch --ray",
        "swiftpie/batch/ray.py",
        "trained",
        draws_on_ray,
        (pytest.mark.thorough, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")),
    ),
)
"""In the order of the table in docs/concepts.md."""

ON_DISK = (keeps_identities, fetches_a_release, tells_its_making, verifies, draws_on_ray)


@pytest.mark.parametrize(
    "idea", [pytest.param(each, id=each.idea, marks=each.marks) for each in IDEAS]
)
def test_it_runs(idea, tmp_path):
    assert idea.show(tmp_path) if idea.show in ON_DISK else idea.show()
    assert (ROOT / "src" / idea.file).is_file()


def test_the_table_of_ideas_is_the_one_of_the_documentation():
    page = (ROOT / "docs" / "concepts.md").read_text()
    assert table() in page, table()


def table():
    rows = [
        f"|{each.idea}|{each.paper}|`{each.command}`|`{each.file}`|{each.shown}|" for each in IDEAS
    ]
    head = "|Idea|Paper|Command of `swiftpie`|File|Weights of its test|\n|---|---|---|---|---|"
    return "\n".join([head, *rows])
