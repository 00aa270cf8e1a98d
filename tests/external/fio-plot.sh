#!/usr/bin/env bash
# fio-plot draws Bireme's JSON: every kind of picture that it makes of JSON, without an error.
#
#     tests/external/fio-plot.sh [FOLDER]      pictures go to FOLDER, to be looked at
#
# It takes the depth and the number of jobs from the names of files: PATTERN-DEPTH-JOBS.json.
set -eu
source "$(dirname "$0")/venv.sh" fio-plot==1.1.21
pictures=${1:-$folder/pictures}
mkdir -p "$folder/runs" "$pictures"
fallocate -l 64MiB "$folder/file"
for depth in 1 4 16; do
  for peers in 1 2; do
    for pattern in randread randrw; do
      "$bench" "$folder/file" --rw $pattern --depth $depth --peers $peers --runtime 1s --interval 100ms --destroy-data --quiet \
        --json "$folder/runs/$pattern-$depth-$peers.json" >"$folder/table"
    done
  done
done
plot() { # NAME OPTIONS...
  local name=$1; shift
  (cd "$folder" && timeout 120 venv/bin/fio-plot -i runs -T Bireme --source test "$@" -o "$pictures/$name.png") >"$folder/log" 2>&1 \
    && [ -s "$pictures/$name.png" ] && ! grep -qE 'Traceback|Error' "$folder/log" \
    || { echo "fio-plot has not drawn $name:"; cat "$folder/log"; exit 1; }
  echo "$name is drawn"
}
plot latency-2d -r randread -l -n 1 -d 1 4 16
plot jobs-2d -r randread -N -n 1 2 -d 4
plot iops-3d -r randread -L -t iops -n 1 2 -d 1 4 16
plot latency-3d -r randread -L -t lat -n 1 2 -d 1 4 16
plot histogram -r randread -H -n 1 -d 4
plot mixed-read -r randrw -f read -l -n 1 -d 1 4 16
plot mixed-write -r randrw -f write -l -n 2 -d 1 4 16
