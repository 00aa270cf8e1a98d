#!/bin/sh
# `bench-device` on NVMe controllers by every way there is: the block layer with interrupts and with polling, and commands
# past it with interrupts and with polling; on blocks of 512 and of 4096 bytes, each with contents that are verified.
#
#   BIREME_LAB=LAB bench-device.sh        boots two throw-away guests with LAB and measures in them (a minute or two)
#   bench-device.sh inside                measures here; needs root, /dev/lab/LAB0n1 and bench-device in the PATH
#
# LAB is a command as md-geometry.sh describes it; its guests have NVMe controllers with poll queues. Everything on the
# first one is lost. An emulated controller on an emulated processor: that it works is shown, how fast is not.
set -eu

if [ "${1:-}" != inside ]; then
    [ -n "${BIREME_LAB:-}" ] || { echo "skipped: BIREME_LAB does not name a command that boots a guest"; exit 0; }
    lab=$(command -v "$BIREME_LAB") || { echo "skipped: there is no command $BIREME_LAB (BIREME_LAB)"; exit 0; }
    lab=$(readlink -f "$lab")
    cd "$(dirname "$0")/../.."
    cargo build --quiet --release -p bireme-bench --bin bench-device
    for block in 512 4096; do
        "$lab" -b $block -n 1 -z 0 -t 300 -x "${CARGO_TARGET_DIR:-$PWD/target}/release/bench-device" \
            -f tests/guest/bench-device.sh -- sh /lab/bench-device.sh inside
    done
    exit
fi

fail() { echo "FAILED: $*"; exit 1; }
block=$(readlink -f /dev/lab/LAB0n1) command=$(readlink -f /dev/lab/LAB0n1.ng)
size=$(blockdev --getss "$block")
ways=0
run() { # DESCRIPTION FLAG-OF-THE-RING PATH OPTIONS...
    what=$1 flag=$2; shift 2
    bench-device "$@" --rw randrw --depth 16 --runtime 2s --destroy-data > /tmp/report 2> /tmp/err \
        || fail "$what on blocks of $size: $(cat /tmp/err)"
    grep -q "$flag" /tmp/report || fail "$what: no $flag in the report: $(cat /tmp/report)"
    grep -qi "verified" /tmp/report || fail "$what: nothing about verification: $(cat /tmp/report)"
    echo "blocks of $size, $what: $(sed -n 1p /tmp/report); $(grep -i -m 1 verified /tmp/report | sed 's/^ *//')"
    ways=$((ways + 1))
}
for bytes in $size 64KiB; do
    run "block layer, interrupts, $bytes" DEFER_TASKRUN "$block" --bs "$bytes" --verify --region ..32MiB --flush-every 16
    run "block layer, IOPOLL, $bytes" IOPOLL "$block" --bs "$bytes" --verify --region ..32MiB --iopoll
    run "block layer, SQPOLL, $bytes" SQPOLL "$block" --bs "$bytes" --verify --region ..32MiB --sqpoll
    run "commands, interrupts, $bytes" SQE128 "$command" --bs "$bytes" --verify --region ..32MiB --flush-every 16
    run "commands, IOPOLL, $bytes" IOPOLL "$command" --bs "$bytes" --verify --region ..32MiB --iopoll --flush-every 16
done

# What was written past the block layer is read by it, and a change is found.
bench-device "$command" --bs 4KiB --rw randwrite --verify --region ..8MiB --runtime 1s --fua --journal /tmp/journal \
    --destroy-data > /tmp/report 2> /tmp/err || fail "a journal by commands: $(cat /tmp/err)"
bench-device --verify-journal /tmp/journal "$block" > /tmp/report 2> /tmp/err || fail "the journal: $(cat /tmp/err)"
echo "blocks of $size, written by commands, read by the block layer: $(sed -n 1p /tmp/report)"
dd if=/dev/urandom of="$block" bs=1M count=8 conv=fsync 2> /dev/null
if bench-device --verify-journal /tmp/journal "$block" > /tmp/report 2> /tmp/err; then
    fail "blocks that were overwritten count as right: $(cat /tmp/report)"
fi
# Who uses the block device keeps commands away from it, whatever the permission.
bench-device "$block" --rw randread --runtime 60s --quiet > /tmp/other 2>&1 & other=$!
until grep -q "bench-device" "/proc/$other/cmdline" && ls -l "/proc/$other/fd" | grep -q "$block"; do :; done
if bench-device "$command" --rw randwrite --runtime 1s --destroy-data > /tmp/report 2> /tmp/err; then
    fail "commands overwrite a device that is in use"
fi
grep -q "in use by another process" /tmp/err || fail "another refusal than that of a device in use: $(cat /tmp/err)"
kill -INT "$other" && wait "$other" || true
echo "blocks of $size: $(cat /tmp/err)"
echo "bench-device: $ways ways on blocks of $size, verified"
