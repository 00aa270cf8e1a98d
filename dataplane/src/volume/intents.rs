//! Which regions of a home are being written to, at levels without a log.
//!
//! ```text
//!   clear ─ a write ─▶ set, and the write waits ─ a head with the bit is durable ─▶ the write goes on
//!     ▲                                                                               │
//!     └─ leaves written and all flushed, and nothing came since that began ◀──────────┘
//! ```
//!
//! After a crash the copies of what lies in these regions may differ, and the leaves be old.

use super::head::{BITS_BYTES, REGIONS_MAX};

/// The bitmap of one home.
#[derive(Debug)]
pub(super) struct Intents {
    /// Pages of the home in a region.
    region_pages: u64,
    /// Regions that are written to.
    set: Bits,
    /// Those whose bit is in the head under way.
    sent: Bits,
    /// Those whose bit is durable.
    durable: Bits,
    /// Those that were written to since the drain under way began.
    touched: Bits,
    /// A drain is asked for.
    pub(super) drain: bool,
}

impl Intents {
    pub(super) fn new(home_pages: u64) -> Intents {
        let blank = || Bits(vec![0; BITS_BYTES].into_boxed_slice());
        Intents {
            region_pages: region_pages(home_pages),
            set: blank(),
            sent: blank(),
            durable: blank(),
            touched: blank(),
            drain: false,
        }
    }

    /// Announces a write to a page of the home. Whether its bit must be made durable, which is to be asked for once.
    pub(super) fn announce(&mut self, home_page: u64) -> bool {
        let region = home_page / self.region_pages;
        self.touched.put(region, true);
        let is_new = !self.set.has(region);
        self.set.put(region, true);
        is_new
    }

    /// Whether a page may be written to.
    pub(super) fn is_durable(&self, home_page: u64) -> bool {
        self.durable.has(home_page / self.region_pages)
    }

    /// A head is made.
    pub(super) fn write(&mut self, bits: &mut [u8; BITS_BYTES]) {
        self.sent.0.copy_from_slice(&self.set.0);
        bits.copy_from_slice(&self.set.0);
    }

    /// That head is durable. What was cleared since does not count: the next head will be without it.
    pub(super) fn written(&mut self) {
        for ((durable, sent), set) in self.durable.0.iter_mut().zip(&self.sent.0).zip(&self.set.0) {
            *durable = sent & set;
        }
    }

    /// A drain begins: what is announced from now on is not drained by it.
    pub(super) fn begin_drain(&mut self) {
        self.touched.0.fill(0);
        self.drain = false;
    }

    /// What was written before the drain is durable, with its leaves.
    pub(super) fn clear_untouched(&mut self) {
        for ((set, durable), touched) in self.set.0.iter_mut().zip(self.durable.0.iter_mut()).zip(&self.touched.0) {
            (*set, *durable) = (*set & touched, *durable & touched);
        }
    }

    pub(super) fn is_clear(&self) -> bool {
        self.set.0.iter().all(|&byte| byte == 0)
    }
}

/// Pages of a home in each region, so that there is a bit for all.
pub(super) fn region_pages(home_pages: u64) -> u64 {
    home_pages.div_ceil(REGIONS_MAX).max(1)
}

/// Whether the bit of a region is set.
pub(super) fn has_bit(bits: &[u8], region: u64) -> bool {
    let at = usize::try_from(region / 8).expect("fewer regions than bits");
    bits[at] >> (region % 8) & 1 == 1
}

/// A bit for each region.
#[derive(Debug)]
struct Bits(Box<[u8]>);

impl Bits {
    fn has(&self, region: u64) -> bool {
        has_bit(&self.0, region)
    }

    fn put(&mut self, region: u64, bit: bool) {
        let at = usize::try_from(region / 8).expect("fewer regions than bits");
        let mask = 1 << (region % 8);
        if bit { self.0[at] |= mask } else { self.0[at] &= !mask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_durable_with_its_head_and_cleared_when_nothing_came_since() {
        let mut intents = Intents::new(1000);
        let mut bits = [0; BITS_BYTES];
        assert!(intents.announce(9) && !intents.announce(9) && !intents.is_durable(9));
        intents.write(&mut bits);
        assert!(has_bit(&bits, 9) && intents.announce(10));
        intents.written();
        assert!(intents.is_durable(9) && !intents.is_durable(10), "10 came after the head was made");
        intents.begin_drain();
        intents.announce(10);
        intents.clear_untouched();
        assert!(!intents.is_durable(9) && !intents.is_clear());
        assert!(intents.announce(9), "to be made durable again");
        intents.written();
        assert!(intents.is_durable(9), "the old head has it, and no head was made without it");
    }

    #[test]
    fn a_bit_that_was_cleared_under_way_does_not_become_durable() {
        let mut intents = Intents::new(1000);
        intents.announce(1);
        intents.write(&mut [0; BITS_BYTES]);
        intents.begin_drain();
        intents.clear_untouched();
        intents.written();
        assert!(intents.is_clear() && !intents.is_durable(1));
    }

    #[test]
    fn a_large_home_has_large_regions() {
        assert_eq!((region_pages(0), region_pages(REGIONS_MAX), region_pages(REGIONS_MAX + 1)), (1, 1, 2));
        let mut intents = Intents::new(1 << 30);
        assert!(intents.announce((1 << 30) - 1));
    }
}
