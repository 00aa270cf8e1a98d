#!/bin/sh
# What `bireme offload` writes, judged by Linux md: the same file, written to an array of md, makes the same members.
#
#   BIREME_LAB=LAB md-offload.sh          boots a throw-away guest with LAB and compares in it (one to two minutes)
#   md-offload.sh inside                  compares here; needs root, md, brd, mdadm and bireme in the PATH
#
# LAB is a command as md-geometry.sh describes it. A page is two whole stripes, so the frames of a first set lie one after
# the other, and the data area of each member must be byte for byte what md has from the start of its member on. Where it
# begins, and that the set lies in frames 0, 1, .., is read from the superblock and from `bireme export`.
set -eu

if [ "${1:-}" != inside ]; then
    [ -n "${BIREME_LAB:-}" ] || { echo "skipped: BIREME_LAB does not name a command that boots a guest"; exit 0; }
    lab=$(command -v "$BIREME_LAB") || { echo "skipped: there is no command $BIREME_LAB (BIREME_LAB)"; exit 0; }
    command -v mdadm > /dev/null || { echo "skipped: mdadm is not installed here, so the guest cannot have it"; exit 0; }
    lab=$(readlink -f "$lab")
    cd "$(dirname "$0")/../.."
    cargo build --quiet --release -p bireme-tools --bin bireme
    exec "$lab" -n 0 -z 0 -m 3072 -t 900 -x "$(command -v mdadm)" -x "${CARGO_TARGET_DIR:-$PWD/target}/release/bireme" \
        -f tests/guest/md-offload.sh -- sh /lab/md-offload.sh inside
fi

disks=12 mib=24 compared=0 arrays=0
export MDADM_NO_UDEV=1
fail() { echo "FAILED: $*"; exit 1; }
# Ours are ram0 and up, md's are those after them.
modprobe brd rd_nr=$((disks * 2)) rd_size=$((mib * 1024))
for module in raid0 raid1 raid10 raid456; do modprobe $module; done
work=$(mktemp -d /tmp/offload.XXXXXX)
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

word() { # DEVICE OFFSET: the little-endian word of 8 bytes there
    od -An -v -t u8 -j "$2" -N 8 "$1" | tr -d ' '
}

compare() { # LEVEL MEMBERS CHUNK-KIB [GROUPS]
    level=$1 n=$2 kib=$3 groups=${4:-2}
    case $level in
        0) data=$n ;;
        1) data=1 ;;
        10) data=$n; [ $((n % 2)) = 1 ] || data=$((n / 2)) ;;
        5) data=$((n - 1)) ;;
        6) data=$((n - 2)) ;;
        50) data=$((n - groups)) ;;
        60) data=$((n - 2 * groups)) ;;
    esac
    stripe=$((data * kib)) pages=5
    for disk in $(nodes 0 "$n") $(nodes $disks $((disks + n))); do
        dd if=/dev/zero of="$disk" bs=1M count=$mib 2> /dev/null
    done
    dd if=/dev/urandom of="$work/input" bs=${stripe}k count=$((2 * pages)) 2> /dev/null
    case $level in 50 | 60) dealt="--groups $groups" ;; *) dealt="" ;; esac
    bireme offload --raid "$level" $dealt --chunk "${kib}KiB" --page $((2 * stripe))KiB \
        --input "$work/input" --hang-limit 2m --device $(nodes 0 "$n") > "$work/report" 2> "$work/err" \
        || fail "offload to RAID $level over $n: $(cat "$work/err")"
    bireme export --device $(nodes 0 "$n") | tr -d ' \n' > "$work/export"
    frame=0
    while [ $frame -lt $pages ]; do
        grep -q "\[$frame,\"" "$work/export" || fail "frame $frame is not the set's: $(cat "$work/export")"
        frame=$((frame + 1))
    done
    case $level in
        50 | 60)
            inner=${level%0} each=$((n / groups)) group=0 outer=""
            while [ $group -lt "$groups" ]; do
                first=$((disks + group * each))
                create /dev/md$((group + 1)) "$inner" "$kib" $(nodes $first $((first + each)))
                group=$((group + 1)) outer="$outer /dev/md$group"
            done
            create /dev/md9 0 $((data / groups * kib)) $outer
            ;;
        *) create /dev/md9 "$level" "$kib" $(nodes $disks $((disks + n))) ;;
    esac
    dd if="$work/input" of=/dev/md9 bs=64k conv=fsync 2> "$work/dd" || fail "writing: $(cat "$work/dd")"
    stop
    member=0
    while [ $member -lt "$n" ]; do
        # The member's slots of the superblock hold the same places.
        area=$(word /dev/ram$member 88)
        rows=2; [ "$level" != 10 ] || [ $((n % 2)) = 0 ] || rows=4
        bytes=$((pages * rows * kib * 1024))
        dd if=/dev/ram$member of="$work/have" iflag=direct,skip_bytes bs=4096 skip="$area" count=$((bytes / 4096)) 2> /dev/null
        dd if=/dev/ram$((disks + member)) of="$work/want" iflag=direct bs=4096 count=$((bytes / 4096)) 2> /dev/null
        cmp "$work/have" "$work/want" || fail "RAID $level over $n, chunk $kib KiB: member $member is not md's"
        member=$((member + 1)) compared=$((compared + bytes))
    done
    arrays=$((arrays + 1))
    echo "RAID $level over $n, chunk $kib KiB: what offload wrote is what md writes"
}

compare 0 2 64;  compare 0 5 16
compare 1 2 64;  compare 1 3 16
compare 10 4 64; compare 10 5 16; compare 10 2 4
compare 5 3 64;  compare 5 5 64;  compare 5 4 4
compare 6 4 64;  compare 6 6 16;  compare 6 5 64
compare 50 6 64 2; compare 50 9 16 3
compare 60 8 64 2; compare 60 12 4 3

# The test of the test: a changed byte is seen.
printf x | dd of="$work/have" bs=1 seek=7 conv=notrunc 2> /dev/null
! cmp -s "$work/have" "$work/want" || fail "a changed byte is not seen, so this test shows nothing"
echo "md-offload: $arrays arrays, $compared bytes of their members, equal byte for byte"
