"""Networks of the optional library rembg, which find subjects in photographs."""

import functools
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swiftpie.errors import ConfigError, MissingExtra, WeightsError, did_you_mean, short_reason

if TYPE_CHECKING:
    from PIL import Image

DEFAULT = "birefnet-general"


class RembgModel(NamedTuple):
    """One network, whose licence is not that of the library."""

    name: str  # as rembg has it
    licence: str  # as its authors state it
    is_commercial: bool = True


_BIREFNET = "MIT (BiRefNet)"
_U2NET = "Apache-2.0 (U-2-Net)"
MODELS = (
    RembgModel(DEFAULT, _BIREFNET),
    RembgModel("birefnet-general-lite", _BIREFNET),
    RembgModel("birefnet-portrait", _BIREFNET),
    RembgModel("isnet-general-use", "Apache-2.0 (DIS)"),
    RembgModel("u2net", _U2NET),
    RembgModel("u2netp", _U2NET),
    RembgModel("bria-rmbg", "CC BY-NC 4.0 (BRIA RMBG-2.0)", is_commercial=False),
)
"""Models that run locally. Other models of the library send pictures to a service."""


def named(name: str) -> RembgModel:
    """Return the model `name`.

    Raises:
        ConfigError: There is none.
    """
    known = {model.name: model for model in MODELS}
    if name in known:
        return known[name]
    hint = did_you_mean(name, known, otherwise=f"One of {', '.join(known)} is needed.")
    raise ConfigError(f"rembg has no model {name!r} that computes on this machine. {hint}")


def find(photo: "Image.Image", name: str = DEFAULT) -> "Image.Image":
    """Return the mask, mode L and of the same size, of what stands in front in an RGB `photo`.

    Raises:
        MissingExtra: rembg is not installed.
        WeightsError: The model's file is not on this machine, or damaged.
    """
    return _session(name, locate(name)).predict(photo)[0].convert("L")


def locate(name: str = DEFAULT) -> Path:
    """Return the path of the model's file; nothing is fetched.

    Raises:
        ConfigError: There is no such model.
        MissingExtra: rembg is not installed.
        WeightsError: The file is not on this machine.
    """
    model, kind = named(name), _kind(name)
    path = kind.resolve_existing(f"{name}.onnx")
    if path is None:
        raise WeightsError(
            f"rembg's model {name!r} is not on this machine. It is needed as "
            f"'{Path(kind.model_dir()) / name}.onnx'. Let rembg fetch it: python -c \"from rembg "
            f'import new_session; new_session({name!r})". Its licence: {model.licence}.'
        )
    return Path(path)


@functools.lru_cache(maxsize=1)  # they take up to a gigabyte
def _session(name: str, path: Path) -> Any:  # noqa: ANN401 - the library has no types
    runtime, kind = importlib.import_module("onnxruntime"), _kind(name)

    class Here(kind):  # type: ignore[misc, valid-type]  # never fetches, whatever the library does
        @classmethod
        def download_models(cls, *_: object, **__: object) -> str:
            return str(path)

    try:
        return Here(name, runtime.SessionOptions(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises what pybind makes of it
        raise WeightsError(
            f"'{path}' is not the model {name!r} ({short_reason(error)}). The published file is "
            "needed. Remove it and get it again."
        ) from error


def _kind(name: str) -> Any:  # noqa: ANN401 - the library has no types
    """Return rembg's class of sessions with this model.

    Raises:
        MissingExtra: rembg, or onnxruntime, is not installed, or too old.
    """
    # Without onnxruntime, importing rembg ends the process.
    if any(importlib.util.find_spec(package) is None for package in ("onnxruntime", "rembg")):
        raise MissingExtra(
            'This cut-out needs rembg, which is not installed. Run: pip install "swiftpie[cutout]".'
        )
    kinds = importlib.import_module("rembg.sessions").sessions_class
    kind = next((kind for kind in kinds if kind.name() == name), None)
    if kind is None or not hasattr(kind, "resolve_existing"):
        raise MissingExtra(
            f"The installed rembg does not know the model {name!r}. A newer one is needed. Install "
            'it: pip install -U "swiftpie[cutout]".'
        )
    return kind
