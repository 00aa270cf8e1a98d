#!/usr/bin/env bash
# The parser of Prometheus' own client reads what bench-device tells on its port while it runs; promtool too, where it is.
#
#     tests/external/metrics.sh
set -eu
source "$(dirname "$0")/venv.sh" prometheus-client==0.26.0
fallocate -l 64MiB "$folder/file"
"$bench" "$folder/file" --rw randrw --peers 2 --depth 8 --runtime 4s --interval 200ms --warmup 500ms --arrival-rate 5k \
  --destroy-data --flush-every 100 --metrics 127.0.0.1:0 --quiet --json "$folder/json" >"$folder/out" 2>"$folder/told" &
run=$!
until grep -q 'metrics at' "$folder/told"; do kill -0 $run; done
address=$(sed -n 's/^metrics at //p' "$folder/told")
"$python" "$(dirname "$0")/metrics.py" "$address" "$folder/scrape"
wait $run
if command -v promtool >/dev/null; then promtool check metrics <"$folder/scrape"; else echo "promtool is not installed"; fi
