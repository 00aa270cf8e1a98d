//! The table against heads made by hand, and against what the programs themselves write.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::*;

const BYTES: usize = 4 << 20;

/// What stands where.
type Parts = Vec<(usize, &'static [u8])>;

fn head(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut head = vec![0; BYTES];
    for (offset, bytes) in parts {
        head[*offset..*offset + bytes.len()].copy_from_slice(bytes);
    }
    head
}

#[test]
fn marks_at_the_start_are_named() {
    let partition: &'static [u8] = b"\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00";
    #[rustfmt::skip]
    let cases: Vec<(Option<&str>, Parts)> = vec![
        (None,                          vec![]),
        (None,                          vec![(100, b"anything")]),
        (None,                          vec![(510, b"\x55\xaa")]),
        (Some("MBR partition table"),   vec![(446, partition), (510, b"\x55\xaa")]),
        (None,                          vec![(446, partition)]),
        (Some("vfat"),                  vec![(82, b"FAT32   "), (446, partition), (510, b"\x55\xaa")]),
        (Some("GPT partition table"),   vec![(512, GPT), (446, partition), (510, b"\x55\xaa")]),
        (Some("GPT partition table"),   vec![(4096, GPT)]),
        (Some("ext2"),                  vec![(1080, b"\x53\xef")]),
        (Some("ext3"),                  vec![(1080, b"\x53\xef"), (1116, b"\x04")]),
        (Some("ext4"),                  vec![(1080, b"\x53\xef"), (1116, b"\x04"), (1120, b"\x42")]),
        (None,                          vec![(1080, b"\x53\xef"), (1048, b"\x07")]),
        (Some("md RAID member (1.1)"),  vec![(0, b"\xfc\x4e\x2b\xa9\x01")]),
        (Some("md RAID member (1.2)"),  vec![(4096, b"\xfc\x4e\x2b\xa9\x01")]),
        (Some("zfs member"),            vec![((128 << 10) + 4096, b"\x0c\xb1\xba\x00")]),
        (Some("zfs member"),            vec![((128 << 10) + 4096, b"\x00\x00\x00\x00\x00\xba\xb1\x0c")]),
    ];
    for (want, parts) in cases {
        assert_eq!(identify(&head(&parts), &[0; 8192], BYTES as u64), want, "{parts:x?}");
    }
    for mark in marks().chain(WEAK) {
        assert_eq!(identify(&head(&[(mark.offset, mark.bytes)]), &[], BYTES as u64), Some(mark.name));
    }
}

#[test]
fn marks_at_the_end_are_named() {
    // An odd size: the places at the end are rounded in different ways.
    let bytes = (64u64 << 20) + 3 * 4096;
    let tail_start = bytes - BYTES as u64;
    let at = |offset: u64| usize::try_from(offset - tail_start).expect("in the tail");
    let label = (bytes & !0x3ffff) - (256 << 10);
    #[rustfmt::skip]
    let cases: Vec<(&str, usize, &[u8])> = vec![
        ("GPT partition table (the copy at the end)",  at(bytes - 512),                 GPT),
        ("GPT partition table (the copy at the end)",  at(bytes - 4096),                GPT),
        ("md RAID member (0.90)",                      at((bytes & !0xffff) - 0x10000), MD),
        ("md RAID member (1.0)",                       at(bytes - 8192),                b"\xfc\x4e\x2b\xa9\x01"),
        ("zfs member",                                 at(label + (128 << 10)),         b"\x0c\xb1\xba\x00"),
        ("zfs member",                                 at(label - (128 << 10)),         b"\x0c\xb1\xba\x00"),
    ];
    for (want, offset, mark) in cases {
        assert_eq!(identify(&head(&[]), &head(&[(offset, mark)]), bytes), Some(want));
    }
}

#[test]
fn short_slices_and_garbage_have_no_name_and_do_no_harm() {
    for length in [0, 1, 511, 512, 1024, 1081, 4096, 8192, 70_000] {
        for fill in [0u8, 0xff, 0x55, 0xa9] {
            let bytes = vec![fill; length];
            for size in [0, 1, length as u64, u64::MAX] {
                assert_eq!(identify(&bytes, &bytes, size), None, "{length} bytes of {fill}");
            }
        }
    }
}

#[test]
fn blank_is_zero_to_the_last_byte() {
    for length in [0, 1, 15, 16, 17, 4096, 5000] {
        let mut bytes = vec![0; length];
        assert!(is_blank(&bytes));
        if let Some(last) = bytes.last_mut() {
            *last = 1;
            assert!(!is_blank(&bytes), "{length}");
        }
    }
}

#[test]
fn what_the_programs_write_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    #[rustfmt::skip]
    let cases: [(&str, &str, &[&str]); 16] = [
        ("ext2",     "mkfs.ext2",  &["-q", "-F"]),
        ("ext3",     "mkfs.ext3",  &["-q", "-F"]),
        ("ext4",     "mkfs.ext4",  &["-q", "-F"]),
        ("swap",     "mkswap",     &["-q"]),
        ("minix",    "mkfs.minix", &[]),
        ("minix",    "mkfs.minix", &["-3"]),
        ("bfs",      "mkfs.bfs",   &[]),
        ("xfs",      "mkfs.xfs",   &["-q", "-f"]),
        ("btrfs",    "mkfs.btrfs", &["-q", "-f"]),
        ("vfat",     "mkfs.vfat",  &[]),
        ("exfat",    "mkfs.exfat", &[]),
        ("ntfs",     "mkfs.ntfs",  &["-q", "-F"]),
        ("f2fs",     "mkfs.f2fs",  &["-q"]),
        ("nilfs2",   "mkfs.nilfs2", &["-q"]),
        ("jfs",      "mkfs.jfs",   &["-q"]),
        ("udf",      "mkfs.udf",   &[]),
    ];
    for (want, program, arguments) in cases {
        let path = folder.path().join(program);
        // xfs takes no less than 300 MiB; the file is sparse, so that costs nothing.
        File::create(&path).and_then(|file| file.set_len(512 << 20)).expect("a file");
        let made = Command::new(program).args(arguments).arg(&path).output();
        let Ok(made) = made else {
            println!("skipped: {program} is not installed");
            continue;
        };
        assert!(made.status.success(), "{program}: {}", String::from_utf8_lossy(&made.stderr));
        let file = File::open(&path).expect("the file");
        let bytes = file.metadata().expect("its size").len();
        let (mut head, mut tail) = (vec![0; BYTES], vec![0; BYTES]);
        file.read_exact_at(&mut head, 0).expect("the start");
        file.read_exact_at(&mut tail, bytes - BYTES as u64).expect("the end");
        assert_eq!(identify(&head, &tail, bytes), Some(want), "{program}");
        assert_eq!(partition_table(&head), None, "{program}");
    }
}
