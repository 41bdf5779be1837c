"""A picture and a sentence to the edited picture, called as a diffusers pipeline."""

from swiftpie.backbones.components import Components
from swiftpie.pipelines.denoise import OnStep
from swiftpie.pipelines.edit import EditResult, carry_out, plan_edit
from swiftpie.pipelines.hub.base import ModulesPipeline
from swiftpie.pipelines.hub.calling import SwiftPiePipelineOutput, check_shared, spelled_as
from swiftpie.pipelines.hub.edit_call import (
    OUTPUT_TYPES,
    Edit,
    EditCall,
    as_output,
    read_mask,
    split,
)
from swiftpie.pipelines.hub.pictures import to_picture


class SwiftEditPipeline(ModulesPipeline):
    """Changes pictures by text in one step and leaves the rest alone (arXiv:2412.04301)."""

    @spelled_as(EditCall)
    def __call__(self, call: EditCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Edit one picture for each prompt; see `EditCall` for the arguments.

        Raises:
            CapabilityError: The preset has no inversion network or no image encoder.
            InputError: Something is missing, does not fit, or cannot be honoured.
        """
        components = self.to_components()
        components.inverter()
        check_shared(call, components, self._callback_tensor_inputs, output_types=OUTPUT_TYPES)
        edits = split(call)
        return self._answer(call, lambda: self._edit_all(call, edits, components))

    def _edit_all(
        self, call: EditCall, edits: list[Edit], components: Components
    ) -> SwiftPiePipelineOutput:
        with self.progress_bar(total=len(edits) * len(components.schedule.steps)) as bar:
            on_step = self._on_step(call, bar.update)
            return as_output([self._edit(call, one, components, on_step) for one in edits], call)

    def _edit(
        self, call: EditCall, one: Edit, components: Components, on_step: OnStep
    ) -> EditResult:
        picture = to_picture(one.image)
        self._wake("text_encoder", "vae", "unet")
        planned = plan_edit(
            components,
            picture,
            one.prompt,
            source_prompt=one.source_prompt,
            keyword=call.keyword,
            mask=call.box if one.mask_image is None else read_mask(one.mask_image, picture.size),
            identity=call.identity,
            settings=call.settings(one.seed, components.preset),
        )
        self._stop_if_asked()
        return carry_out(components, planned, on_step=on_step)
