#!/usr/bin/env bash
# Train several recipes side by side on one GPU; one that fails does not stop the others.
#
#   runs/gpu_all.sh MINUTES FILE
#
# Each line of FILE is a name, a recipe and options of `swiftpie train`, as runs/gpu.sh takes them:
#
#   scene world-scene --set stage.start=mini --set stage.size_px=512
#
# A job works in build/gpu/NAME. OUT, build/gpu/out by default, receives its log, figures, sheet and
# weights each half minute as NAME.tar.*, in files of at most 15 MiB: `cat NAME.tar.* | tar x`.
# The last lines of all logs are shown as often. The same command continues runs that stopped.
set -Eeuo pipefail

readonly MAX_PART=15m PACK_EVERY_S=30

minutes="${1:?runs/gpu_all.sh MINUTES FILE}" jobs="$(realpath "${2:?runs/gpu_all.sh MINUTES FILE}")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$(realpath -m build/gpu)"
out="$(realpath -m "${OUT:-$root/out}")"
mkdir -p "$out"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"

# Parts are written beside the old ones and then renamed, as runs/gpu.sh does.
pack() {
  local name parts
  for name in "${!running[@]}"; do
    parts="$(mktemp -d "$root/parts.XXXX")"
    # A file that its run replaces at this moment is packed the next time.
    tar c --ignore-failed-read --warning=no-file-changed -C "$root/$name/out" . |
      split -b "$MAX_PART" - "$parts/$name.tar." || true
    rm -f "$out/$name".tar.*
    mv "$parts/$name".tar.* "$out" || true
    rm -rf "$parts"
  done
}

show() {
  local name
  echo "--- $SECONDS s"
  for name in "${!running[@]}"; do
    echo "$name: $(tail -n 1 "$root/$name/out/log.txt" 2>/dev/null | cut -c1-400)"
  done
}

declare -A running=()
while read -r name recipe options; do
  [[ -n "$name" && "$name" != "#"* ]] || continue
  mkdir -p "$root/$name/out"
  # shellcheck disable=SC2086 # options are words
  BUILD="$root/$name" OUT="$root/$name/out" runs/gpu.sh "$minutes" "$recipe" $options \
    >"$root/$name/output.txt" 2>&1 </dev/null &
  running[$name]=$!
done <"$jobs"
trap 'kill "${running[@]}" 2>/dev/null || true' EXIT

next="$PACK_EVERY_S"
while [[ -n "$(jobs -rp)" ]]; do
  sleep 2
  ((SECONDS >= next)) || continue
  next="$((SECONDS + PACK_EVERY_S))"
  show
  pack
done

failed=0
for name in "${!running[@]}"; do
  wait "${running[$name]}" || {
    failed=1
    echo "=== $name failed:"
    tail -n 15 "$root/$name/output.txt"
  }
done
show
pack
exit "$failed"
