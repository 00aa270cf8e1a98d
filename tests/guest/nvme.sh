#!/bin/sh
# Inside a throw-away guest with NVMe controllers: a file goes out over them and comes back, bit for bit.
#
#   nvme.sh DEVICE DEVICE...       everything on these devices is lost
#
# It needs `bireme` in the PATH, a busybox userland and 256 MiB in /tmp. Any lab will do, for example QEMU with
#   -device nvme,id=n0,serial=A -device nvme-ns,drive=d0,bus=n0,logical_block_size=4096
# for each device, this script and the command in the initrd, and `sh nvme.sh /dev/nvme0n1 /dev/nvme1n1` as the init.
set -eu
[ $# -ge 2 ] || { echo "usage: nvme.sh DEVICE DEVICE..."; exit 2; }
work=$(mktemp -d /tmp/nvme.XXXXXX)
trap 'rm -rf "$work"' EXIT

# The last block is not whole, and neither is the last page.
head -c 33557777 /dev/urandom > "$work/first"
head -c 20000001 /dev/urandom > "$work/second"
for device; do
    echo "$device: blocks of $(blockdev --getss "$device"), $(blockdev --getsize64 "$device") bytes"
done

check() {
    rm -f "$work/back"
    bireme restore --hang-limit 2m --output "$work/back" --device "$@" > "$work/report" 2> "$work/err"
    cmp "$want" "$work/back" || { echo "FAILED: what came back is not $want"; exit 1; }
}
for want in "$work/first" "$work/second" "$work/first"; do
    bireme offload --hang-limit 2m --input "$want" --device "$@" > "$work/report" 2> "$work/err" \
        || { echo "FAILED to write: $(cat "$work/err")"; exit 1; }
    check "$@" || { echo "FAILED to restore: $(cat "$work/err")"; exit 1; }
done
bireme offload --hang-limit 2m --size 16MiB --sets 3 --verify --device "$@" > "$work/report" 2> "$work/err" \
    || { echo "FAILED to write generated sets: $(cat "$work/err")"; exit 1; }

# Older sets are gone with their frames.
sets=$(bireme export --device "$@" | grep -c '"number"')
[ "$sets" = 1 ] || { echo "FAILED: $sets sets instead of the newest alone"; exit 1; }
echo "nvme: $# devices, 6 sets, each came back bit for bit"
