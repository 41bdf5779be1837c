#!/usr/bin/env bash
# Train a recipe on one GPU for some minutes; keep its weights in files of at most 15 MiB.
#
#   runs/gpu.sh MINUTES RECIPE [option of `swiftpie train`]...
#   runs/gpu.sh 8 world-scene --set stage.size_px=512 --set stage.batch_size=16
#
# The same command continues a run that stopped, was killed, or ran on another day: it starts from the
# state in build/gpu, or else from the weights in WEIGHTS. Python packages that the machine lacks are
# read from wheels in .whl. DEVICE is cuda by default, OUT is build/gpu/out.
#
# OUT receives log.txt, metrics.jsonl, samples.png and weights.tar.* while the run goes on, so that a
# killed run leaves its latest ones. `cat weights.tar.* | tar x` unpacks a folder that
# `swiftpie draw --weights` and `--set stage.start=` accept.
set -Eeuo pipefail

readonly MAX_PART=15m PACK_EVERY_S=60 SPARE_S=30

minutes="${1:?runs/gpu.sh MINUTES RECIPE}" recipe="${2:?runs/gpu.sh MINUTES RECIPE}"
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
device="${DEVICE:-cuda}" out="$(realpath -m "${OUT:-build/gpu/out}")" root="build/gpu"
run="$root/${recipe//-/_}"
mkdir -p "$out"

if compgen -G ".whl/*.whl" >/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --upgrade --target "$root/site" .whl/*.whl
fi
export PYTHONPATH="$PWD/$root/site:$PWD/src" PYTHONUNBUFFERED=1

# Parts are written beside the old ones and then renamed: OUT holds one whole set at any time but
# for an instant.
pack() {
  local parts
  cp "$run"/{metrics.jsonl,samples.png} "$out" 2>/dev/null || true
  [[ -d "$run/export" ]] || return 0
  parts="$(mktemp -d "$root/parts.XXXX")"
  tar c -C "$run" export | split -b "$MAX_PART" - "$parts/weights.tar."
  rm -f "$out"/weights.tar.*
  mv "$parts"/* "$out"
  rmdir "$parts"
}

pack_now_and_then() {
  while sleep "$PACK_EVERY_S"; do
    pack
  done
}

pack_now_and_then &
packer=$!
trap 'kill "$packer" 2>/dev/null || true; wait "$packer" 2>/dev/null || true; pack' EXIT

python3 -m swiftpie train "$recipe" --device "$device" --out "$root" \
  --data src/swiftpie/assets/library/subjects.zip \
  --time-limit "$((minutes * 60 - SPARE_S))s" --set loop.max_file_mib=15 "$@" 2>&1 |
  tee -a "$out/log.txt"
