"""The golden pictures: a name and what draws it. All calls of the library are at the top."""

import functools
from dataclasses import replace
from importlib.resources import files
from itertools import product

import torch
from PIL import Image, ImageOps

from swiftpie import EditMode, EditRequest, EditSettings, MaskSource, Scales, Subject, TuneSettings
from swiftpie.guidance import ClassifierFree, Plain, decoupled_for_steps
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import mask_to_pil
from swiftpie.masks import load_mask
from swiftpie.photo.search import Search
from swiftpie.pipelines.identity import face_identity
from swiftpie.pipelines.methods.chord import ChordForm
from swiftpie.pipelines.settings import IdentityGuidance, steering_of
from swiftpie.pipelines.tasks import RetouchRequest
from tests.golden.networks import SIDE_PX, mini, moving_networks, random_networks, reading_networks
from tests.parity.faces import no_face, someone
from tests.parity.tiny import picture

SEED = 3
PROMPT, PAIR_PROMPT = "a dinosaur on a beach", "a dinosaur and a robot on a snowy slope"
PERSON_PROMPT = "a chef in a kitchen"
DINOSAUR, ROBOT, MOUSE = "1f995", "1f916", "1f439"  # samples in the package
BOX, LEFT, RIGHT = (0.25, 0.3, 0.8, 0.95), (0.0, 0.4, 0.5, 0.9), (0.55, 0.3, 1.0, 0.8)


# What is called of the library.


def personalized(session, subjects, prompt=PROMPT, *, seed=SEED, scales=None, **settings):
    scales = Scales(**(scales or {}))
    settings = {"scene": "words"} | settings
    drawn = session.personalize(subjects, prompt, seed=seed, scales=scales, **settings)
    return [*drawn.images, *drawn.subject_masks, *planes(drawn.regions)]


def edited(session, image, prompt, *, seed=0, scales=None, settings=None, **request):
    settings = dict(settings or {})
    if scales is not None:
        settings["scales"] = replace(Scales.for_edit(), **scales)
    if isinstance(request.get("mask"), Image.Image):
        request["mask"] = load_mask(request["mask"], image.size)
    asked = {"image": image, "prompt": prompt, "seed": seed, **request}
    drawn = session.draw(EditRequest(settings=EditSettings(**settings), **asked))
    others = [] if drawn.reconstruction is None else [drawn.reconstruction]
    return [drawn.image, drawn.edited, drawn.region, *planes(drawn.latent_region), *others]


def changed_photograph(session, image, **request):
    drawn = session.draw(RetouchRequest(image=image, seed=SEED, **request))
    return [drawn.image, drawn.edited, drawn.region, *planes(drawn.latent_region)]


@functools.cache
def tuned(session):
    settings = TuneSettings(steps=2, num_scenes=1, learning_rate=0.01)
    return session.tune(session.encode_identity(reference(DINOSAUR)), settings)


@functools.cache
def person(session, num_faces=1):
    if num_faces == 0:
        return no_face(session.components)
    vectors, crops = someone(num_faces=num_faces)
    return face_identity(session.components, vectors, crop=crops)


def planes(regions):
    """Regions (B, S, h, w) as grey pictures."""
    return mask_to_pil(regions.flatten(0, 1)[:, None])


# What is shown to it.


def sample(name):
    return load_image(str(files("swiftpie") / "assets" / "samples" / f"{name}.webp"))


def reference(name, view=0):
    shown = sample(name)
    return (shown, ImageOps.mirror(shown), shown.rotate(25, Image.Resampling.BICUBIC))[view]


def on_ground(name):
    ground = Image.new("RGB", (SIDE_PX, SIDE_PX), (36, 74, 58))
    shown = sample(name).resize((88, 88), Image.Resampling.BOX)
    ground.paste(shown, (20, 24), shown)
    return ground


@functools.cache
def photo(size=(SIDE_PX, SIDE_PX)):
    sky = ImageOps.colorize(Image.linear_gradient("L"), (90, 150, 235), (230, 200, 140))
    scene, shown = sky.resize(size, Image.Resampling.BOX), sample(DINOSAUR)
    side = size[1] // 2
    shown = shown.resize((side, side), Image.Resampling.BOX)
    scene.paste(shown, ((size[0] - side) // 2, size[1] - side - size[1] // 8), shown)
    return scene


def soft_mask():
    mask = torch.linspace(0, 1, SIDE_PX).repeat(SIDE_PX, 1)[None, None]
    mask[:, :, : SIDE_PX // 3] = 0
    return mask


def hard_mask():
    mask = Image.new("L", (SIDE_PX, SIDE_PX))
    mask.paste(255, (32, 40, 100, 116))
    return mask


# One kind of case each.


def subject(name=DINOSAUR, *, steps=1, side_px=SIDE_PX, views=(0,), prompt=PROMPT, **settings):
    session = mini(steps, side_px)
    identity = session.encode_identity([reference(name, view) for view in views])
    return personalized(session, identity, prompt, **settings)


def found_subject():
    return personalized(mini(), mini().encode_identity(on_ground(ROBOT)), "a robot in a forest")


def pair(first=None, second=None, *, names=("dinosaur", "robot"), **settings):
    subjects = [
        Subject(mini().encode_identity(sample(one)), name=name, **(own or {}))
        for one, name, own in zip((DINOSAUR, ROBOT), names, (first, second), strict=True)
    ]
    return personalized(mini(), subjects, PAIR_PROMPT, **settings)


def masked_subject():
    return subject(mask=soft_mask(), scales={"background_scale": 0.3, "text_background_scale": 0.7})


def guided(guidance, *, steps=4):
    return subject(steps=steps, guidance=guidance(steps))


def styled(style, *, steps=4):
    return subject(steps=steps, **steering_of(style, steps))


def edit(*, size=(SIDE_PX, SIDE_PX), **request):
    return edited(mini(), photo(size), **request)


def random_subject(family, *, count=1, steps=1, **settings):
    session = random_networks(family, steps=steps)
    identities = [session.encode_identity(picture(number)) for number in range(count)]
    subjects = identities[0] if count == 1 else [Subject(identity) for identity in identities]
    return personalized(session, subjects, **settings)


def random_edit(family="sd21", *, mode="paper", prompt="a cat on a sofa", who=None, **request):
    session = random_networks(family, inverts=True)
    request["settings"] = {"mode": EditMode(mode), **request.get("settings", {})}
    if who is not None:
        request["source"] = session.encode_identity(picture(who))
    return edited(session, photo(), prompt, **request)


def face(adapter, style=IdentityGuidance.PLAIN, *, steps=1, num_faces=1, scale=1.0):
    session = random_networks(adapter.rpartition("_")[2], steps=steps, face=adapter)
    return personalized(
        session,
        person(session, num_faces),
        PERSON_PROMPT,
        scales={"identity_scale": scale, "detail_scale": 0.0},
        **steering_of(style, steps),
    )


def photograph_change(*, who="", size=(SIDE_PX, SIDE_PX), **request):
    identity = mini().encode_identity(sample(who)) if who else None
    return changed_photograph(mini(), photo(size), source=identity, **request)


def random_change(family="sd15", *, who=None, inverts=False, **request):
    session = random_networks(family, inverts=inverts)
    identity = None if who is None else session.encode_identity(picture(who))
    return changed_photograph(session, photo(), source=identity, **request)


def chord(family="sd21", *, who=None, settings=None, **request):
    session = random_networks(family)
    if who is not None:
        request["source"] = session.encode_identity(picture(who))
    settings = {"method": "chord", **(settings or {})}
    given = {"prompt": "a cat on a sofa", "source_prompt": "a dog on the grass", **request}
    return edited(session, photo(), given.pop("prompt"), settings=settings, **given)


def edit_by_reference(**request):
    return edited(reading_networks(), photo(), "a cat on a sofa", seed=SEED, **request)


def empty_scene(prompt):
    return mini().personalize((), prompt, seed=SEED).images


def animation():
    """A subject that walks, turns and sees night fall, by the embedded model."""
    session = mini()
    shown = session.encode_identity(sample(ROBOT))
    to = {"to": "a robot in a forest in the rain at night", "to_box": RIGHT, "to_view": (30, 0)}
    size = {"size": (SIDE_PX, SIDE_PX), "num_frames": 3, "box": LEFT}
    return session.animate(shown, "a robot in a forest", seed=SEED, **to, **size).images


def moving_subject(**change):
    """The same by motion modules, between two prompts and two boxes."""
    session = moving_networks()
    given = {"to": "a robot at sea", "box": LEFT, "to_box": RIGHT, "num_frames": 3, **change}
    shown = session.encode_identity(picture(0))
    return session.animate(shown, "a robot on a beach", seed=SEED, **given).images


def inserted_subject():
    return random_subject("sd15", prompt="a robot on a beach at night", scene="beach")


def face_edit(method):
    session = random_networks("sd15", inverts=True, face=FACES["sd15"])
    request = {"source": person(session), "mask": BOX, "settings": {"method": method}}
    return edited(session, photo(), PERSON_PROMPT, **request)


STRENGTHS = {
    "identity 0.5": {"identity_scale": 0.5},
    "identity 1.6": {"identity_scale": 1.6},
    "detail 0": {"detail_scale": 0.0},
    "detail 0.5": {"detail_scale": 0.5},
    "text 1.5": {"text_scale": 1.5},
    "text 0.5": {"text_scale": 0.5},
    "balance 0.8": {"balance": 0.8},
    "balance -0.8": {"balance": -0.8},
}
IN_BOX = {  # strengths that count outside of a region
    "leak 0.6": {"background_scale": 0.6},
    "context 0.4": {"text_background_scale": 0.4},
    "all": {
        "identity_scale": 1.4,
        "detail_scale": 0.7,
        "background_scale": 0.2,
        "text_scale": 1.2,
        "text_background_scale": 0.8,
    },
}
SUBJECTS = {
    "one subject": {},
    "its own size": {"side_px": None},
    "two seeds": {"seed": 20, "num_images": 2},
    "a mouse at night": {"name": MOUSE, "prompt": "a mouse at night"},
    "robot in space": {"name": ROBOT, "prompt": "a robot in space", "seed": 7},
    "a scene": {"scene": ""},
    "a scene in the rain": {"prompt": "a dinosaur at a castle at dusk in rain", "scene": ""},
    "a large scene": {"scene": "", "size": (288, 192)},
    "a scene of a picture": {"scene": Image.linear_gradient("L").convert("RGB"), "side_px": 128},
    "of bricks": {"prompt": "a dinosaur made of bricks in a forest", "scene": ""},
    "a scene as a comic": {"prompt": "a comic of a dinosaur in a village in autumn", "scene": ""},
    "two references": {"views": (0, 1)},
    "three references": {"views": (0, 1, 2), "prompt": "a dinosaur in a forest"},
    "two steps": {"steps": 2},
    "four steps": {"steps": 4},
    "box": {"box": BOX},
    "box as mask": {"box": BOX, "mask": MaskSource.BOX},
    "inline mask": {"mask": MaskSource.INLINE},
    "wide": {"size": (160, 96)},
    "tall with a box": {"size": (128, 192), "box": BOX},
    **{name: {"scales": numbers} for name, numbers in STRENGTHS.items()},
    **{
        f"box as mask, {name}": {"box": BOX, "mask": MaskSource.BOX, "scales": numbers}
        for name, numbers in IN_BOX.items()
    },
}
PAIRS = {
    "side by side": {},
    "boxes": {"first": {"box": LEFT}, "second": {"box": RIGHT}},
    "one box": {"second": {"box": RIGHT, "scale": 0.6}},
    "boxes as masks": {"first": {"box": LEFT}, "second": {"box": RIGHT}, "mask": MaskSource.BOX},
    "inline masks": {"first": {"box": LEFT}, "second": {"box": RIGHT}, "mask": MaskSource.INLINE},
}
GUIDANCE = {
    "plain": lambda _: Plain(),
    "cfg": lambda steps: ClassifierFree((1.5,) * steps),
    "dcg": decoupled_for_steps,
}
SOURCE = {"source_prompt": "a dinosaur on a beach"}
WORDS = {  # edits of which no denoiser draws anything
    "time": {"prompt": "at night"},
    "weather": {"prompt": "in the rain"},
    "season": {"prompt": "in winter", "source_prompt": "in summer"},
    "colour": {"prompt": "painted blue"},
    "colour and time": {
        "prompt": "a green dinosaur on a beach at night",
        **SOURCE,
        "size": (200, 120),
    },
}
CHANGED = {
    "insert": {"who": ROBOT, "box": (0.02, 0.56871564, 0.3028469, 0.8515625)},
    "insert, turned": {"who": ROBOT, "box": LEFT, "view": (30, 10), "size": (200, 120)},
    "remove": {"mask": BOX},
    "remove, found": {"mask": Search(points=((0.5, 0.6),))},
    "replace": {"who": MOUSE, "mask": BOX},
}
GARMENTS = {
    "a mask": {"who": 1, "mask": BOX, "keep_pose": True},
    "words, by inversion": {
        "family": "sd21",
        "inverts": True,
        "who": 1,
        "keep_pose": True,
        "prompt": "a red shirt",
    },
}
CHORDS = {
    "two prompts": {},
    "keyword": {"keyword": "dog"},
    "reference in a box, fast": {"who": 1, "mask": BOX, "settings": {"chord": ChordForm.FAST}},
    "two prompts, faithful": {"settings": {"chord": ChordForm.FAITHFUL}},
}
AROUND = {"background_scale": 0.6, "text_background_scale": 0.5, "text_scale": 1.2}
RANDOM_SUBJECTS = {
    "one subject": {},
    "detail alone": {"scales": {"identity_scale": 0.0, "detail_scale": 1.0}},
    "box as mask": {"box": BOX, "mask": MaskSource.BOX, "scales": AROUND},
    "two subjects, inline masks, two steps": {
        "count": 2,
        "steps": 2,
        "mask": MaskSource.INLINE,
        "scales": {"background_scale": 0.3},
    },
}
RANDOM_EDITS = {
    "source prompt": {"source_prompt": "a dog on the grass"},
    "keyword, seed 5": {"keyword": "dog", "seed": 5},
    "reference in a box": {"who": 1, "mask": BOX},
}
FACES = {"sd15": "ip-adapter-faceid_sd15", "sdxl": "ip-adapter-faceid_sdxl"}
PLUS = {"sd15": "ip-adapter-faceid-plusv2_sd15", "sdxl": "ip-adapter-faceid-plusv2_sdxl"}


def _named(group, draw, table):
    return {f"{group}: {name}": functools.partial(draw, **given) for name, given in table.items()}


CASES = {
    **_named("mini", subject, SUBJECTS),
    "mini: animation": animation,
    "mini: given mask": masked_subject,
    "mini: subject on a plain ground": found_subject,
    **_named("mini, two subjects", pair, PAIRS),
    **_named("mini, guidance", guided, {name: {"guidance": one} for name, one in GUIDANCE.items()}),
    **_named("mini, style", styled, {style.value: {"style": style} for style in IdentityGuidance}),
    **_named("mini, edit by words", edit, WORDS),
    **_named("mini, photograph", photograph_change, CHANGED),
    "mini: a tuned subject": lambda: personalized(mini(), tuned(mini())),
    "mini: an empty scene": functools.partial(empty_scene, "a beach at night"),
    "sd15, photograph: insert": functools.partial(random_change, who=1, box=BOX),
    "sd15, photograph: remove": functools.partial(random_change, mask=BOX),
    **_named("garment", random_change, GARMENTS),
    "sd15: a scene": inserted_subject,
    "sd15: animation": moving_subject,
    **_named("sd21, chord", chord, CHORDS),
    "reference, edit": edit_by_reference,
    "reference, edit: mask": functools.partial(edit_by_reference, mask=hard_mask()),
    **{
        f"sd15, face, edit by {method}": functools.partial(face_edit, method)
        for method in ("inversion", "chord")
    },
    **{
        f"{family}: {name}": functools.partial(random_subject, family, **given)
        for family, (name, given) in product(("sd15", "sd21", "sdxl"), RANDOM_SUBJECTS.items())
    },
    **{
        f"sd21, edit, {mode}: {name}": functools.partial(random_edit, mode=mode, **given)
        for mode, (name, given) in product(("paper", "released"), RANDOM_EDITS.items())
    },
    **{
        f"{family}, face, {style.value}": functools.partial(face, adapter, style, steps=4)
        for (family, adapter), style in product(FACES.items(), IdentityGuidance)
    },
    **{
        f"{family}, face, one step": functools.partial(face, adapter)
        for family, adapter in FACES.items()
    },
    **{
        f"{family}, two faces and crops, two steps": functools.partial(
            face, adapter, IdentityGuidance.AM2, steps=2, num_faces=2, scale=0.7
        )
        for family, adapter in PLUS.items()
    },
    "sd15, face, no face": functools.partial(face, FACES["sd15"], num_faces=0),
}

# Another seed, and scales that are 2 % off: what the tolerance has to refuse.
REFUSED = {
    "mini: one subject": {
        "seed": functools.partial(subject, seed=SEED + 1),
        "identity": functools.partial(subject, scales={"identity_scale": 1.02}),
        "detail": functools.partial(subject, scales={"detail_scale": 1.02}),
        "text": functools.partial(subject, scales={"text_scale": 1.02}),
    },
    "sd15: box as mask": {
        name: functools.partial(random_subject, "sd15", **RANDOM_SUBJECTS["box as mask"] | changed)
        for name, changed in {
            "seed": {"seed": SEED + 1},
            "leak": {"scales": AROUND | {"background_scale": 0.612}},
            "context": {"scales": AROUND | {"text_background_scale": 0.51}},
        }.items()
    },
    "sdxl, face, one step": {"scale": functools.partial(face, FACES["sdxl"], scale=1.02)},
}
