"""SwiftPie in ComfyUI: this folder belongs into `custom_nodes`; see README.md beside it."""

from .nodes import comfy_entrypoint  # noqa: TID252 - ComfyUI gives this folder a name of its own

__all__ = ["comfy_entrypoint"]
