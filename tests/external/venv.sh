# Sourced by the checks here: a Python of its own with the packages named, removed at the end with everything else.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
python=$folder/venv/bin/python
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bench=${BENCH_DEVICE:-$root/target/release/bench-device}
[ -x "$bench" ] || { echo "$bench is missing: cargo build --release --workspace, or name one in BENCH_DEVICE"; exit 1; }
