#!/usr/bin/env bash
# An independent HdrHistogram implementation decodes our interval log to the percentiles of our JSON.
#
#     tests/external/hlog.sh
set -eu
source "$(dirname "$0")/venv.sh" hdrhistogram==0.10.8
fallocate -l 64MiB "$folder/file"
for more in "--rw randrw" "--rw randread --arrival-rate 5k" "--rw randwrite --peers 2 --warmup 500ms"; do
  rm -f "$folder"/log* "$folder"/table*
  "$bench" "$folder/file" $more --depth 16 --runtime 3s --interval 500ms --destroy-data --quiet \
    --hlog "$folder/log" --hgrm "$folder/table" --json "$folder/json" >"$folder/out"
  echo "$more:"
  "$python" "$(dirname "$0")/hlog.py" "$folder/log" "$folder/json" "$folder"/table*
done
