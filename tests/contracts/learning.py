"""What shows of a stage of training that it learns, and of a benchmark that it ranks pictures."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from swiftpie.faces import Face, FaceBox
from swiftpie.imageio.images import to_tensor
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.evaluation.benchmarks.leakage import LeakageBenchmark
from swiftpie_lab.evaluation.case import METRICS, Evidence, ReferencePhoto
from swiftpie_lab.evaluation.command import open_networks
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.metrics.lpips import Lpips
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.stages.adapter.networks import LossWeights
from swiftpie_lab.training.stages.adapter.stage import AdapterConfig
from swiftpie_lab.training.stages.adapter.student import no_drops, run_student
from swiftpie_lab.training.stages.echo import EchoConfig, Echoes
from swiftpie_lab.training.stages.inversion import InversionConfig
from tests.lab.evaluation.benchmarks.test_leakage import clean_and_seeped
from tests.lab.evaluation.test_quality import lpips_state
from tests.lab.training.stages import conftest
from tests.lab.training.stages.adapter.test_stage import NEVER
from tests.lab.training.stages.adapter.test_teachers import OFF
from tests.lab.training.stages.test_distillation import landed, trained
from tests.lab.training.test_dists import tiny_dists
from tests.tiny.folders import make_unet
from tests.tiny.judges import write_clip, write_dino, write_siglip2

STEP = 1e-3  # length of a step downhill, of all weights together


def falls(stage, measure=None, draw=2):
    """Whether a small step of every group of weights lowers the loss of the same draw.

    `measure` says what is to fall where the loss of a stage has the right gradient alone.
    """
    network, fell = stage.network(), []

    def loss(number):
        if hasattr(stage, "losses"):
            return sum(stage.losses(network, draw).values())
        updates = [*stage.updates(network, 1, draw)]
        return sum(updates[number].terms.values()) if number < len(updates) else None

    for number in range(len(getattr(stage, "groups", [None]))):
        before = loss(number)
        if before is None:  # this group takes no part
            continue
        network.zero_grad()
        before.backward()
        before = before if measure is None else measure(network)
        moved = [weight for weight in network.parameters() if weight.grad is not None]
        length = torch.stack([weight.grad.norm() for weight in moved]).norm()
        with torch.no_grad():
            for weight in moved:
                weight.sub_(STEP * weight.grad / length)
        after = loss(number) if measure is None else measure(network)
        fell.append(bool(after < before))
    return bool(fell) and all(fell)


def settings_in(folder):
    """Write what stages of published models start from, and return their settings."""
    make_unet(conftest.fill(folder) / "teacher", "sd21")
    (folder / "prompts.txt").write_text("a red cat\n", encoding="utf-8")
    return conftest.settings_in(folder)


def built(config, folder):
    return config.build(Context(data=folder, runs=folder, device="cpu"))


def adapter_in(folder, **changes):
    settings = {"data": folder / "photos", "num_judged": 4, **settings_in(folder), **changes}
    return built(AdapterConfig(**settings), folder)


def trains_both_branches(folder):
    return falls(adapter_in(folder, drops=NEVER))


def learns_of_a_teacher_and_dists(folder):
    taught = adapter_in(
        folder / "taught",
        teacher=folder / "taught" / "teacher",
        teacher_predicts="v_prediction",
        loss=LossWeights(**OFF, teacher=1.0),
        drops=NEVER,
    )
    for weight in taught.teacher.unet.conv_out.parameters():
        torch.nn.init.zeros_(weight)  # a velocity of 0 everywhere belongs to latents around 0
    compared = adapter_in(folder / "compared", loss=LossWeights(**OFF | {"subject": 1.0}))

    @torch.no_grad()
    def size(network):
        examples = taught.examples.batch(2, 2)
        return run_student(taught.base, network, examples, no_drops(2, read_at=200)).clean.norm()

    return falls(taught, size) and falls(replace(compared, dists=tiny_dists()))


def trains_inversion(folder):
    config = InversionConfig(
        preset="swiftbrush-v1", prompts=folder / "prompts.txt", **settings_in(folder)
    )
    return falls(built(config, folder))


def trains_inversion_of_mini(folder):
    settings = settings_in(folder) | {"weights": None, "image_encoder": None}
    config = InversionConfig(
        preset="mini", prompts=folder / "prompts.txt", trains_image_branch=False, **settings
    )
    return falls(built(config, folder))


def students_reach_all_modes():
    """Whether students of both kinds draw each of eight modes that their teacher knows."""
    return all(landed(*trained(kind))[0] > 0.05 for kind in ("vsd", "dmd2"))


def echoes(folder):
    settings = settings_in(folder) | {
        "data": folder / "photos" / "red_cup",
        "noun": "cup",
        "teacher": folder / "teacher",
        "batch_size": 1,
        "rank": 2,
        "echoes": Echoes(first_step=1, draw_every=1, num_pictures=4, share=1.0),
    }
    return falls(built(EchoConfig(**settings), folder))


def ranks(better, worse, *names):
    """Whether every metric prefers the first evidence, in its own direction."""
    for name in names:
        metric = METRICS.get(name)
        first, second = (metric.score(evidence) for evidence in (better, worse))
        if not (first > second if metric.higher_is_better else first < second):
            return False
    return True


def noise(seed, side=64):
    values = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((side, side), Image.Resampling.NEAREST)


def inside(side=64):
    mask = torch.zeros(1, 1, side, side)
    mask[..., 16:48, 16:48] = 1
    return mask


def ranks_likeness(folder):
    """Whether a picture of the subject is more like it than another, to all networks."""
    paths = {
        "dino_small": write_dino(folder / "dino"),
        "clip_small": write_clip(folder / "clip", width=24),
        "siglip2": write_siglip2(folder / "siglip2"),
    }
    common = {
        "claimed": inside(),
        "references": (ReferencePhoto(noise(0), Image.fromarray(np.uint8(inside()[0, 0]) * 255)),),
        "networks": open_networks(paths, {}),
    }
    same, other = (Evidence(picture=to_tensor(noise(seed)), **common) for seed in (0, 1))
    return ranks(same, other, "dino", "dino-masked", "clip-i", "clip-i-masked", "masc-cp")


def ranks_edits(folder):
    """Whether an edit that keeps its surroundings is better than one that does not."""
    lpips = Lpips()
    lpips.load_state_dict(lpips_state())
    networks = open_networks({"dino": write_dino(folder / "dino")}, {})
    networks = replace(networks, others={"lpips": lpips.eval()})
    source, stray = to_tensor(noise(0)), to_tensor(noise(1))
    near = torch.lerp(torch.lerp(source, stray, inside()), stray, 0.1 * (1 - inside()))
    common = {"source": source, "mask": inside(), "networks": networks}
    pair = (Evidence(picture=picture, **common) for picture in (near, stray))
    names = ("psnr", "lpips", "mse", "ssim")
    return ranks(*pair, "structure-distance", *(f"unedited-{name}" for name in names))


def ranks_rescaling():
    truth, other = to_tensor(noise(0)), to_tensor(noise(1))
    right, wrong = (
        Evidence(picture=picture, truth=truth, mask=inside(), claimed=claimed)
        for picture, claimed in ((torch.lerp(truth, other, 0.1), inside()), (other, 1 - inside()))
    )
    return ranks(right, wrong, "subject-psnr", "mask-iou")


def ranks_faces():
    def face(*vector):
        box = FaceBox(0, 0, 8, 8)
        return Face(box, np.zeros((5, 2), np.float32), 1.0, noise(0), np.float32(vector))

    common = {"picture": to_tensor(noise(0)), "person": face(1, 0)}
    same, other = (Evidence(face=face(*vector), **common) for vector in ((0.8, 0.6), (0, 1)))
    return ranks(same, other, "identity") and ranks(same, replace(same, face=None), "face-shown")


def ranks_leakage():
    """Whether a neighbour's look in a subject's place is told from none."""
    leaks = LeakageBenchmark(sample_subjects())
    return ranks(*clean_and_seeped(leaks, Networks(panel=leaks.panel())), "leakage")
