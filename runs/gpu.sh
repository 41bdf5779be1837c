#!/usr/bin/env bash
# Train a recipe on one GPU for some minutes; keep its weights in files of at most 15 MiB.
#
#   runs/gpu.sh MINUTES RECIPE [option of `swiftpie train`]...
#   runs/gpu.sh 8 world-scene --set stage.size_px=512 --set stage.batch_size=16
#
# The same command continues a run that stopped or was killed, from its state in build/gpu. On another
# machine, `cat weights.tar.* | tar x -C before` and `--set stage.start=before/export` go on from the
# averaged weights. Python packages that the machine lacks are read from wheels in .whl. DEVICE is cuda
# by default, BUILD is build/gpu and OUT is its folder out: it receives log.txt, metrics.jsonl,
# samples.png and weights.tar.* each minute, so that a killed run leaves its latest ones. The learning
# rate ends with the time. MINUTES may have a fraction. `runs/gpu_all.sh` runs several side by side.
set -Eeuo pipefail

readonly MAX_PART=15m PACK_EVERY_S=60 SPARE_S=30

minutes="${1:?runs/gpu.sh MINUTES RECIPE}" recipe="${2:?runs/gpu.sh MINUTES RECIPE}"
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
device="${DEVICE:-cuda}" root="$(realpath -m "${BUILD:-build/gpu}")"
out="$(realpath -m "${OUT:-$root/out}")"
run="$root/${recipe//-/_}"
mkdir -p "$out"

if compgen -G ".whl/*.whl" >/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$root/site" .whl/*.whl
fi
# The lab is not installed here: this is how `swiftpie` finds its commands.
mkdir -p "$root/site/swiftpie_lab-0.dist-info"
printf 'Name: swiftpie-lab\nVersion: 0\n' >"$root/site/swiftpie_lab-0.dist-info/METADATA"
printf '[swiftpie.commands]\nlab = swiftpie_lab.cli:app\n' >"$root/site/swiftpie_lab-0.dist-info/entry_points.txt"
export PYTHONPATH="$root/site:$PWD/src" PYTHONUNBUFFERED=1

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
  while sleep "$PACK_EVERY_S" && kill -0 $$ 2>/dev/null; do
    pack
  done
}

pack_now_and_then &
packer=$!
trap 'kill "$packer" 2>/dev/null || true; wait "$packer" 2>/dev/null || true; pack' EXIT

limit_s="$(awk "BEGIN { print int($minutes * 60) - $SPARE_S - $SECONDS }")"
python3 -m swiftpie train "$recipe" --device "$device" --out "$root" --time-limit "${limit_s}s" \
  --set loop.steps=1000000 --set loop.decays_by_time=true "$@" 2>&1 |
  tee -a "$out/log.txt"
