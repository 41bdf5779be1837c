"""Requests over HTTP: OpenAI's fields and the options of the library."""

import base64
import binascii
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

from swiftpie.backbones.components import MAX_SIDE_PX, MIN_SIDE_PX
from swiftpie.config import Option, OptionField, Surface, options_of
from swiftpie.imageio.decoding import FORMATS, MAX_PIXELS
from swiftpie.imageio.decoding import MAX_SIDE_PX as LONGEST_PX
from swiftpie.pipelines.animation import USUAL_FRAMES, AnimateRequest, Film
from swiftpie.pipelines.request import MAX_SUBJECTS, MAX_VIEW, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import EditSettings, IdentityGuidance, Scales
from swiftpie.pipelines.tasks import TASKS
from swiftpie.server.errors import RequestError
from swiftpie.validation import MAX_SEED, parse_size

MAX_PROMPT = 4_000  # letters
MAX_PICTURES = 10  # Pictures in one request.
MAX_IMAGES = 16  # that one request may bring
MAX_FRAMES = 24  # Frames of an animation.
MAX_VALUES = 16  # Values of a field that takes several.
MAX_NAME = 200  # letters of an identity's or a model's name
MAX_NUMBER = 64  # letters of an identity's number
MAX_IMAGE_BYTES = 20 << 20  # One picture's file.
KEPT_PX = 1536  # The longer side; pictures to change keep their size.
MAX_IMAGE_LETTERS = 4 * MAX_IMAGE_BYTES // 3 + 100  # The file in base64, with its head.
MAX_SIZE = 20  # letters of a picture's size
MAX_TEXT_BYTES = 256 << 10  # A form's field, or a request without pictures.
MAX_KEYS = 64  # Fields of one object; OpenAI's largest has about 20.
MAX_PARTS = 5_000  # commas and brackets of a request in JSON, and half of its quotes
MAX_DEPTH = 16  # Nested brackets; the deepest field has five.
NO_SIGNS = bytes(set(range(256)) - set(b"[]{},"))
LONG_NUMBER = re.compile(rb"[^][{},:\s]{400}")

DATA_URL = re.compile(r"\s*data:image/[^,]*;base64", re.IGNORECASE)
PLAIN_BASE64 = str.maketrans("-_", "+/", "\r\n")

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)]
# What HTTP has in place of a file of the command line.
SENT_AS = {"style_reference": " Here the id of a kept picture."}
OPENAI_FIELDS = ("prompt", "seed", "seeds", "size_px", "negative_prompt")  # Fields of `Drawing`.
Part = TypeVar("Part", bound=BaseModel)

PART = "#/components/schemas/{model}"  # Where the OpenAPI description keeps models.


class Bounded(BaseModel):
    """A part of a request with a bounded number of keys; a null is an absent field."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _has_few_keys(cls, value: object) -> object:
        """Return the fields without nulls."""
        if not isinstance(value, dict):
            return value
        if len(value) > MAX_KEYS:
            raise ValueError(f"there are {len(value)} fields; at most {MAX_KEYS} are read")
        return {name: part for name, part in value.items() if part is not None}


class Strict(Bounded):
    """A part of a request that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def check_one_of(part: Part, *names: str) -> Part:
    """Refuse a part that has both of two fields, or none."""
    if sum(bool(getattr(part, name)) for name in names) != 1:
        raise ValueError(f"one of {', '.join(map(repr, names))} is needed")
    return part


class WithOptions(Strict):
    """A part that has options of requests as attributes; see `with_options`."""

    if TYPE_CHECKING:  # no type checker follows the decorator

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of any option
            """Return what a caller said."""


def with_options(
    source: type, *, without: Sequence[str] = (), are_changes: bool = False
) -> Callable[[type[Part]], type[Part]]:
    """Give a model the options of a class; with `are_changes`, each may be left out, as None."""

    def extend(model: type[Part]) -> type[Part]:
        options = options_of(source, Surface.HTTP, without=without)
        return _extended(model, options, are_changes=are_changes)

    return extend


def with_tasks(model: type[Part]) -> type[Part]:
    """Give a model `task`, and the options of all tasks that no part of a request has."""
    parts = (ScalesIn, EditSettingsIn, AnimateIn, SubjectIn)
    elsewhere = {name for part in parts for name in part.model_fields} - {"box"}
    options: dict[str, OptionField] = {}
    for task in TASKS.values():
        options |= task.options(Surface.HTTP, without=(*OPENAI_FIELDS, *elsewhere))
    names = (*(name for name, task in TASKS.items() if task.is_change), "personalize")
    about = (
        "What is done to the first picture of an edit, into which more pictures or a subject of "
        "`subjects` may come; with 'personalize' all pictures are of a subject. "
    )
    about += " ".join(f"{name}: {TASKS[name].about}" for name in names)
    kind: Any = Literal
    return _extended(model, options, task=(kind[names], Field("edit", description=about)))


def _extended(
    model: type[Part],
    options: Mapping[str, OptionField],
    *,
    are_changes: bool = False,
    **fields: Any,  # noqa: ANN401 - as pydantic has them
) -> type[Part]:
    for item in options.values():
        # `type` is a string where only type checkers import it.
        own = item.typed if isinstance(item.type, str) else item.type
        kind, default = (own | None, None) if are_changes else (own, item.default)
        fields[item.name] = (_limited(kind, item.option), Field(default, **_facts(item)))
    made = create_model(model.__name__, __base__=model, __module__=model.__module__, **fields)
    made.__doc__ = model.__doc__
    return made


def described(source: type, name: str, default: Any = ..., **limits: Any) -> Any:  # noqa: ANN401 - as pydantic has it
    """Return the field of an option that OpenAI's interface has too, with the help of ours."""
    return Field(default, description=options_of(source)[name].option.help, **limits)


def controls(*sources: type) -> dict[str, dict[str, Any]]:
    """Return range, default and help of each number that a page offers as a slider."""
    known = [item for source in sources for item in options_of(source, Surface.HTTP).values()]
    return {
        item.name: {
            "least": item.option.least,
            "most": item.option.most,
            "default": item.default,
            "help": item.option.help,
        }
        for item in known
        if None not in (item.option.least, item.option.most) and item.typed in (int, float)
    }


def page_settings() -> dict[str, Any]:
    """Return the options and limits that the page offers."""
    picture = {
        "types": [f"image/{name.lower()}" for name in FORMATS],
        "bytes": MAX_IMAGE_BYTES,
        "pixels": MAX_PIXELS,
        "side_px": LONGEST_PX,
        "kept_px": KEPT_PX,
    }
    guidance = options_of(PersonalizeRequest)["identity_guidance"]
    chosen = {
        "values": [method.value for method in IdentityGuidance],
        "default": guidance.default and guidance.default.value,  # None: what the model can
        "help": guidance.option.help,
    }
    limits = {"subjects": MAX_SUBJECTS, "view": MAX_VIEW, "picture": picture}
    return {
        "options": controls(Scales, EditSettings),
        "choices": {"identity_guidance": chosen},
        "limits": limits,
    }


def _facts(one: OptionField) -> dict[str, Any]:
    option = one.option
    facts: dict[str, Any] = {"description": option.help + SENT_AS.get(one.name, "")}
    if {int, float} & {one.type, *get_args(one.type)}:
        facts |= {"ge": option.least, "le": option.most}
    return facts


def _limited(kind: Any, option: Option) -> Any:  # noqa: ANN401 - a type
    """Return a type in which texts are bounded and each number of a tuple is as the option says.

    Several values are no more than `MAX_VALUES`, and texts alone are prompts.
    """
    if get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis:
        each = Prompt if get_args(kind)[0] is str else _limited(get_args(kind)[0], option)
        several: Any = tuple.__class_getitem__((each, ...))
        return Annotated[several, Field(max_length=MAX_VALUES)]
    if get_origin(kind) is tuple and option.least is not None:
        number: Any = Annotated[float, Field(ge=option.least, le=option.most)]
        return tuple.__class_getitem__((number,) * len(get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(_limited(member, option) for member in get_args(kind))]  # noqa: UP007 - made here
    return Annotated[str, Field(max_length=MAX_PROMPT)] if kind is str else kind


@with_options(Scales, are_changes=True)
class ScalesIn(WithOptions):
    """Changes of `Scales`."""


@with_options(EditSettings, are_changes=True)
class EditSettingsIn(WithOptions):
    """Changes of `EditSettings`."""


@with_options(Subject)
class SubjectIn(WithOptions):
    """One subject of a picture."""

    identity_id: str = Field("", description="Of POST /v1/identities.", max_length=MAX_NUMBER)
    library: str = Field("", description="Instead, a name of GET /v1/library.", max_length=MAX_NAME)
    identity_file: str = Field(
        "",
        description="Instead, an identity file in base64, so that any server draws it; in a form, "
        "the number of its part 'identity', from 0.",
        max_length=MAX_IMAGE_LETTERS,
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        return check_one_of(self, "identity_id", "library", "identity_file")


@with_options(AnimateRequest, without=(*options_of(PersonalizeRequest), "num_frames"))
@with_options(Film)
class AnimateIn(WithOptions):
    """What moves in a drawing whose answer is an animated WebP."""

    num_frames: int = described(AnimateRequest, "num_frames", USUAL_FRAMES, ge=2, le=MAX_FRAMES)

    @property
    def ends(self) -> dict[str, Any]:
        return self.model_dump(exclude={"fps"})


@with_tasks
class OwnFields(WithOptions):
    """Options that OpenAI's fields lack."""

    subjects: list[SubjectIn] = Field(default=[], max_length=MAX_SUBJECTS)
    scales: ScalesIn = ScalesIn()
    edit: EditSettingsIn = EditSettingsIn()
    animate: AnimateIn | None = None
    mask_mode: Literal["alpha", "white"] = Field(
        default="alpha",
        description="A mask is transparent where the picture may change, as OpenAI's are; as "
        "'white', it is opaque and white there.",
    )
    return_mask: bool = False


def _checked_size(value: str) -> str:
    if value == "auto":
        return value
    if not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in parse_size(value)):
        raise ValueError(
            f"'auto' or WIDTHxHEIGHT is needed, both from {MIN_SIDE_PX} to {MAX_SIDE_PX}"
        )
    return value


SizeText = Annotated[str, Field(max_length=MAX_SIZE), AfterValidator(_checked_size)]


class Drawing(Bounded):
    """Fields of generations and edits. Others, as OpenAI's `quality`, have no effect."""

    model_config = ConfigDict(extra="allow")  # to name them in the answer

    # Needed but where a subject comes into a photograph, or something goes; see `requests_of`.
    prompt: str = described(PersonalizeRequest, "prompt", "", max_length=MAX_PROMPT)
    model: str | None = Field(None, max_length=200)
    n: int = Field(1, ge=1, le=MAX_PICTURES)
    size: SizeText = described(PersonalizeRequest, "size_px", "auto")
    seed: int | None = described(PersonalizeRequest, "seeds", None, ge=0, le=MAX_SEED)
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int | None = Field(None, ge=0, le=100)
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="'url' is a data: URL, the default of models named dall-e, as OpenAI's."
    )
    stream: bool = False
    partial_images: int = Field(0, ge=0, le=3)
    user: str = Field("", max_length=200)
    negative_prompt: str = described(
        PersonalizeRequest, "negative_prompt", "", max_length=MAX_PROMPT
    )
    swiftpie: OwnFields = OwnFields()

    @field_validator("swiftpie", mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        """Read JSON, which forms carry as text."""
        if not isinstance(value, str):
            return value
        try:
            return read_json(value.encode())
        except RequestError as error:
            raise ValueError(f"{error}") from None

    @property
    def without_effect(self) -> list[str]:
        """The names of fields that were sent and change nothing."""
        return sorted(name[:MAX_NAME] for name in self.model_extra or ())

    @property
    def wants_url(self) -> bool:
        """Whether pictures shall come as data URLs."""
        usual = "url" if (self.model or "").startswith("dall-e") else "b64_json"
        return (self.response_format or usual) == "url"

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Height and width, None for the model's own."""
        return None if self.size == "auto" else parse_size(self.size)


class Rename(Strict):
    """A new name for an identity."""

    name: str = Field(max_length=MAX_NAME)


class ImageIn(Bounded):
    """A picture inside of JSON; addresses are never fetched."""

    image_url: str = Field(description="data:image/…;base64,…", max_length=MAX_IMAGE_LETTERS)


class EditBody(Drawing):
    """An edit with its pictures in JSON."""

    images: list[ImageIn] = Field(min_length=1, max_length=MAX_IMAGES)
    mask: ImageIn | None = None


class LiveDraw(Drawing):
    """One drawing over a live connection; the newest replaces those that wait."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["draw", "edit"]
    id: int
    n: Literal[1] = 1
    seed: int = Field(0, ge=0, le=MAX_SEED)
    picture_id: str = Field("", max_length=64)
    mask_id: str = Field("", max_length=64)
    output_format: Literal["png", "jpeg", "webp"] = "jpeg"


def read_json(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return what a text in JSON says; very many or deep values are refused before any is made."""
    plain = data.replace(rb"\\", b"").replace(rb"\"", b"")
    if plain.count(b'"') <= 4 * MAX_PARTS:
        plain = b"".join(plain.split(b'"')[::2])  # without texts
    signs = plain.translate(None, NO_SIGNS)
    if len(signs) > MAX_PARTS or plain.count(b'"') or LONG_NUMBER.search(plain):
        raise RequestError(
            f"The JSON has more than {MAX_PARTS} commas and brackets, or numbers of 400 digits. "
            "Send less.",
            code="invalid_value",
        )
    depths = accumulate((sign in b"[{") - (sign in b"]}") for sign in signs)
    if max(depths, default=0) > MAX_DEPTH:
        message = f"The JSON has brackets in more than {MAX_DEPTH} others. Send fewer."
        raise RequestError(message, code="invalid_value")
    try:
        return from_json(data.removeprefix(BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(
            f"The body is not valid JSON: {error}. Send JSON in UTF-8, as a library writes it.",
            code="invalid_json",
        ) from None


def bytes_of_base64(text: str) -> bytes:
    """Return what base64 of any alphabet says, with or without padding, or binascii.Error."""
    plain = text.translate(PLAIN_BASE64).strip().rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def bytes_of_url(url: str, *, param: str) -> bytes:
    head, _, text = url.partition(",")
    try:
        if DATA_URL.fullmatch(head):
            return bytes_of_base64(text)
    except binascii.Error:
        pass  # refused as any other text below
    message = (
        f"'{param}' is not a data URL with a picture in base64. Addresses are never fetched. Send "
        "data:image/png;base64,… or use a form."
    )
    raise RequestError(message, code="invalid_image_url", param=param)
