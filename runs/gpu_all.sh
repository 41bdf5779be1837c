#!/usr/bin/env bash
# Train several recipes side by side on one GPU; one that fails does not stop the others.
#
#   runs/gpu_all.sh MINUTES FILE
#
# Each line of FILE is a name, a recipe and options of `swiftpie train`, as runs/gpu.sh takes them:
#
#   scene world-scene --set stage.start=mini --set stage.size_px=512
#
# A job works in build/gpu/NAME and writes into OUT/NAME what runs/gpu.sh writes; OUT is build/gpu/out
# by default. The last lines of all logs are shown each half minute. The same command continues runs
# that stopped.
set -Eeuo pipefail

readonly SHOW_EVERY_S=30

minutes="${1:?runs/gpu_all.sh MINUTES FILE}" jobs="$(realpath "${2:?runs/gpu_all.sh MINUTES FILE}")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$(realpath -m build/gpu)"
out="$(realpath -m "${OUT:-$root/out}")"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"

show() {
  local name
  echo "--- $SECONDS s"
  for name in "${!running[@]}"; do
    echo "$name: $(tail -n 1 "$out/$name/log.txt" 2>/dev/null | cut -c1-400)"
  done
}

declare -A running=()
while read -r name recipe options; do
  [[ -n "$name" && "$name" != "#"* ]] || continue
  mkdir -p "$root/$name" "$out/$name"
  # shellcheck disable=SC2086 # options are words
  BUILD="$root/$name" OUT="$out/$name" runs/gpu.sh "$minutes" "$recipe" $options \
    >"$root/$name/output.txt" 2>&1 </dev/null &
  running[$name]=$!
done <"$jobs"
trap 'kill "${running[@]}" 2>/dev/null || true' EXIT

next="$SHOW_EVERY_S"
while [[ -n "$(jobs -rp)" ]]; do
  sleep 2
  ((SECONDS >= next)) || continue
  next="$((SECONDS + SHOW_EVERY_S))"
  show
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
exit "$failed"
