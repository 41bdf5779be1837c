#!/usr/bin/env bash
# Measure speed on one GPU in SECONDS (140 by default; all figures take up to 560), SD2.1 first.
#
#   runs/gpu_speed.sh [SECONDS]
#   DEVICE=cpu runs/gpu_speed.sh 600      # a rehearsal, with tiny networks in every place
#
# Each figure is shown as soon as it is known, and kept in OUT/speed.txt. OUT is build/gpu/out and
# DEVICE is cuda by default. Weights at full size are random. Packages come from .whl, as for gpu.sh.
set -Eeuo pipefail

total_s="${1:-140}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
device="${DEVICE:-cuda}" root="$(realpath -m build/gpu/speed)"
out="$(realpath -m "${OUT:-build/gpu/out}")"
mkdir -p "$out" "$root"
if compgen -G ".whl/*.whl" >/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$root/site" .whl/*.whl
fi
export PYTHONPATH="$root/site:$PWD/src:$PWD" PYTHONUNBUFFERED=1
memory=/dev/shm
(($(df --output=avail -BG "$memory" 2>/dev/null | tail -n 1 | tr -dc 0-9) > 20)) || memory="$root"
made="$memory/swiftpie-speed"
trap 'rm -rf "$made"' EXIT

# measure NAME MOST_SECONDS MODULE [OPTION]...
measure() {
  local name="$1" most="$2" left="$((total_s - SECONDS))"
  shift 2
  ((left > 10)) || return 0
  echo "=== $name, after $SECONDS s"
  timeout -k 2 "$((left < most ? left : most))" python3 -m "$@" --device "$device" >"$root/$name.json" ||
    echo "$name stopped or failed"
  if [[ -s "$root/$name.json" ]]; then cp "$root/$name.json" "$out"; fi
}

# write FAMILY: the weights that `peers` reads from then on
write() {
  family="$1"
  if [[ "$device" == cpu ]]; then family=rehearsal; fi
  rm -rf "$made"
  ((total_s - SECONDS > 10)) || return 0
  python3 -m benchmarks._models "$family" bfloat16 "$made" || echo "$1 was not written"
}

# peers NAME SIDE MOST_SECONDS ENGINES [OPTION]...
peers() {
  local name="$1" side="$2" most="$3" engines="$4"
  shift 4
  if [[ "$device" == cpu ]]; then side=64; fi
  measure "$name" "$most" benchmarks.peers --family "$family" --side-px "$side" \
    --engines "$engines" --rounds 9 --no-openvino-peer --made "$made" --folder "$memory" "$@"
}

{
  write sd21
  peers sd21 512 60 eager
  peers sd21-8-pictures 512 60 eager --no-edit --pictures 8
  peers sd21-compiled 512 150 compile --compile --no-edit
  peers sd21-compiled-8-pictures 512 120 compile --compile --no-edit --pictures 8
  write sdxl
  peers sdxl 512 60 eager --no-edit
  peers sdxl-1024 1024 120 eager,compile --compile --no-edit
  write klein
  peers klein 512 90 eager --no-edit
  measure mini 60 benchmarks.mini_speed --engines compile --repeats 9 --cases 0
} 2>&1 | tee "$out/speed.txt"
