//! Memory that devices read and write: aligned, faulted in, on huge pages where there are any, never moved.
//!
//! A [`Region`] is one mapping. Requests name their memory by offset in it, so that they can cross cores and rings. A
//! span that is *lent* to a request in flight cannot be looked at: the kernel may be writing it, and a Rust reference
//! to it would be unsound.
//!
//! ```text
//!   bytes_mut(span) -> fill -> lend(span) -> kernel reads it -> give_back(span) -> bytes_mut(span) again
//! ```

use std::io;
use std::ptr::NonNull;

use bireme_control::raid::geometry::{BLOCK_BYTES, Geometry};

/// Some bytes of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From the start of the region.
    pub offset: u32,
    /// How many.
    pub bytes: u32,
}

impl Span {
    /// `bytes` at `offset`.
    pub const fn new(offset: u32, bytes: u32) -> Span {
        Span { offset, bytes }
    }

    /// A part of this span.
    ///
    /// # Panics
    /// When the part does not lie within it.
    pub fn part(self, offset: u32, bytes: u32) -> Span {
        assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= self.bytes),
            "{offset}+{bytes} lies outside {self:?}"
        );
        Span::new(self.offset + offset, bytes)
    }
}

/// The segments of a slot in the order of a file's bytes.
///
/// A slot lies by member, so that each device's chunks are one piece of memory; a file has the chunks of data in order.
/// So the file's bytes are woven from the columns, a chunk from where the geometry has placed it:
///
/// ```text
///   memory   [m0: d0 d2][m1: d1 P ][m2: P  d3]      of two rows of a RAID 5
///   file     d0 d1 d2 d3
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weave {
    /// Where the first column starts in the region.
    pub offset: u32,
    /// Where chunks lie.
    pub geometry: Geometry,
    /// The row of the array that the columns begin with: the first of a stripe.
    pub row: u64,
    /// Which copy of the data.
    pub copy: u16,
    /// Bytes from one column's start to the next.
    pub column_bytes: u32,
    /// Bytes of the file; the last chunk may be partial.
    pub bytes: u32,
    /// Bytes of the file to pass over at the start, for the rest of a short answer.
    pub skip: u32,
}

impl Weave {
    /// The pieces of memory, in the order of the file.
    pub fn spans(self) -> impl Iterator<Item = Span> + Clone {
        let (geometry, end) = (self.geometry, self.skip + self.bytes);
        let chunk_bytes = geometry.chunk_bytes();
        let first = self.row / u64::from(geometry.stripe_rows()) * u64::from(geometry.stripe_chunks());
        (self.skip / chunk_bytes..end.div_ceil(chunk_bytes)).map(move |index| {
            let start = (index * chunk_bytes).max(self.skip);
            let stop = ((index + 1) * chunk_bytes).min(end);
            let place = geometry.place(first + u64::from(index), self.copy);
            let row = u32::try_from(place.row - self.row).expect("a slot has few rows");
            let chunk = self.offset + u32::from(place.member) * self.column_bytes + row * chunk_bytes;
            Span::new(chunk + (start - index * chunk_bytes), stop - start)
        })
    }
}

/// One mapping of zeroed memory, aligned to huge pages, resident from the start.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    bytes: u32,
    mapped: usize,
    paging: Paging,
    /// Per block, how many requests in flight use it.
    lent: Box<[u8]>,
}

/// The pages under a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Reserved huge pages (hugetlbfs).
    Reserved,
    /// Huge pages on request (MADV_HUGEPAGE); the kernel covers the region as far as it can.
    Transparent,
    /// Pages of 4 KiB.
    Small,
}

impl Paging {
    /// For reports.
    pub fn describe(self) -> &'static str {
        match self {
            Paging::Reserved => "reserved huge pages (2 MiB)",
            Paging::Transparent => "transparent huge pages (2 MiB)",
            Paging::Small => "4 KiB pages",
        }
    }
}

// SAFETY: a region is a mapping of this process without a tie to a thread; `&Region` gives only shared slices, and
// `&mut Region` is needed for everything else.
unsafe impl Send for Region {}

impl Region {
    /// Maps `bytes`, rounded up to whole huge pages when that much is used anyway.
    ///
    /// # Errors
    /// The kernel's, when there is no memory; `InvalidInput` for nothing or more than [`REGION_BYTES_MAX`].
    pub fn new(bytes: usize) -> io::Result<Region> {
        let wanted = u32::try_from(bytes).ok().filter(|&b| b > 0 && b <= REGION_BYTES_MAX);
        let wanted =
            wanted.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a region holds 1 byte to 1 GiB"))?;
        let unit = page_bytes(bytes);
        let mapped = Region::mapped_bytes(bytes);
        if unit == HUGE_PAGE_BYTES
            && let Ok(start) = map(mapped, libc::MAP_HUGETLB | libc::MAP_POPULATE)
        {
            return Ok(Region::over(start, wanted, mapped, Paging::Reserved));
        }
        // A mapping is aligned to small pages only: take enough to cut an aligned piece out of it.
        let start = map_aligned(mapped, unit)?;
        let paging =
            if unit == HUGE_PAGE_BYTES && advise_huge(start, mapped) { Paging::Transparent } else { Paging::Small };
        let mut region = Region::over(start, wanted, mapped, paging);
        region.fault_in();
        if paging == Paging::Transparent && !huge_pages_found(start) {
            region.paging = Paging::Small;
        }
        Ok(region)
    }

    /// What a region of `bytes` takes of memory, and of the limit of locked memory when it is registered.
    pub fn mapped_bytes(bytes: usize) -> usize {
        bytes.next_multiple_of(page_bytes(bytes))
    }

    fn over(start: NonNull<u8>, bytes: u32, mapped: usize, paging: Paging) -> Region {
        let blocks = (bytes as usize).div_ceil(BLOCK);
        Region { start, bytes, mapped, paging, lent: vec![0; blocks].into_boxed_slice() }
    }

    /// Writes one byte of each page, so that no page fault happens on the data path.
    fn fault_in(&mut self) {
        let all = self.bytes_mut(self.all());
        all.iter_mut().step_by(BLOCK).for_each(|byte| *byte = 0);
    }

    /// All of it.
    pub fn all(&self) -> Span {
        Span::new(0, self.bytes)
    }

    /// The pages under it.
    pub fn paging(&self) -> Paging {
        self.paging
    }

    /// The bytes of a span that nobody else holds.
    ///
    /// # Panics
    /// When the span lies outside the region or is lent.
    pub fn bytes(&self, span: Span) -> &[u8] {
        self.assert_mine(span);
        // SAFETY: the span lies within the mapping, which is initialised (zero pages) and lives as long as `self`; no
        // request in flight may write it, as it is not lent; `&self` keeps `bytes_mut` away.
        unsafe { std::slice::from_raw_parts(self.address(span.offset), span.bytes as usize) }
    }

    /// The same, to write.
    ///
    /// # Panics
    /// When the span lies outside the region or is lent.
    pub fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        self.assert_mine(span);
        // SAFETY: as in `bytes`; `&mut self` makes this the only slice into the region.
        unsafe { std::slice::from_raw_parts_mut(self.address(span.offset), span.bytes as usize) }
    }

    /// Two spans that do not overlap.
    ///
    /// # Panics
    /// When one lies outside the region or is lent, or when they overlap.
    pub fn pair_mut(&mut self, one: Span, other: Span) -> (&mut [u8], &mut [u8]) {
        self.assert_mine(one);
        self.assert_mine(other);
        let apart = one.offset + one.bytes <= other.offset || other.offset + other.bytes <= one.offset;
        assert!(apart, "{one:?} and {other:?} overlap");
        // SAFETY: as in `bytes_mut`, and the assertion above keeps the two slices apart.
        let first = unsafe { std::slice::from_raw_parts_mut(self.address(one.offset), one.bytes as usize) };
        // SAFETY: the same.
        let second = unsafe { std::slice::from_raw_parts_mut(self.address(other.offset), other.bytes as usize) };
        (first, second)
    }

    /// Hands a span to a request. Several requests may hold the same span: mirrors are written from one buffer.
    ///
    /// # Panics
    /// When the span lies outside the region, or 255 requests hold it already.
    pub fn lend(&mut self, span: Span) {
        for count in self.lent_mut(span) {
            *count = count.checked_add(1).expect("at most 255 requests share a buffer");
        }
    }

    /// Takes a span back from a request that has ended.
    ///
    /// # Panics
    /// When it was not lent.
    pub fn give_back(&mut self, span: Span) {
        for count in self.lent_mut(span) {
            *count = count.checked_sub(1).expect("only a lent span is given back");
        }
    }

    /// For the kernel: where a span starts. It is in nobody's hands but the kernel's while it is lent.
    pub(crate) fn address(&self, offset: u32) -> *mut u8 {
        assert!(offset <= self.bytes, "{offset} lies outside the region");
        // SAFETY: `offset <= bytes <= mapped`, so the result lies within or one past the mapping.
        unsafe { self.start.as_ptr().add(offset as usize) }
    }

    /// The whole mapping, to register it.
    pub(crate) fn iovec(&self) -> libc::iovec {
        libc::iovec { iov_base: self.start.as_ptr().cast(), iov_len: self.bytes as usize }
    }

    fn assert_mine(&self, span: Span) {
        let blocks = blocks_of(span);
        assert!(
            u64::from(span.offset) + u64::from(span.bytes) <= u64::from(self.bytes),
            "{span:?} lies outside the region"
        );
        assert!(self.lent[blocks].iter().all(|&count| count == 0), "{span:?} is lent to a request in flight");
    }

    fn lent_mut(&mut self, span: Span) -> &mut [u8] {
        assert!(
            u64::from(span.offset) + u64::from(span.bytes) <= u64::from(self.bytes),
            "{span:?} lies outside the region"
        );
        &mut self.lent[blocks_of(span)]
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.lent.iter().any(|&count| count != 0) {
            // A request may still write here. Losing the memory is safe; giving it back to the system is not.
            return;
        }
        // SAFETY: `start` and `mapped` are those of one mapping of our own, and no slice into it outlives `self`.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

/// Asks the processor to bring the cache line that `byte` is in, for writing. A hint without effect on values.
#[inline]
pub fn prefetch_for_write(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction reads no value and faults on no address; this one is valid besides.
    unsafe {
        std::arch::asm!("prefetchw [{0}]", in(reg) byte, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}

fn blocks_of(span: Span) -> std::ops::Range<usize> {
    let start = span.offset as usize / BLOCK;
    let end = (span.offset as usize + span.bytes as usize).div_ceil(BLOCK);
    start..end.max(start)
}

fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("the kernel mapped memory at address 0"))
}

/// A mapping whose start is a multiple of `unit`; the surplus on both sides is given back.
fn map_aligned(bytes: usize, unit: usize) -> io::Result<NonNull<u8>> {
    let whole = map(bytes + unit, 0)?;
    let before = whole.as_ptr().align_offset(unit);
    let unmap = |offset: usize, length: usize| {
        if length > 0 {
            // SAFETY: `offset + length <= bytes + unit`: a part of the mapping made above that nobody uses.
            let part = unsafe { whole.as_ptr().add(offset) };
            // SAFETY: that part is ours and no reference into it exists.
            let _ = unsafe { libc::munmap(part.cast(), length) };
        }
    };
    unmap(0, before);
    unmap(before + bytes, unit - before);
    // SAFETY: `before < unit`, so this lies within the mapping.
    let start = unsafe { whole.as_ptr().add(before) };
    NonNull::new(start).ok_or_else(|| io::Error::other("the kernel mapped memory at address 0"))
}

/// Huge pages are for regions that fill one.
fn page_bytes(region_bytes: usize) -> usize {
    if region_bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { BLOCK }
}

fn advise_huge(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: advice on a mapping of our own; it changes no contents.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) == 0 }
}

/// Whether the kernel followed the advice: the mapping that holds `start` has huge pages.
fn huge_pages_found(start: NonNull<u8>) -> bool {
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return false };
    let address = start.as_ptr() as usize;
    let mut inside = false;
    for line in maps.lines() {
        let range = line.split_whitespace().next().and_then(|word| word.split_once('-'));
        let bounds = range.map(|(a, b)| (usize::from_str_radix(a, 16), usize::from_str_radix(b, 16)));
        if let Some((Ok(from), Ok(to))) = bounds {
            inside = (from..to).contains(&address);
        } else if inside && let Some(rest) = line.strip_prefix("AnonHugePages:") {
            return !rest.trim_start().starts_with("0 ");
        }
    }
    false
}

/// The most bytes of a region: io_uring registers no larger buffer.
pub const REGION_BYTES_MAX: u32 = 1 << 30;
const HUGE_PAGE_BYTES: usize = 2 << 20;
const BLOCK: usize = 4096;
const _: () = assert!(BLOCK as u64 == BLOCK_BYTES);

#[cfg(test)]
mod tests {
    use bireme_control::raid::geometry::Level;

    use super::*;

    #[test]
    fn a_region_is_aligned_and_zero() {
        for bytes in [4096, 12288, 2 << 20, 5 << 20] {
            let region = Region::new(bytes).expect("memory");
            assert_eq!(region.address(0).align_offset(BLOCK), 0);
            assert!(region.bytes(region.all()).iter().all(|&b| b == 0));
        }
        assert!(Region::new(0).is_err());
        assert!(Region::new((1 << 30) + 1).is_err());
    }

    #[test]
    #[should_panic(expected = "is lent to a request in flight")]
    fn lent_bytes_cannot_be_seen() {
        let mut region = Region::new(16384).expect("memory");
        region.lend(Span::new(4096, 8192));
        let _ = region.bytes(Span::new(0, 16384));
    }

    #[test]
    fn what_two_requests_hold_comes_back_after_both() {
        let mut region = Region::new(8192).expect("memory");
        let span = Span::new(0, 4096);
        region.lend(span);
        region.lend(span);
        region.give_back(span);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| region.bytes(span).len())).is_err());
        region.give_back(span);
        assert_eq!(region.bytes(span).len(), 4096);
    }

    #[test]
    fn a_weave_takes_the_chunks_from_where_they_lie() {
        let weave = |level, members, row, copy| {
            let geometry = Geometry::new(level, members, 4096, 65536).expect("a usable shape");
            Weave { offset: 1 << 20, geometry, row, copy, column_bytes: 8192, bytes: 10_000, skip: 0 }
        };
        let pieces = |weave: Weave| -> Vec<(u32, u32)> {
            weave.spans().map(|span| ((span.offset - (1 << 20)) / 4096, span.bytes)).collect()
        };
        let striped = weave(Level::Raid0, 2, 6, 0);
        assert_eq!(pieces(striped), [(0, 4096), (2, 4096), (1, 1808)]);
        assert_eq!(pieces(Weave { skip: 5000, bytes: 5000, ..striped }), [(2, 3192), (1, 1808)]);
        // Row 1 of three has its parity on member 1, row 2 on member 0.
        assert_eq!(pieces(weave(Level::Raid5, 3, 1, 0)), [(4, 4096), (0, 4096), (3, 1808)]);
        assert_eq!(pieces(weave(Level::Raid10, 3, 4, 0)), [(0, 4096), (4, 4096), (3, 1808)]);
        assert_eq!(pieces(weave(Level::Raid10, 3, 4, 1)), [(2, 4096), (1, 4096), (5, 1808)]);
    }
}
