#!/usr/bin/env bash
# Train all weights of the package from nothing: about 25 core hours (docs/training.md).
#
#   runs/speedrun.sh [FOLDER]             # runs/speedrun by default; the same command goes on
#   SHARE=0.001 runs/speedrun.sh FOLDER   # a rehearsal with a share of the steps
#   DATA=subjects.zip PYTHON=.venv/bin/python runs/speedrun.sh
#
# FOLDER/package holds the weights in the end, laid out as src/ is.
set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder="${1:-runs/speedrun}" share="${SHARE:-1}" python="${PYTHON:-python3}"
data="${DATA:-src/swiftpie/assets/library/subjects.zip}"

# train NAME RECIPE STEPS [--set A.B=C]...: a run that is done is passed over, one that stopped goes on.
train() {
  local name="$1" recipe="$2" steps="$3" subjects=(--data "$data")
  shift 3
  [[ "$recipe" == world-scene ]] && subjects=()
  steps="$(awk "BEGIN { n = int($steps * $share + .5); print n < 1 ? 1 : n }")"
  echo "== $name: $recipe, $steps steps"
  "$python" -m swiftpie train "$recipe" --out "$folder/$name" "${subjects[@]}" \
    --set loop.steps="$steps" "$@"
}

# export_of NAME: the folder that the run's weights are in.
export_of() {
  echo "$folder/$1"/*/export
}

ship() {
  local source target="$folder/package/$2" part
  source="$(export_of "$1")"
  shift 2
  mkdir -p "$target"
  for part in "$@"; do
    rm -rf "${target:?}/$part"
    cp -r "$source/$part" "$target/$part"
  done
}

train autoencoder world-autoencoder 2300 --set stage.start=
train model_128 mini-world 8500 --set stage.autoencoder="$(export_of autoencoder)"
train light world-light 2550 --set stage.start="$(export_of model_128)"
train model_256 mini-world 500 --set stage.start="$(export_of light)" --set stage.size_px=256
train model_both mini-world 360 --set stage.start="$(export_of model_256)" --set stage.grown_share=0.35
train sharpening world-sharpening 400 --set stage.model.start="$(export_of model_both)" \
  --set stage.model.grown_share=0.45
train renditions world-sharpening 325 --set stage.model.start="$(export_of sharpening)" \
  --set stage.model.grown_share=0.75 --set stage.model.shares.rendition=0.42 \
  --set stage.model.shares.accessory=0.38 --set stage.model.shares.look=0.34
train semantic world-semantic 1330 --set stage.start="$(export_of renditions)"
train semantic_sharpening world-semantic-sharpening 530 --set stage.model.start="$(export_of semantic)"
train layout world-layout 1200 --set stage.start="$(export_of semantic_sharpening)"
train scene world-scene 16000 --set stage.autoencoder="$(export_of autoencoder)"
train judges world-judges 7100

ship layout swiftpie/assets/mini \
  autoencoder denoiser image_encoder layout_predictor text_encoder tokenizer
ship scene swiftpie/assets scene
ship judges swiftpie_lab/assets/judges subject_embedder picture_reader
echo "the weights are in $folder/package; copy its folders over those of src/, then judge them:"
echo "swiftpie evaluate world --scenes words --cases 8 --weights $folder/package/swiftpie/assets/mini"
