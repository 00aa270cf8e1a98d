//! The leaves of the pages in use, in memory: read when a page is first touched, written back in batches.
//!
//! ```text
//!   absent ──begin──▶ loading ──loaded, member by member──▶ ready ──set──▶ dirty ──write back──▶ ready ──evict──▶ absent
//! ```
//!
//! A page that somebody works on is pinned. What is unpinned, not dirty and not being written may make room, the one not
//! used for longest first, nearly: a hand goes round and passes over those used since it came by.

use bireme_control::raid::members::Members;

use crate::checksum::Leaf;

/// The leaves of some pages.
#[derive(Debug)]
pub(super) struct Leaves {
    entries: Box<[Entry]>,
    /// By entry, then member, then block.
    leaves: Box<[Leaf]>,
    members: usize,
    /// Leaves of a page on each member.
    per_member: usize,
    /// The entry of each page of the home, or [`NOWHERE`].
    places: Box<[u32]>,
    hand: usize,
}

/// What is known of one page's leaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// Which page of the home.
    pub(super) page: Option<usize>,
    /// Its frame.
    pub(super) frame: u64,
    pins: u32,
    used: bool,
    /// Members whose leaves are here.
    pub(super) known: Members,
    /// Members whose leaves are being read.
    pub(super) loading: Members,
    /// Members whose leaves are newer here than on the device.
    pub(super) dirty: Members,
    /// Members whose leaves are being written.
    pub(super) writing: Members,
    /// Members whose leaves the drain under way must have written.
    pub(super) due: Members,
    /// Whether any block has a leaf, once somebody has looked.
    marked: Option<bool>,
    /// Somebody sees to it that all have.
    pub(super) clearing: bool,
}

impl Leaves {
    /// Room for so many pages of a home that has `home_pages`.
    pub(super) fn new(pages: u16, members: u16, per_member: u32, home_pages: usize) -> Leaves {
        let (entries, members) = (usize::from(pages.max(1)), usize::from(members));
        let per_member = usize::try_from(per_member).expect("fits into memory");
        Leaves {
            entries: vec![Entry::default(); entries].into_boxed_slice(),
            leaves: vec![Leaf::ABSENT; entries * members * per_member].into_boxed_slice(),
            members,
            per_member,
            places: vec![NOWHERE; home_pages].into_boxed_slice(),
            hand: 0,
        }
    }

    /// Pins a page and says where it is; `None` while there is no room for it. Then [`evictable`](Leaves::evictable) names
    /// what must be written back.
    pub(super) fn pin(&mut self, page: usize, frame: u64) -> Option<u16> {
        let index = match self.places[page] {
            NOWHERE => {
                let index = self.make_room()?;
                self.places[page] = u32::try_from(index).expect("counted with 16 bits");
                self.entries[index] = Entry { page: Some(page), frame, ..Entry::default() };
                index
            }
            place => usize::try_from(place).expect("an index"),
        };
        let entry = &mut self.entries[index];
        (entry.pins, entry.used) = (entry.pins + 1, true);
        Some(u16::try_from(index).expect("counted with 16 bits"))
    }

    pub(super) fn unpin(&mut self, entry: u16) {
        let pins = &mut self.entry(entry).pins;
        *pins = pins.checked_sub(1).expect("a page is unpinned as often as it was pinned");
    }

    pub(super) fn entry(&mut self, entry: u16) -> &mut Entry {
        &mut self.entries[usize::from(entry)]
    }

    pub(super) fn entries(&mut self) -> impl Iterator<Item = (u16, &mut Entry)> {
        (0u16..).zip(self.entries.iter_mut())
    }

    /// A page that only stays because it is dirty.
    pub(super) fn evictable(&self) -> Option<u16> {
        let stays =
            |entry: &Entry| entry.page.is_some() && entry.pins == 0 && !(entry.dirty - entry.writing).is_empty();
        let index = (0..self.entries.len()).map(|step| (self.hand + step) % self.entries.len());
        index.into_iter().find(|&index| stays(&self.entries[index])).and_then(|index| u16::try_from(index).ok())
    }

    pub(super) fn get(&self, entry: u16, member: u16, leaf: u32) -> Leaf {
        self.leaves[self.at(entry, member) + leaf as usize]
    }

    /// Whether a member's leaves are here.
    pub(super) fn knows(&self, entry: u16, member: u16) -> bool {
        self.entries[usize::from(entry)].known.contains(member)
    }

    pub(super) fn set(&mut self, entry: u16, member: u16, leaf: u32, value: Leaf) {
        let at = self.at(entry, member) + leaf as usize;
        if self.leaves[at] != value {
            self.leaves[at] = value;
            let entry = self.entry(entry);
            (entry.dirty, entry.marked) = (entry.dirty.with(member), Some(true));
        }
    }

    /// Whether any block of a page has a leaf.
    pub(super) fn is_marked(&mut self, entry: u16) -> bool {
        if let Some(marked) = self.entry(entry).marked {
            return marked;
        }
        let known = self.entry(entry).known;
        let of = |member: u16| &self.leaves[self.at(entry, member)..][..self.per_member];
        let marked = known.iter().any(|member| of(member).iter().any(|&leaf| leaf != Leaf::ABSENT));
        self.entry(entry).marked = Some(marked);
        marked
    }

    /// A member's leaf blocks were read.
    pub(super) fn loaded(&mut self, entry: u16, member: u16, bytes: &[u8]) {
        let at = self.at(entry, member);
        let (leaves, _) = bytes.as_chunks::<8>();
        for (leaf, bytes) in self.leaves[at..at + self.per_member].iter_mut().zip(leaves) {
            *leaf = Leaf(u64::from_le_bytes(*bytes));
        }
        let entry = self.entry(entry);
        (entry.known, entry.marked) = (entry.known.with(member), None);
    }

    /// Forgets a member's leaves: all are absent, and known to be.
    pub(super) fn clear(&mut self, entry: u16, member: u16) {
        let at = self.at(entry, member);
        self.leaves[at..at + self.per_member].fill(Leaf::ABSENT);
        let entry = self.entry(entry);
        (entry.known, entry.dirty) = (entry.known.with(member), entry.dirty.with(member));
    }

    /// A member's leaf blocks, as they lie on the device.
    pub(super) fn store(&self, entry: u16, member: u16, bytes: &mut [u8]) {
        let at = self.at(entry, member);
        bytes.fill(0);
        let (leaves, _) = bytes.as_chunks_mut::<8>();
        for (bytes, leaf) in leaves.iter_mut().zip(&self.leaves[at..at + self.per_member]) {
            *bytes = leaf.0.to_le_bytes();
        }
    }

    fn at(&self, entry: u16, member: u16) -> usize {
        (usize::from(entry) * self.members + usize::from(member)) * self.per_member
    }

    /// An entry that nothing keeps, emptied.
    fn make_room(&mut self) -> Option<usize> {
        // Twice round: the first time may only find what was used lately.
        for _ in 0..2 * self.entries.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[index];
            let kept = entry.pins > 0 || !(entry.dirty | entry.writing | entry.loading | entry.due).is_empty();
            if !kept && !std::mem::take(&mut entry.used) {
                if let Some(page) = entry.page.take() {
                    self.places[page] = NOWHERE;
                }
                return Some(index);
            }
        }
        None
    }
}

const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_or_dirty_stays() {
        let mut leaves = Leaves::new(2, 2, 4, 10);
        let (a, b) = (leaves.pin(3, 30).expect("room"), leaves.pin(4, 40).expect("room"));
        assert_eq!(leaves.pin(5, 50), None);
        assert_eq!(leaves.pin(3, 30), Some(a));
        leaves.loaded(a, 1, &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((leaves.get(a, 1, 1), leaves.get(a, 0, 1)), (Leaf(2), Leaf::ABSENT));
        leaves.set(a, 1, 1, Leaf(2));
        assert!(leaves.entry(a).dirty.is_empty(), "nothing has changed");
        leaves.set(a, 1, 3, Leaf(9));
        leaves.unpin(a);
        leaves.unpin(a);
        assert_eq!((leaves.pin(5, 50), leaves.evictable()), (None, Some(a)));
        let mut bytes = [0xFF; 40];
        leaves.store(a, 1, &mut bytes);
        assert_eq!((bytes[8], bytes[24], bytes[32]), (2, 9, 0));
        leaves.entry(a).dirty = Members::NONE;
        assert_eq!((leaves.pin(5, 50), leaves.entry(a).frame), (Some(a), 50));
        assert!(!leaves.knows(a, 1));
        leaves.unpin(b);
        assert_eq!(leaves.pin(4, 40), Some(b), "still here");
    }
}
