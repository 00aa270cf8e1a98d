//! What lies on a device, by the marks that file systems and their like leave at its start and end.
//!
//! The marks only give a name to what is found: a device that is not blank is foreign with or without one. So a weak
//! mark of two bytes does no harm, and stands behind the strong ones. A disk that was used several times may bear
//! several marks: the partition table at the start comes first, then what lies at the start, then what lies at the end.

/// The name of what lies on a device of `device_bytes`, by its first and last bytes: 4 MiB each, fewer if it has fewer.
pub fn identify(head: &[u8], tail: &[u8], device_bytes: u64) -> Option<&'static str> {
    gpt(head)
        .or_else(|| marks().find(|mark| mark.is_on(head)).map(|mark| mark.name))
        .or_else(|| ext(head))
        .or_else(|| md(head, 0, "md RAID member (1.1)"))
        .or_else(|| md(head, 4096, "md RAID member (1.2)"))
        .or_else(|| zfs(head, 0))
        .or_else(|| WEAK.iter().find(|mark| mark.is_on(head)).map(|mark| mark.name))
        .or_else(|| mbr(head))
        .or_else(|| at_the_end(tail, device_bytes))
}

/// Whether every byte is zero.
pub fn is_blank(bytes: &[u8]) -> bool {
    // Whole words: this reads 8 MiB per device before the first write.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

/// The partition table that a device begins with. A file system's boot sector has the same last two bytes as one.
pub(super) fn partition_table(head: &[u8]) -> Option<&'static str> {
    let boot_sector = BOOT_SECTORS.iter().any(|mark| mark.is_on(head));
    gpt(head).or_else(|| if boot_sector { None } else { mbr(head) })
}

struct Mark {
    name: &'static str,
    offset: usize,
    bytes: &'static [u8],
}

const fn mark(name: &'static str, offset: usize, bytes: &'static [u8]) -> Mark {
    Mark { name, offset, bytes }
}

impl Mark {
    fn is_on(&self, head: &[u8]) -> bool {
        has(head, self.offset, self.bytes)
    }
}

fn marks() -> impl Iterator<Item = &'static Mark> {
    STRONG.iter().chain(BOOT_SECTORS)
}

const BOOT_SECTORS: &[Mark] = &[
    mark("ntfs", 3, b"NTFS    "),
    mark("exfat", 3, b"EXFAT   "),
    mark("vfat", 54, b"FAT12   "),
    mark("vfat", 54, b"FAT16   "),
    mark("vfat", 82, b"FAT32   "),
];

#[rustfmt::skip]
const STRONG: &[Mark] = &[
    mark("LUKS1 encryption",    0,             b"LUKS\xba\xbe\x00\x01"),
    mark("LUKS2 encryption",    0,             b"LUKS\xba\xbe\x00\x02"),
    mark("LUKS2 encryption",    16384,         b"SKUL\xba\xbe\x00\x02"),
    mark("LVM2 physical volume", 24,           b"LVM2 001"),
    mark("LVM2 physical volume", 512 + 24,     b"LVM2 001"),
    mark("LVM2 physical volume", 1024 + 24,    b"LVM2 001"),
    mark("LVM2 physical volume", 1536 + 24,    b"LVM2 001"),
    mark("xfs",                 0,             b"XFSB"),
    mark("btrfs",               0x1_0040,      b"_BHRfS_M"),
    mark("bcachefs",            4096 + 24,     b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    mark("bcache",              4096 + 24,     b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    mark("swap",                4086,          b"SWAPSPACE2"),
    mark("swap",                4086,          b"SWAP-SPACE"),
    mark("hibernated swap",     4086,          b"S1SUSPEND\0"),
    mark("hibernated swap",     4086,          b"S2SUSPEND\0"),
    mark("f2fs",                1024,          b"\x10\x20\xf5\xf2"),
    mark("erofs",               1024,          b"\xe2\xe1\xf5\xe0"),
    mark("squashfs",            0,             b"hsqs"),
    mark("cramfs",              0,             b"\x45\x3d\xcd\x28"),
    mark("bfs",                 0,             b"\xce\xfa\xad\x1b"),
    mark("gfs2",                0x1_0000,      b"\x01\x16\x19\x70"),
    mark("ocfs2",               1024,          b"OCFSV2"),
    mark("ocfs2",               2048,          b"OCFSV2"),
    mark("ocfs2",               4096,          b"OCFSV2"),
    mark("ocfs2",               8192,          b"OCFSV2"),
    mark("reiserfs",            0x1_0034,      b"ReIsEr"),
    mark("reiserfs",            0x2034,        b"ReIsEr"),
    mark("jfs",                 0x8000,        b"JFS1"),
    mark("apfs",                32,            b"NXSB"),
    mark("dm-integrity",        0,             b"integrt\0"),
    mark("ceph bluestore",      0,             b"bluestore block device"),
    mark("iso9660",             0x8001,        b"CD001"),
    mark("udf",                 0x8001,        b"BEA01"),
    mark("udf",                 0x8001,        b"NSR0"),
];

#[rustfmt::skip]
const WEAK: &[Mark] = &[
    mark("nilfs2",              1024 + 6,      b"\x34\x34"),
    mark("hfsplus",             1024,          b"H+\x00\x04"),
    mark("hfsplus",             1024,          b"HX\x00\x05"),
    mark("minix",               1024 + 16,     b"\x7f\x13"),
    mark("minix",               1024 + 16,     b"\x8f\x13"),
    mark("minix",               1024 + 16,     b"\x68\x24"),
    mark("minix",               1024 + 16,     b"\x78\x24"),
    mark("minix",               1024 + 24,     b"\x5a\x4d"),
];

fn has(bytes: &[u8], offset: usize, want: &[u8]) -> bool {
    bytes.get(offset..).is_some_and(|rest| rest.starts_with(want))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}

const GPT: &[u8] = b"EFI PART";

fn gpt(head: &[u8]) -> Option<&'static str> {
    let found = has(head, 512, GPT) || has(head, 4096, GPT);
    found.then_some("GPT partition table")
}

/// Four entries of 16 bytes; the mark of two bytes alone would also fit boot sectors and chance.
fn mbr(head: &[u8]) -> Option<&'static str> {
    let entries = head.get(446..510).filter(|_| has(head, 510, b"\x55\xaa"))?;
    let (entries, _) = entries.as_chunks::<16>();
    let valid = entries.iter().all(|entry| entry[0] & 0x7f == 0);
    let used = entries.iter().any(|entry| entry[4] != 0 && u32_at(entry, 12) != Some(0));
    (valid && used).then_some("MBR partition table")
}

/// The three generations share a mark and differ in the features they use.
fn ext(head: &[u8]) -> Option<&'static str> {
    const SUPERBLOCK: usize = 1024;
    let log_block_size = u32_at(head, SUPERBLOCK + 0x18)?;
    if !has(head, SUPERBLOCK + 0x38, b"\x53\xef") || log_block_size > 6 {
        return None;
    }
    let compatible = u32_at(head, SUPERBLOCK + 0x5c)?;
    let incompatible = u32_at(head, SUPERBLOCK + 0x60)?;
    let read_only = u32_at(head, SUPERBLOCK + 0x64)?;
    // ext3 knows filetype, recover, journal_dev and meta_bg; sparse_super, large_file and btree_dir.
    let beyond_ext3 = incompatible & !0x1e != 0 || read_only & !0x7 != 0;
    let journal = compatible & 0x4 != 0 || incompatible & 0x8 != 0;
    Some(match (beyond_ext3, journal) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    })
}

fn md(bytes: &[u8], offset: usize, name: &'static str) -> Option<&'static str> {
    (has(bytes, offset, MD) && u32_at(bytes, offset + 4) == Some(1)).then_some(name)
}

const MD: &[u8] = b"\xfc\x4e\x2b\xa9";

/// A label of 256 KiB; its second half is a ring of uberblocks that begin with the mark, in either byte order.
fn zfs(bytes: &[u8], label: usize) -> Option<&'static str> {
    let mut slots = (label + (128 << 10)..label + (256 << 10)).step_by(1024);
    let found = slots.any(|slot| {
        has(bytes, slot, b"\x0c\xb1\xba\x00\x00\x00\x00\x00") || has(bytes, slot, b"\x00\x00\x00\x00\x00\xba\xb1\x0c")
    });
    found.then_some("zfs member")
}

fn at_the_end(tail: &[u8], device_bytes: u64) -> Option<&'static str> {
    // Where a byte of the device is in the tail, if it is.
    let tail_start = device_bytes.checked_sub(tail.len() as u64)?;
    let place = |offset: u64| usize::try_from(offset.checked_sub(tail_start)?).ok();
    let from_end = |bytes: u64| place(device_bytes.checked_sub(bytes)?);
    if [512, 4096].into_iter().filter_map(from_end).any(|at| has(tail, at, GPT)) {
        return Some("GPT partition table (the copy at the end)");
    }
    // The oldest form starts at a multiple of 64 KiB, at least that far from the end; the next one 8 KiB from it.
    let oldest = (device_bytes & !0xffff).checked_sub(64 << 10).and_then(place);
    if oldest.is_some_and(|at| has(tail, at, MD)) {
        return Some("md RAID member (0.90)");
    }
    let next = device_bytes.checked_sub(8 << 10).map(|at| at & !0xfff).and_then(place);
    let labels_end = device_bytes & !((256 << 10) - 1);
    let label = |count: u64| zfs(tail, place(labels_end.checked_sub(count * (256 << 10))?)?);
    next.and_then(|at| md(tail, at, "md RAID member (1.0)")).or_else(|| label(1)).or_else(|| label(2))
}

#[cfg(test)]
mod tests;
