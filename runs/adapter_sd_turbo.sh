#!/usr/bin/env bash
# Train both identity branches of SD-Turbo on pictures with captions, on one GPU of 24 GB.
#
#   runs/adapter_sd_turbo.sh PHOTOS [option of `swiftpie train`]...
#   runs/adapter_sd_turbo.sh PHOTOS --set stage.batch_size=2 --set loop.accumulate=2
#   RANDOM_WEIGHTS=FOLDER DEVICE=cpu runs/adapter_sd_turbo.sh PHOTOS    # random weights, written to FOLDER
#
# PHOTOS is a folder of folders of pictures, `NAME.jpg` with its caption in `NAME.txt`, such as
# `runs/open_images.sh` writes, or such as `tar -x` makes of WebDataset tars, one folder a tar. The
# published weights are fetched by name. The same command goes on after a stop or a kill, on the CPU
# bit for bit. After CHECK_AFTER (10m) of each start a sentence a branch says whether it learns, and the
# script ends with 1 if one does not. DEVICE is cuda, OUT is runs and STEPS is one pass over 50,000
# pictures. docs/training.md explains the settings.
set -Eeuo pipefail

photos="$(realpath "${1:?runs/adapter_sd_turbo.sh PHOTOS}")"
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out="$(realpath -m "${OUT:-runs}")" python="${PYTHON:-python3}"

weights=()
if [[ -n "${RANDOM_WEIGHTS:-}" ]]; then
  [[ -d "$RANDOM_WEIGHTS" ]] || "$python" -m benchmarks._models sd21 float16 "$RANDOM_WEIGHTS"
  weights=(--set stage.weights="$RANDOM_WEIGHTS/pipeline"
    --set stage.image_encoder="$RANDOM_WEIGHTS/image_encoder")
fi

# A new projector needs more than the recipe's rate: 1e-4, as IP-Adapter (arXiv:2308.06721).
# Without cross_view=0, the pictures of a folder are taken for views of one thing.
train() {
  "$python" -m swiftpie train adapter --device "${DEVICE:-cuda}" --out "$out" \
    --set stage.preset=sd-turbo --set stage.data="$photos" "${weights[@]}" \
    --set stage.cross_view=0 --set loop.steps="${STEPS:-12500}" \
    --set loop.learning_rates=1e-4,1e-4 "$@"
}

train --time-limit "${CHECK_AFTER:-10m}" "$@"
"$python" -m swiftpie_lab.training.stages.adapter.check "$out/adapter"
train "$@"
