#!/usr/bin/env bash
# Download the validation and test pictures of Open Images that have masks, with captions, for an adapter.
#
#   runs/open_images.sh PHOTOS
#
# Pictures are listed as CC BY 2.0, masks and captions are CC BY 4.0 (docs/training.md). What is there
# already is not downloaded again. The downloads stay in PHOTOS.raw, where hard links lead to.
set -Eeuo pipefail

folder="$(realpath -m "${1:?runs/open_images.sh PHOTOS}")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
raw="$folder.raw"
v5=https://storage.googleapis.com/openimages/v5
narratives=https://storage.googleapis.com/localized-narratives/annotations
mkdir -p "$raw/images" "$raw/masks"

get() { wget -c -nv -P "$raw" "$@"; }

get "$v5/class-descriptions-boxable.csv"
for split in validation test; do
  get "$v5/$split-annotations-object-segmentation.csv" "$narratives/open_images_${split}_captions.jsonl"
  for part in {0..9} {a..f}; do
    get "$v5/$split-masks/$split-masks-$part.zip"
    unzip -nqd "$raw/masks" "$raw/$split-masks-$part.zip"
  done
  tail -n +2 "$raw/$split-annotations-object-segmentation.csv" | cut -d, -f2 | sort -u |
    sed "s|.*|https://open-images-dataset.s3.amazonaws.com/$split/&.jpg|" |
    xargs -n 50 -P 16 wget -c -nv -P "$raw/images" || true # a picture that is gone is left out
done
"${PYTHON:-python3}" -m swiftpie_lab.data.open_images "$raw" "$folder"
