"""SwiftPie in ComfyUI: this folder belongs into `custom_nodes`; see its README.md."""

from .nodes import comfy_entrypoint  # noqa: TID252 - ComfyUI gives this folder a name of its own

__all__ = ["comfy_entrypoint"]
