#!/bin/sh
# Our mapping against Linux md: the same pattern, written to arrays of md, lies byte for byte where we say.
#
#   BIREME_LAB=LAB md-geometry.sh         boots a throw-away guest with LAB and compares in it (one to two minutes)
#   md-geometry.sh inside                 compares here; needs root, md, brd, mdadm and geometry-dump in the PATH
#
# LAB is a command that boots a guest with md and brd, and a busybox userland. It is called as
#   LAB -n NVME -z NULLBLK -t SECONDS -x PROGRAM... -f FILE -- COMMAND...
# to run the command in it with these programs and, beside /lab, that file, and ends with the command's status.
#
# Members are small memory disks, all zero, so that --assume-clean is the truth: the parity of zeros is zero. Levels 50
# and 60 are md's RAID 0 over its RAID 5 or 6, with a chunk of one inner data stripe.
set -eu

if [ "${1:-}" != inside ]; then
    [ -n "${BIREME_LAB:-}" ] || { echo "skipped: BIREME_LAB does not name a command that boots a guest"; exit 0; }
    lab=$(command -v "$BIREME_LAB") || { echo "skipped: there is no command $BIREME_LAB (BIREME_LAB)"; exit 0; }
    command -v mdadm > /dev/null || { echo "skipped: mdadm is not installed here, so the guest cannot have it"; exit 0; }
    lab=$(readlink -f "$lab")
    cd "$(dirname "$0")/../.."
    cargo build --quiet -p bireme-tests --bin geometry-dump
    exec "$lab" -n 0 -z 0 -t 900 -x "$(command -v mdadm)" -x "${CARGO_TARGET_DIR:-$PWD/target}/debug/geometry-dump" \
        -f tests/guest/md-geometry.sh -- sh /lab/md-geometry.sh inside
fi

disks=12 stripes=13 compared=0 arrays=0
export MDADM_NO_UDEV=1
fail() { echo "FAILED: $*"; exit 1; }
modprobe brd rd_nr=$disks rd_size=4096
for module in raid0 raid1 raid10 raid456; do modprobe $module; done
work=$(mktemp -d /tmp/geometry.XXXXXX)
# The outer array first; those that this level does not have are not there to be stopped.
stop() { for md in /dev/md9 /dev/md1 /dev/md2 /dev/md3; do mdadm --stop --quiet $md 2> /dev/null || true; done; }
trap 'stop; rm -rf "$work"' EXIT

create() { # ARRAY LEVEL CHUNK-KIB MEMBER...
    array=$1 kind=$2 chunk=$3; shift 3
    count=$#
    case $kind in
        0) set -- --chunk="$chunk" "$@" ;;
        1) set -- --assume-clean --bitmap=none "$@" ;;
        10) set -- --assume-clean --bitmap=none --chunk="$chunk" --layout=n2 "$@" ;;
        5 | 6) set -- --assume-clean --bitmap=none --chunk="$chunk" --layout=left-symmetric "$@" ;;
    esac
    mdadm --create "$array" --run --quiet --metadata=1.0 --level="$kind" --raid-devices=$count "$@" \
        > "$work/mdadm" 2>&1 || fail "mdadm made no RAID $kind: $(cat "$work/mdadm")"
}

nodes() { i=$1; while [ "$i" -lt "$2" ]; do printf '/dev/ram%s ' "$i"; i=$((i + 1)); done; }

compare() { # LEVEL MEMBERS CHUNK-KIB [GROUPS]
    level=$1 n=$2 kib=$3 groups=${4:-1}
    for disk in $(nodes 0 "$n"); do dd if=/dev/zero of="$disk" bs=1M count=4 2> /dev/null; done
    rm -rf "$work/want"
    geometry-dump --level "$level" --members "$n" --chunk $((kib * 1024)) --groups "$groups" --stripes $stripes \
        --out "$work/want"
    case $level in
        50 | 60)
            inner=${level%0} each=$((n / groups)) group=0 outer=""
            data=$((each - inner + 4))
            while [ $group -lt "$groups" ]; do
                create /dev/md$((group + 1)) "$inner" "$kib" $(nodes $((group * each)) $((group * each + each)))
                group=$((group + 1)) outer="$outer /dev/md$group"
            done
            create /dev/md9 0 $((data * kib)) $outer
            ;;
        *) create /dev/md9 "$level" "$kib" $(nodes 0 "$n") ;;
    esac
    dd if="$work/want/data" of=/dev/md9 bs=64k conv=fsync 2> "$work/dd" || fail "writing: $(cat "$work/dd")"
    stop
    member=0
    while [ $member -lt "$n" ]; do
        want=$work/want/member$member
        bytes=$(stat -c %s "$want")
        dd if=/dev/ram$member of="$work/have" iflag=direct bs=4096 count=$((bytes / 4096)) 2> /dev/null
        cmp "$work/have" "$want" || fail "RAID $level over $n, chunk $kib KiB: member $member is not md's"
        member=$((member + 1)) compared=$((compared + bytes))
    done
    arrays=$((arrays + 1))
    echo "RAID $level over $n, chunk $kib KiB$([ "$groups" = 1 ] || echo ", $groups groups"): equal"
}

# Level 5 has one parity and level 6 two, so an inner data stripe has (members + 4 - level) chunks.
compare 0 2 4;   compare 0 3 64;  compare 0 5 16
compare 1 2 4;   compare 1 3 64
compare 10 2 4;  compare 10 3 16; compare 10 4 64; compare 10 5 4; compare 10 6 8
compare 5 3 4;   compare 5 4 16;  compare 5 5 64;  compare 5 6 32
compare 6 4 4;   compare 6 5 64;  compare 6 6 16
compare 50 6 16 2; compare 50 8 64 2; compare 50 9 4 3
compare 60 8 16 2; compare 60 10 64 2; compare 60 12 4 3

# The test of the test: another member's image is not taken for this one's.
! cmp -s "$work/have" "$work/want/member0" || fail "two members are the same, so this test shows nothing"
echo "md-geometry: $arrays arrays of md, $compared bytes of their members, equal byte for byte"
