#!/bin/sh
# Inside a throw-away guest with null_blk: the power of both devices fails in the middle of a run, again and again, and
# what was in their volatile caches is gone. The newest committed set must come back bit for bit.
#
#   power-loss.sh [ROUNDS]         20 rounds by default
#
# It needs root, `bireme` in the PATH, a busybox userland, null_blk, configfs and 512 MiB in /tmp. Any lab will do, for
# example QEMU with a stock kernel, this script and the command in the initrd, and `sh power-loss.sh` as the init.
#
# null_blk with memory_backed=1 and cache_size keeps writes in a cache of its own until they are flushed or evicted.
# Writing 0 to its power takes the disk away and drops that cache; 1 brings the disk back with what had been durable.
set -eu
rounds=${1:-20}
work=$(mktemp -d /tmp/power.XXXXXX)
config=/sys/kernel/config/nullb
mkdir -p /sys/kernel/config
[ -d $config ] || mount -t configfs none /sys/kernel/config 2> /dev/null || true
[ -d $config ] || modprobe null_blk nr_devices=0
[ -d $config ] || { echo "FAILED: no null_blk with configfs"; exit 1; }
trap 'for d in power0 power1; do echo 0 > $config/$d/power; rmdir $config/$d; done 2> /dev/null; rm -rf "$work"' EXIT

power() { for d in power0 power1; do echo "$1" > $config/$d/power; done; }
for d in power0 power1; do
    mkdir $config/$d
    cd $config/$d
    echo 256 > size; echo 4096 > blocksize; echo 1 > memory_backed; echo 64 > cache_size; echo 0 > irqmode
    echo 1 > power
    cd /
done
# Newer kernels name the disk after its folder, older ones after its index.
node() { if [ -b "/dev/$1" ]; then echo "/dev/$1"; else echo "/dev/nullb$(cat $config/$1/index)"; fi; }
devices="$(node power0) $(node power1)"

# The test of the test: what was written and not flushed is gone, what was flushed stays.
first=${devices%% *}
head -c 4096 /dev/urandom > "$work/block"
look() { dd if="$first" bs=4096 count=1 skip="$1" iflag=direct 2> /dev/null | cmp -s - "$work/block"; }
dd if="$work/block" of="$first" bs=4096 seek=20000 oflag=direct 2> /dev/null
dd if="$work/block" of="$first" bs=4096 seek=20001 oflag=direct conv=fsync 2> /dev/null
dd if="$work/block" of="$first" bs=4096 seek=20002 oflag=direct 2> /dev/null
look 20002 || { echo "FAILED: the cache cannot be read"; exit 1; }
power 0; power 1
look 20001 || { echo "FAILED: null_blk lost what was flushed"; exit 1; }
if look 20002; then echo "FAILED: null_blk keeps what was not flushed, so this test shows nothing"; exit 1; fi

# Rounds alternate between two inputs, so that a mixture of two sets is noticed.
head -c 16800001 /dev/urandom > "$work/0"
head -c 16800001 /dev/urandom > "$work/1"
newest() {
    bireme export --device $devices > "$work/export" 2> "$work/err" \
        || { echo "FAILED to open: $(cat "$work/err")" >&2; exit 1; }
    sed -n 's/.*"number": *\([0-9]*\).*/\1/p' "$work/export" | tail -n 1
}
bireme offload --hang-limit 2m --input "$work/0" --device $devices > /dev/null 2> "$work/err" \
    || { echo "FAILED to write the first set: $(cat "$work/err")"; exit 1; }
known=$(newest) holds=0 committed=0 seed=7 round=0
while [ $round -lt "$rounds" ]; do
    round=$((round + 1)) source=$((round % 2)) seed=$(((seed * 1103515245 + 12345) % 2147483648))
    bireme offload --hang-limit 2m --input "$work/$source" --sets 1000 --device $devices > /dev/null 2> "$work/run" &
    child=$!
    usleep $((seed / 1024 % 4000000))
    power 0
    wait $child && { echo "FAILED: round $round had ended before the power did"; exit 1; }
    grep -q '^bireme: ' "$work/run" || { echo "FAILED: round $round without a sentence: $(cat "$work/run")"; exit 1; }
    said=$(sed -n 's/.*, \([0-9]*\) sets\{0,1\} of this run w.*/\1/p' "$work/run" | tail -n 1)
    power 1
    now=$(newest)
    least=$((known + ${said:-0}))
    [ "$now" -ge $least ] || { echo "FAILED: round $round: set $least was committed, $now is the newest"; exit 1; }
    [ "$now" -le $((least + 1)) ] || { echo "FAILED: round $round: set $now was never reported"; exit 1; }
    [ "$now" -gt "$known" ] && holds=$source
    committed=$((committed + now - known)) known=$now
    why=$(grep '^bireme: ' "$work/run")
    bireme restore --hang-limit 2m --output "$work/back" --device $devices > /dev/null 2> "$work/err" \
        || { echo "FAILED to restore after round $round: $(cat "$work/err")"; exit 1; }
    cmp "$work/$holds" "$work/back" || { echo "FAILED: round $round: set $now is not what was written"; exit 1; }
    echo "round $round: set $now; $why"
    rm -f "$work/back"
done
echo "power-loss: $rounds losses of power, $committed sets committed, the newest came back bit for bit each time"
