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
from inspect import signature

import pytest
import torch
from PIL import Image

from swiftpie import (
    AnimateRequest,
    ConfigError,
    EditRequest,
    EditSettings,
    IdentityGuidance,
    MaskSource,
    Scales,
    load,
)
from swiftpie.attention.condition import Block
from swiftpie.attention.manipulate import Shaping, fixed_soft_mask
from swiftpie.backbones.components import FAMILIES, load_components
from swiftpie.engine.session import Session
from swiftpie.imageio.credentials import credentials_in
from swiftpie.imageio.writing import mark_of, read_metadata
from swiftpie.pipelines.identity_file import identity_bytes, load_identity, save_identity
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.settings import GUIDANCES, TuneSettings
from swiftpie.pipelines.tasks import RetouchRequest
from tests.backbones.conftest import SDXS
from tests.backbones.load.test_ip_adapter import KINDS
from tests.backbones.test_releases import files_below, packed, planned, release, root
from tests.contracts import learning
from tests.engine.test_verify import verified
from tests.fixtures.mock_hub import clean_machine, serving
from tests.fixtures.signer import make_signer
from tests.golden.cases import BOX, SIDE_PX, photo
from tests.golden.networks import mini, moving_networks, random_networks, reading_networks
from tests.parity.ip_adapter import compare
from tests.parity.tiny import picture
from tests.pipelines.test_offered_guidance import offer
from tests.policy.project import ROOT
from tests.policy.test_docs import rows_of
from tests.tiny.folders import make_model, make_pipeline

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
    result = session.draw(RetouchRequest(image=photo(), source=who, seed=3, **request))
    return result.image.tobytes() != photo().tobytes()


def keeps_a_pose():
    session = random_networks("sd15")
    shown = session.encode_identity(picture(0))
    request = RetouchRequest(image=photo(), mask=BOX, seed=3, source=shown, keep_pose=True)
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


def keeps_the_best():
    session = mini()
    one = session.encode_identity(picture(0))
    whole, best = (
        session.personalize(one, PROMPT, seed=5, best_of=4, num_images=n) for n in (4, 1)
    )
    assert session.insert(picture(1), one, seed=3, best_of=2, box=BOX).scores
    worth = [score["place_score"] for score in whole.scores]
    return worth == sorted(worth, reverse=True) and best.seeds == whole.seeds[:1] != (5,)


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
    record = read_metadata(data)
    is_marked = mark_of(record).encode() in data and record["prompt"] == PROMPT
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
    """Whether diffusers, which loads the same files itself, draws the same pictures."""
    return verified(make_model(folder, "sd21", adapter="public")).is_equal is True


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


def draws_by_families(folder):
    """Whether networks of every family draw, and all of them differently."""
    make_pipeline(folder / "pipeline", "sdxs")
    small = Session(load_components(SDXS, weights=folder / "pipeline"))
    others = (random_networks(name) for name in ("sd15", "sd21", "sdxl"))
    sessions = [mini(), reading_networks(), small, *others]
    families = {session.components.preset.family for session in sessions}
    return families == {*FAMILIES.names()} and len({*map(drawn, sessions)}) == len(sessions)


def reads_public_adapters():
    """Whether a file of each projector gives what diffusers' own loader makes of it."""
    return all(
        largest <= bound for name in KINDS for _, largest, bound in compare(name, is_shallow=True)
    )


def guides_as_others_offer(folder):
    """Whether a guidance of another distribution is known by its name and steers a picture."""
    offer(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return "house" in GUIDANCES.names() and changes(GUIDED, **GUIDANCES.get("house")(4))


def loads_commercial_alone():
    """Whether a licence against sale is refused before anything is fetched."""
    with pytest.raises(ConfigError, match="commercial use is forbidden or has conditions"):
        load("sdxl-turbo", commercial_only=True)
    return load("mini", size_px=128, commercial_only=True).components.preset.is_commercial


def reads_by_another():
    own, other = (random_networks("sd21", reads=reads) for reads in (False, True))
    return drawn(own) != drawn(other)


STYLE = Image.new("RGB", (32, 48), "red")


def inserts_in_style():
    session = random_networks("sd15")
    who = session.encode_identity(picture(0))
    request = {"image": photo(), "source": who, "box": BOX, "seed": 3}
    plain, styled = (
        session.draw(RetouchRequest(**request, **style)).image.tobytes()
        for style in ({}, {"style_reference": photo()})
    )
    return plain != styled


SD15, MINI = partial(random_networks, "sd15"), mini
GUIDED = partial(random_networks, "sd15", steps=4)
IDEAS: dict[str, Callable[..., bool]] = {  # as the table of the documentation has them
    "two identity branches": each_branch_acts,
    "a reference network": reads_by_another,
    "mask-guided rescaling": partial(changes, SD15, mask=MaskSource.BOX),
    "a cap of what subjects add": partial(changes, SD15, scales=Scales(energy_cap=1.0)),
    "masks of a first pass": partial(changes, SD15, mask=MaskSource.TWO_PASS),
    "strengths by block": blocks_weigh,
    "training of both branches": learning.trains_both_branches,
    "a teacher and DISTS in training": learning.learns_of_a_teacher_and_dists,
    "SwiftEdit": partial(edits, MINI, settings={"method": "inversion", "accept_smear": True}),
    "SwiftEdit's soft mask": partial(
        edits,
        partial(random_networks, "sd21", inverts=True),
        settings={"method": "inversion", "self_mask": "soft"},
    ),
    "SwiftEdit's release": fetches_a_release,
    "training of inversion": learning.trains_inversion,
    "the same, for mini": learning.trains_inversion_of_mini,
    "one-step students": learning.students_reach_all_modes,
    "EchoDistill": learning.echoes,
    "decoupled guidance": partial(changes, GUIDED, identity_guidance=IdentityGuidance.DCG),
    "a guidance of others": guides_as_others_offer,
    "attention manipulation": partial(changes, GUIDED, identity_guidance=IdentityGuidance.AM2),
    "style of a picture": partial(changes, SD15, style_reference=STYLE),
    "its soft masks as released": partial(
        changes, GUIDED, shaping=Shaping({Block.UP: (fixed_soft_mask(12.5),)}, spans_batch=True)
    ),
    "ChordEdit": partial(edits, partial(random_networks, "sd21"), settings={"method": "chord"}),
    "style of photographs": partial(edits, SD15, source_prompt=PROMPT, style_reference=STYLE),
    "style of insertions": inserts_in_style,
    "edits by reference": partial(edits, reading_networks, settings={"method": "reference"}),
    "removal": partial(changes_a_place, mask=BOX),
    "subjects into photographs": partial(changes_a_place, comes=True, box=BOX),
    "garments that keep a pose": keeps_a_pose,
    "animation": animates,
    "overlapping windows": is_wide,
    "several subjects": shows_several,
    "a subject in a minute": partial(tunes, mini),
    "the same, published models": partial(
        tunes, partial(random_networks, "sdxl"), learning_rate=0.1
    ),
    "published families": draws_by_families,
    "adapters of every layout": reads_public_adapters,
    "commercial use alone": loads_commercial_alone,
    "provenance": tells_its_making,
    "proof on real weights": verifies,
    "identity as a file": keeps_identities,
    "identity in a request": lambda: asyncio.run(drawn_from_a_request()),
    "the best of several": keeps_the_best,
    "DreamBench and MaSC": learning.ranks_likeness,
    "PIE-Bench": learning.ranks_edits,
    "figures of rescaling": learning.ranks_rescaling,
    "FastFace's protocol": learning.ranks_faces,
    "leakage": learning.ranks_leakage,
    "many processes and machines": draws_on_ray,
}
MARKS = {
    "many processes and machines": (
        pytest.mark.thorough,
        pytest.mark.timeout(300),
        pytest.mark.filterwarnings("ignore"),
    )
}


@pytest.mark.parametrize("idea", [pytest.param(idea, marks=MARKS.get(idea, ())) for idea in IDEAS])
def test_it_runs(idea, tmp_path):
    show = IDEAS[idea]
    assert show(folder=tmp_path) if "folder" in signature(show).parameters else show()


def test_the_table_of_the_documentation_has_these_ideas_and_files_that_exist():
    _, _, *rows = rows_of(ROOT / "docs" / "concepts.md", "## Ideas and papers")
    assert [idea for idea, *_ in rows] == [*IDEAS]
    for idea, paper, command, file, shown in rows:
        assert "" not in {paper, command}, idea
        assert (ROOT / "src" / file).is_file(), idea
        assert shown in {"trained", "tiny", "float64"}, idea
