"""`swiftpie push` and `swiftpie pull`: adapters and identities in repositories, with a card."""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftpie.apps.cli import options
from swiftpie.apps.cli.console import examples, print_json, say
from swiftpie.apps.cli.fetch import DryRun
from swiftpie.apps.cli.loading import confirm_download, print_download
from swiftpie.backbones.presets import PRESETS, SD15_BASE, SD21_BASE, SDXL_BASE, Capability, Preset
from swiftpie.errors import ConfigError, InputError, WeightsError, short_reason

if TYPE_CHECKING:
    from swiftpie.backbones.acquire.download import DownloadPlan
    from swiftpie.backbones.hub import RepoListing, RepoReference

CARD = "README.md"
KINDS = (".safetensors", ".spid")  # of files that are pushed and pulled
BASES = {"sd15": SD15_BASE, "sd21": SD21_BASE, "sdxl": SDXL_BASE}
MAX_SHOWN = 60  # letters of a refused name
UNKNOWN = "unknown"  # the hub's word for a licence that is not stated
VISIBLE_TO = {True: "you and people you choose", False: "everyone, for good: copies stay"}

Repository = Annotated[
    str, typer.Argument(metavar="OWNER/REPO", help="A repository on the hub.", show_default=False)
]
app = typer.Typer()


@dataclass(frozen=True)
class Upload:
    """A file to publish, with facts from its content."""

    name: str  # in the repository
    content: Path | bytes
    kind: str  # adapter or identity
    facts: dict[str, str]
    base_models: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @property
    def sha256(self) -> str:
        """Of the content, hexadecimal."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        with self.content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@app.command(
    epilog=examples(
        "swiftpie push runs/adapter/export/adapter.safetensors me/my-adapter --licence openrail++",
        "swiftpie push dog.spid me/my-dog --private",
        "swiftpie push dog.spid me/my-dog --dry-run --json",
    )
)
def push(
    *,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE_OR_DIR",
            help="An adapter or an identity file, or a folder of some.",
            show_default=False,
        ),
    ],
    repository: Repository,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository, if it is new, a private one.")
    ] = False,
    licence: Annotated[
        str,
        typer.Option(metavar="ID", help="Of what is published, as the hub calls it: apache-2.0."),
    ] = UNKNOWN,
    with_pictures: Annotated[
        bool,
        typer.Option("--with-pictures", help="Publish the photographs in identity files as well."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Publish without asking first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be published, and publish nothing.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Publish adapters and identities with a model card, after reporting what becomes public.

    Identity files hold the cut-out photographs of their subject, which stay out unless
    --with-pictures is given. A card that is there already is kept.
    """
    _check_name(repository)
    uploads = [_inspect(path, with_pictures=with_pictures) for path in _files_in(source)]
    present = _present(repository)
    files = {upload.name: upload.content for upload in uploads}
    if present is None or CARD not in present.files:
        files[CARD] = card_of(uploads, repository, licence).encode()
    facts = {
        "repository": repository,
        "is_new": present is None,
        "private": private,
        "licence": licence,
        "files": [
            {
                "path": upload.name,
                "kind": upload.kind,
                "bytes": upload.size,
                "sha256": upload.sha256,
            }
            | {"replaces": present is not None and upload.name in present.files}
            for upload in uploads
        ],
        "writes_card": CARD in files,
        "warnings": [text for upload in uploads for text in upload.warnings],
    }
    _tell_plan(facts)
    if not dry_run:
        _agree(yes=yes)
        facts["commit"] = _upload(repository, files, is_new=present is None, private=private)
        say(
            f"pushed {len(uploads)} files to {repository}; get them by `swiftpie pull {repository}`"
        )
    if as_json:
        print_json(facts)


@app.command(
    epilog=examples(
        "swiftpie pull me/my-dog",
        "swiftpie pull me/my-dog:dog.spid@v1 -o subjects --force",
        "swiftpie pull me/my-adapter --dry-run --json",
    )
)
def pull(
    *,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="OWNER/REPO[:FILE][@REVISION]",
            help="A repository on the hub, or one file of it.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the files.")
    ] = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Download without asking first.")] = False,
    dry_run: DryRun = False,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Download published adapters and identities, and compare them with published checksums.

    Only safetensors and identity files are downloaded, and each is checked before it is moved to
    its place; pickles are refused.
    """
    from swiftpie.imageio.atomic import check_target, make_folder

    needs = _wanted(reference)
    (part,) = needs.parts
    targets = {name: out / PurePosixPath(name).name for name in part.names}
    if out.is_dir():
        for target in targets.values():
            check_target(target, force=force)
    if dry_run:
        print_download(needs)
    else:
        confirm_download(needs, yes=yes)
        needs.fetch()
        kinds = {
            target: _inspect(part.root / target, with_pictures=True).kind for target in targets
        }
        make_folder(out)
        for name, target in targets.items():
            _put(part.root / name, target, force=force)
            say(f"wrote {target} ({kinds[name]})")
    if as_json:
        paths = {name: str(target) for name, target in targets.items()}
        print_json({"files": paths, "is_fetched": not dry_run})


def card_of(uploads: Sequence[Upload], repository: str, licence: str) -> str:
    """Return a model card of the files: front matter, facts and commands."""
    from huggingface_hub import ModelCardData

    bases = sorted({base for upload in uploads for base in upload.base_models})
    kinds = sorted({upload.kind for upload in uploads})
    tags = ["swiftpie", *kinds, *(["ip-adapter"] if "adapter" in kinds else []), "safetensors"]
    head = ModelCardData(
        license=licence,
        library_name="swiftpie",
        base_model=bases or None,
        pipeline_tag="text-to-image",
        tags=tags,
    ).to_yaml()
    lines = ["---", head, "---", "", f"# {repository.partition('/')[2]}", ""]
    for upload in uploads:
        rows = upload.facts | {"bytes": str(upload.size), "sha256": upload.sha256}
        lines += [f"## `{upload.name}` ({upload.kind})", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in rows.items()]
        lines += ["", "```bash", *_use(upload, repository), "```", ""]
    lines.append("Made with [SwiftPie](https://github.com/swiftpie/swiftpie).")
    return "\n".join(lines) + "\n"


def _use(one: Upload, repository: str) -> list[str]:
    if one.kind == "identity":
        return [
            f"swiftpie pull {repository}:{one.name}",
            f'swiftpie personalize {one.name} "in the snow" -o snow.png '
            f"--preset {one.facts['preset']}",
        ]
    return [
        f'swiftpie personalize dog.jpg "a dog in the snow" -o snow.png '
        f"--adapter {repository}:{one.name}"
    ]


def without_pictures(path: Path) -> bytes:
    """Return an identity file with grey photographs; outlines and features stay."""
    import torch
    from safetensors.torch import save

    from swiftpie.backbones.load.safe import read_metadata, read_tensors

    tensors = read_tensors(path)
    tensors["pixels"] = torch.zeros_like(tensors["pixels"])
    return save(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, read_metadata(path)
    )


def _files_in(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.iterdir() if path.suffix in KINDS and path.is_file())
    if not found:
        raise InputError(
            f"There are no adapters or identities in '{source}'. A folder with files that end in "
            f"{' or '.join(KINDS)} is needed. Name the file."
        )
    return found


def _inspect(path: Path, *, with_pictures: bool) -> Upload:
    """Return the kind and facts of a file, from its content.

    Raises:
        WeightsError: It is a pickle, or damaged.
        InputError: It is something else.
    """
    from swiftpie.backbones.load.safe import METADATA, check_kind, check_safetensors, kind_of_file

    check_kind(kind_of_file(path), path, allow_pickle=False)
    header = check_safetensors(path)
    stated = header.get(METADATA, {}).get("swiftpie", "{}")
    try:
        written = str(json.loads(stated)["format"])
    except (ValueError, LookupError, TypeError, RecursionError):
        written = ""
    if written.startswith("swiftpie-identity/"):
        return _identity(path, with_pictures=with_pictures)
    return _adapter(path, header)


def _adapter(path: Path, header: dict[str, Any]) -> Upload:
    from swiftpie.backbones.adapters import peek_adapter

    opened, projector = peek_adapter(path, header)
    facts = {"layout": "SwiftPie" if opened.settings else "IP-Adapter"}
    bases: tuple[str, ...] = ()
    if opened.settings is not None:
        settings = opened.settings
        facts["family"] = settings.family
        facts["blocks"] = ", ".join(sorted(map(str, settings.plan.semantic)))
        facts["detail"] = ", ".join(sorted(map(str, settings.plan.detail))) or "none"
        bases = (BASES[settings.family],) if settings.family in BASES else ()
    facts["token width"] = str(opened.plan.token_width)
    facts["image features"] = f"{projector.feature}, {projector.feature_width} wide"
    return Upload(path.name, path, "adapter", facts, bases)


def _identity(path: Path, *, with_pictures: bool) -> Upload:
    from swiftpie.pipelines.identity_file import read_identity_header

    header = read_identity_header(path)
    preset = PRESETS.get(header.preset) if header.preset in PRESETS.names() else None
    if not with_pictures:
        _check_does_without(path, preset)
    stripped = path if with_pictures else without_pictures(path)
    facts = {
        "preset": header.preset,
        "fingerprint": header.fingerprint,
        "references": str(header.num_references),
        "tokens": str(header.num_tokens),
        "photographs": "in it" if with_pictures else "left out",
    }
    note = (
        f"{path.name} holds {header.num_references} cut-out photographs of its subject."
        if with_pictures
        else f"{path.name} goes without its photographs; the outline of the subject and what the "
        "networks read of it stay, and draw it."
    )
    bases = () if preset is None or preset.repository is None else (preset.repository,)
    return Upload(path.name, stripped, "identity", facts, bases, (note,))


def _check_does_without(path: Path, preset: Preset | None) -> None:
    if preset is None or Capability.LAYOUT in preset.capabilities:
        why = "is not known here" if preset is None else "draws from the photograph itself"
        raise InputError(
            f"'{path}' is of a preset that {why}, so it may be useless without its photographs. "
            "Add --with-pictures to publish them too."
        )


def _check_name(repository: str) -> None:
    from swiftpie.backbones.hub import Host, RepoReference, parse_reference

    if parse_reference(repository) != RepoReference(repository, host=Host.HUB):
        raise ConfigError(
            f"{short_reason(repository)!r} names no repository. OWNER/REPO on the hub is needed, "
            "as me/my-dog."
        )


def _present(repository: str) -> "RepoListing | None":
    """Return what the repository holds; None if it is new.

    Raises:
        ConfigError: There is no token.
        WeightsError: The hub does not answer.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    from swiftpie.backbones.hub import RepoReference, explain, list_files, transport_error

    if get_token() is None:
        raise ConfigError(
            "There is no token for the hub. One with write access is needed. Run `hf auth login`."
        )
    try:
        return list_files(RepoReference(repository))
    except RepositoryNotFoundError:
        return None
    except (OSError, transport_error()) as error:
        raise WeightsError(explain(RepoReference(repository), "repository", error)) from error


def _tell_plan(facts: dict[str, Any]) -> None:
    from swiftpie.backbones.acquire.download import as_size

    where = "a new repository" if facts["is_new"] else "existing; its visibility stays"
    say(f"to {facts['repository']} ({where}):")
    for file in facts["files"]:
        note = " (replaces the one there)" if file["replaces"] else ""
        say(f"  {as_size(file['bytes']):>9}  {file['path']}{note}")
    if facts["writes_card"]:
        say(f"             {CARD}, a model card")
    if facts["is_new"]:
        say(f"visible to: {VISIBLE_TO[facts['private']]}")
    if facts["licence"] == UNKNOWN and facts["writes_card"]:
        say("licence: none stated, so nobody may use it. State one with --licence.")
    for text in facts["warnings"]:
        say(text)


def _agree(*, yes: bool) -> None:
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            "Without a terminal nobody can confirm that this is published. Add --yes to the same "
            "command."
        )
    typer.confirm("Publish it?", default=False, abort=True, err=True)


def _upload(repository: str, files: dict[str, Path | bytes], *, is_new: bool, private: bool) -> str:
    """Upload all files in one commit and return its name.

    Raises:
        WeightsError: The hub refuses, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from swiftpie.backbones.hub import transport_error

    api = HfApi(library_name="swiftpie")
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        if is_new:
            api.create_repo(repository, private=private)
        message = f"Add {', '.join(sorted(files))}"
        made = api.create_commit(repository, operations, commit_message=message)
    except (OSError, ValueError, RuntimeError, transport_error()) as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        remedy = "Try again"
        if status in {401, 403}:
            remedy = "Run `hf auth login` with a token that may write there"
        reason = short_reason(error.__cause__ or error)  # uploads wrap what went wrong
        raise WeightsError(
            f"'{repository}' did not take the files ({reason}). A connection, and the right to "
            f"write, are needed. {remedy}."
        ) from error
    return str(made.oid)


def _wanted(text: str) -> "DownloadPlan":
    """Return what `pull` has to download.

    Raises:
        ConfigError: `text` names no repository.
        WeightsError: It holds no adapter or identity, or the hub does not answer.
    """
    from swiftpie.backbones.acquire.download import DownloadPlan, ModelPart
    from swiftpie.backbones.acquire.licences import licence_of
    from swiftpie.backbones.hub import (
        Host,
        explain,
        list_files,
        parse_reference,
        root_of,
        transport_error,
    )

    reference = parse_reference(text)
    if reference is None or reference.host is not Host.HUB:
        raise ConfigError(
            f"{short_reason(text)!r} names no repository. OWNER/REPO[:FILE][@REVISION] on the hub "
            "is needed."
        )
    try:
        listing = list_files(reference)
    except (OSError, transport_error()) as error:
        raise WeightsError(explain(reference, "reference", error)) from error
    names = _names_in(listing, reference)
    root = root_of(reference, listing)
    assert root is not None, "what is listed has a place"
    licence = licence_of(reference, listing.licence)
    files = tuple(listing.files[name] for name in names)
    part = ModelPart(
        "files",
        "reference",
        reference,
        root=root,
        path=root,
        names=names,
        listing=listing,
        files=files,
        licence=licence,
    )
    return DownloadPlan((part,))


def _names_in(listing: "RepoListing", reference: "RepoReference") -> tuple[str, ...]:
    """Return the files that `reference` names.

    Raises:
        WeightsError: There are none, or one has a name that could mislead.
    """
    if reference.path is not None:
        if PurePosixPath(reference.path).suffix not in KINDS:
            raise WeightsError(
                f"'{reference}' may run code when it is read, as pickles do, or holds no "
                f"weights. Files that end in {' or '.join(KINDS)} are pulled. Choose one of those."
            )
        names: tuple[str, ...] = (listing.find(reference.path).path,)
    else:
        names = tuple(
            file
            for file in sorted((*listing.files, *listing.unsafe))
            if PurePosixPath(file).suffix in KINDS and "/" not in file
        )
    for name in names:
        if name in listing.unsafe or PurePosixPath(name).name.startswith((".", "-")):
            raise WeightsError(
                f"The repository {reference.repository!r} names a file {_shown(name)}. Names of "
                "readable letters are needed, which begin with neither . nor -. Name another file "
                f"as {reference.repository}:FILE, or ask its publisher for another name."
            )
    if not names:
        raise WeightsError(
            f"The repository {reference.repository!r} holds no adapter and no identity beside its "
            f"card. Files that end in {' or '.join(KINDS)} are needed. Name one as "
            f"{reference.repository}:FILE if it is in a folder."
        )
    return names


def _shown(name: str) -> str:
    """Return a name with its hidden letters as escapes, cut."""
    return ascii(name) if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]!a}…"


def _put(source: Path, target: Path, *, force: bool) -> None:
    from swiftpie.imageio.atomic import atomic_file, check_target

    check_target(target, force=force)
    with atomic_file(target, force=force) as temporary:
        shutil.copyfile(source, temporary)
