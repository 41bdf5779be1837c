"""Faces of people in new scenes, as FastFace judges them (arXiv:2505.21144), each aspect apart."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer
from PIL import Image

from swiftpie.backbones.presets import Use
from swiftpie.cli.loading import preset_for
from swiftpie.cli.options import FieldOptions, IdentityScale, SizeText, option_of
from swiftpie.cli.subjects import warn_of_strange_vectors, with_face_files
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError, InputError
from swiftpie.faces import CONSENT, FACE_ENCODERS, Face, FaceEncoder, FaceSettings
from swiftpie.faces.choose import (
    ChosenFace,
    choose_face,
    find_faces,
    main_face,
    middle_of,
    on_white,
)
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_tensor
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.settings import IdentityGuidance, Scales
from swiftpie.validation import parse_size
from swiftpie_lab.data.photographs import photos_in
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.case import Evidence, Row
from swiftpie_lab.evaluation.command import (
    BenchmarkCommand,
    FaceNetworks,
    Trial,
    drawer_of,
    open_model,
    open_networks,
)
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import (
    File,
    LeftOut,
    Maker,
    OpenBenchmark,
    Results,
    maker_of,
    usable,
)

Identities = Annotated[Path, typer.Option(metavar="DIR", help="Photographs, one a person.")]
Prompts = Annotated[
    Path,
    typer.Option(metavar="FILE", help="One prompt a line; what stands before ';' is its style."),
]

STYLE_END = ";"  # what stands before it in a prompt is its style
MAX_PROMPT_BYTES = 1 << 20
SAME_PLACE = 0.5  # middles nearer than this share of a face's width belong to one face
PLAIN, STYLED = "prompts without style", "prompts with style"


@dataclass(frozen=True)
class FaceCase:
    """One picture to draw."""

    name: str
    person: str  # name of the photograph
    prompt: str  # written in lower case, as the protocol has it
    seed: int

    @property
    def style(self) -> str:
        """The style that the prompt asks for; empty for a photograph."""
        style, end, _ = self.prompt.partition(STYLE_END)
        return style.strip() if end else ""


@dataclass(frozen=True, eq=False)
class FaceBenchmark(OpenBenchmark[FaceCase]):
    """Every person with every prompt, in one order whatever the disk says."""

    photos: tuple[Path, ...]
    prompts: tuple[str, ...]
    seed: int  # seed of the first case; the others count up from it
    encoder: FaceEncoder  # what the generator reads; finds the faces
    judge: FaceEncoder | None = None  # had no part in drawing; without one there is no likeness

    name = "fastface"
    title = "Faces"
    metrics = (
        *("identity", "clip-large", "clip-small", "style", "aesthetic", "image-reward"),
        *("face-shown", "face-ratio"),
    )
    candidates = MappingProxyType({"drawn": "drawn"})
    strip = MappingProxyType({"person": "person", "drawn": "drawn"})
    ranked_by = ("face-shown", "identity")

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.encoder.name} {self.encoder.fingerprint}\n".encode())
        for photo in self.photos:
            digest.update(f"{photo.name}\0".encode() + hashlib.sha256(photo.read_bytes()).digest())
        for prompt in self.prompts:
            digest.update(f"{prompt}\n".encode())
        return digest.hexdigest()

    def known(self, case: FaceCase) -> dict[str, File]:
        return {"person": self.people[case.person].face.crop}

    def cases(self) -> list[FaceCase]:
        """Return the cases of all people; seeds do not depend on the faces that were found."""
        count = len(self.prompts)
        return [
            FaceCase(
                f"{number:03d}-{index:03d}", photo.name, prompt, self.seed + number * count + index
            )
            for number, photo in enumerate(self.photos)
            for index, prompt in enumerate(self.prompts)
            if photo.name in self.people
        ]

    @property
    def people(self) -> dict[str, ChosenFace]:
        """Those whose face was found, by name of the photograph."""
        return self._looked[0]

    @property
    def left_out(self) -> list[LeftOut]:
        """The photographs without a face."""
        return self._looked[1]

    @cached_property
    def _looked(self) -> tuple[dict[str, ChosenFace], list[LeftOut]]:
        paths = {photo.name: photo for photo in self.photos}

        def look(name: str) -> ChosenFace:
            return choose_face(find_faces(self.encoder, load_image(paths[name])), name=name)

        return usable(dict.fromkeys(paths, len(self.prompts)), look)

    @cached_property
    def _references(self) -> dict[str, Face | None]:
        return {
            name: None if self.judge is None else same_face(self.judge, chosen)
            for name, chosen in self.people.items()
        }

    def evidence(
        self, case: FaceCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the picture; where there is no judge, the encoder finds its face."""
        image = results.read(case, "drawn")
        evidence = Evidence(
            picture=to_tensor(image),
            prompt=case.prompt,
            style=case.style or case.prompt,  # as the released script has it
            face=shown_face(self.judge or self.encoder, image),
            person=self._references[case.person],
            networks=networks,
        )
        yield "drawn", evidence

    def words(self, case: FaceCase) -> list[str]:
        return [case.prompt, case.person]

    def groups(self, rows: Sequence[Row[FaceCase]]) -> dict[str, list[Row[FaceCase]]]:
        """Return prompts without style and with one, where there are both."""
        plain = [row for row in rows if not row.case.style]
        styled = [row for row in rows if row.case.style]
        return {PLAIN: plain, STYLED: styled} if plain and styled else {}

    def facts(self, rows: Sequence[Row[FaceCase]]) -> dict[str, object]:
        without_face = sum(not row.scores["face-shown"]["drawn"] for row in rows)
        return {
            "encoder": self.encoder.name,
            "judge": None if self.judge is None else self.judge.name,
            "num_people": len({row.case.person for row in rows}),
            "num_drawn": len(rows),
            "num_failed": without_face + sum(photo.num_cases for photo in self.left_out),
            "left_out": self.left_out,
        }

    def sentences(self, rows: Sequence[Row[FaceCase]]) -> list[str]:
        facts = self.facts(rows)
        judge = "likeness was not judged" if self.judge is None else f"{self.judge.name!r} judged"
        return [
            f"{facts['num_drawn']} pictures of {facts['num_people']} people; "
            f"{facts['num_failed']} cases failed for want of a face. The generator read "
            f"{self.encoder.name!r}, {judge}. Figures of faces leave pictures without one out.",
            *map(str, self.left_out),
            CONSENT,
        ]


@dataclass(frozen=True, eq=False)
class FaceDrawer:
    """Draws people with a session."""

    session: Session
    benchmark: FaceBenchmark
    identity_guidance: IdentityGuidance
    scales: Scales
    size_px: tuple[int, int] | None = None  # height and width; None is the preset's

    @property
    def maker(self) -> Maker:
        side = self.session.components.preset.image_size_px
        height, width = self.size_px or (side, side)
        identity = f"identity {self.scales.identity_scale:g}"
        return maker_of(self.session, self.identity_guidance.value, identity, f"{width}x{height}")

    def kinds(self, case: FaceCase) -> tuple[str, ...]:
        del case
        return ("person", "drawn")

    def draw(self, case: FaceCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        chosen = self.benchmark.people[case.person]
        yield from self.benchmark.known(case).items()
        if "drawn" in missing:
            result = self.session.personalize(
                self.session.encode_face(chosen),
                case.prompt,
                identity_guidance=self.identity_guidance,
                seed=case.seed,
                scales=self.scales,
                size=self.size_px,
            )
            yield "drawn", result.images[0]


def read_faces(
    identities: Path,
    prompts: Path,
    *,
    seed: int,
    encoder: FaceEncoder,
    judge: FaceEncoder | None = None,
) -> FaceBenchmark:
    """Return what a folder of photographs and a file of prompts ask for, or InputError."""
    photos = tuple(photos_in(identities)) if identities.is_dir() else ()
    if not photos:
        raise InputError(
            f"'{identities}' holds no photographs. One a person is needed, as PNG, JPEG or WebP. "
            "Check --identities."
        )
    try:
        lines = prompts.read_bytes()[:MAX_PROMPT_BYTES].decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"'{prompts}' cannot be read ({error}). A text file with one prompt a line is needed. "
            "Check --prompts."
        ) from error
    texts = tuple(line.strip().lower() for line in lines if line.strip())
    if not texts:
        raise InputError(f"'{prompts}' is empty. One prompt a line is needed. Check --prompts.")
    return FaceBenchmark(photos, texts, seed, encoder, judge)


def open_judge(encoder: FaceEncoder, folder: Path | None, *, name: str) -> FaceEncoder:
    """Return the encoder `name`; ConfigError if it is `encoder`, which flatters itself."""
    judge = FACE_ENCODERS.get(name).open(folder)
    if judge.fingerprint == encoder.fingerprint:
        raise ConfigError(
            f"The judge {name!r} has the same recogniser as {encoder.name!r}, which conditions "
            "the drawing. Choose an independent encoder with --judge."
        )
    return judge


def same_face(judge: FaceEncoder, chosen: ChosenFace) -> Face | None:
    """Return the chosen face as `judge` finds it, or None if it finds none in that place."""
    wanted = middle_of(chosen.face.box)
    distances = {math.dist(middle_of(face.box), wanted): face for face in judge.find(chosen.image)}
    nearest = min(distances, default=math.inf)
    return distances[nearest] if nearest < SAME_PLACE * chosen.face.box.width else None


def shown_face(judge: FaceEncoder, image: Image.Image) -> Face | None:
    """Return the main face of a generated picture, or None if there is none."""
    faces = judge.find(on_white(image))
    return faces[main_face(faces, image.size)] if faces else None


Recognisers = Annotated[
    FaceSettings, FieldOptions(FaceSettings, ("encoder", "face_models", "judge", "judge_models"))
]
RELEASED_SEED = 50  # seed of FastFace's released code, which draws all noise from one generator


def open_fastface(
    *,
    identities: Identities,
    prompts: Prompts,
    identity_guidance: Annotated[
        IdentityGuidance, option_of(PersonalizeRequest, "identity_guidance")
    ] = IdentityGuidance.PLAIN,
    identity_scale: IdentityScale = None,
    size: SizeText = None,
    recognisers: Recognisers,
    files: FaceNetworks,
    results: given.Finished = None,
    seed: given.FirstSeed = RELEASED_SEED,
    loading: given.LoadedInSteps,
) -> Trial[FaceCase]:
    """Draw every person of a folder by every prompt of a file, and judge each aspect apart.

    Identity, prompt, style, quality and face ratio are figures of their own, and pictures without a
    face are counted. Figures whose networks you do not give are reported as not computed. An
    interrupted run goes on where it stopped. Use only the faces of people who agreed to it.
    """
    size_px = None if size is None else parse_size(size)
    if results is None:
        preset_for(loading, use=Use.FACE)
    networks = open_networks(files, loading)
    recognisers, agreed = with_face_files(recognisers, loading)
    encoder = recognisers.open()
    folder, judge = recognisers.judge_models or recognisers.face_models, None
    if recognisers.judge is not None:
        judge = open_judge(encoder, folder, name=recognisers.judge)
    benchmark = read_faces(identities, prompts, seed=seed, encoder=encoder, judge=judge)
    cases = benchmark.cases()
    agreed.fetch()

    def own() -> FaceDrawer:
        session = open_model(loading)
        warn_of_strange_vectors(session, encoder)
        scales = Scales.of(session.components.preset)
        if identity_scale is not None:
            scales = replace(scales, identity_scale=identity_scale)
        return FaceDrawer(session, benchmark, identity_guidance, scales, size_px)

    drawer = drawer_of(
        benchmark,
        cases,
        results,
        loading,
        own,
        identity_guidance=identity_guidance is not IdentityGuidance.PLAIN,
        identity_scale=identity_scale is not None,
        size=size is not None,
    )
    return Trial(benchmark, cases, drawer, replace(networks, face_judge=judge))


BENCHMARK = BenchmarkCommand(
    open_fastface,
    (
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--recipe face-plus --clip clip-vit-l14",
        "swiftpie evaluate fastface --identities people --prompts prompts.txt "
        "--preset hyper-sdxl-4 --adapter ip-adapter-faceid-plusv2_sdxl.bin --allow-pickle "
        "--encoder insightface --judge opencv --judge-models face-models "
        "--identity-guidance dcg+am2 --out out/dcg-am2 --json",
    ),
)
