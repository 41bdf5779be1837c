"""Mini, the model inside the package: 256 px, one step, trained on drawn places and photographs."""

from swiftpie.backbones.components import Family
from swiftpie.backbones.presets import read_presets
from swiftpie.registry import later

PRESETS = read_presets("preset.toml", "swiftpie.mini")
MINI = PRESETS["mini"]

NETWORKS = "swiftpie.mini.networks"


class Tiny(Family):
    """A U-Net of two levels with both branches inside, trained together with all the others."""

    name = "tiny"
    needs_even_grid = True  # its two levels, and the blocks of noise that its layout reads
    edits_by_words = shows_own_pixels = sees_what_stays = True
    # Every seed shows the subject's own pixels, so how like it they are decides by chance.
    ranks_by = ("place_score",)
    own_modules = (
        *("text_encoder", "image_encoder", "vae", "unet", "layout_predictor", "tokenizer"),
        "inversion_unet",
    )
    named_besides = staticmethod(later("swiftpie.places.reading:named_besides"))
    name_of_file = staticmethod(later("swiftpie.lexicon:name_of_file"))
    picture_size = staticmethod(later("swiftpie.places.placing:picture_size"))
    taught = staticmethod(later("swiftpie.places.reading:taught"))
    accounts = staticmethod(later("swiftpie.places.placing:all_accounts"))
    graph_inputs = staticmethod(later("swiftpie.mini.layout_predictor:graph_inputs"))
    graph_place = staticmethod(later("swiftpie.mini.layout_predictor:graph_place"))
    graph_outputs = staticmethod(later("swiftpie.mini.layout_predictor:graph_outputs"))
    place = staticmethod(later("swiftpie.mini.layout_predictor:place_subjects"))
    load = staticmethod(later(f"{NETWORKS}:load"))
    techniques = staticmethod(later(f"{NETWORKS}:techniques"))
    advice = staticmethod(later(f"{NETWORKS}:advice"))
    check_dtype = staticmethod(later(f"{NETWORKS}:check_dtype"))
    to_modules = staticmethod(later(f"{NETWORKS}:to_modules"))
    read_own = staticmethod(later(f"{NETWORKS}:read_own"))
    from_modules = staticmethod(later(f"{NETWORKS}:from_modules"))


FAMILY = Tiny()
