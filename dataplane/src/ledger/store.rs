//! The metadata of a pool: which sets there are, and where their pages lie.
//!
//! ```text
//!   sets      number      -> (bytes, pages, generation, seed or none)
//!   pages     (set, page) -> (frame, root)
//!   learnt    "balance"   -> what peers know of each other's speed, as JSON
//!   volumes   ...            see [`volumes`]
//! ```
//!
//! An embedded transactional store on an image in memory; this file and those below it alone know which.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bireme_control::balance::Learnt;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::image::Image;
use crate::message::StoreFailure;

pub mod volumes;

/// A committed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetRecord {
    /// Rises from set to set.
    pub number: u64,
    /// Bytes of the data.
    pub bytes: u64,
    /// Pages of the data; the last may be partial.
    pub pages: u64,
    /// What the tags of its leaves carry.
    pub generation: u64,
    /// What generated data derives from; `None` for data of a file.
    pub seed: Option<u64>,
}

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRecord {
    /// Its frame.
    pub frame: u64,
    /// The root of its leaves.
    pub root: u64,
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
    image: Image,
}

impl Store {
    /// An empty store on an empty image.
    pub(crate) fn create(image: Image) -> Result<Store, StoreFailure> {
        let store = Store::open(image)?;
        store.write(|transaction| {
            let (_, _, _) =
                (transaction.open_table(SETS)?, transaction.open_table(PAGES)?, transaction.open_table(LEARNT)?);
            volumes::make_tables(transaction)
        })?;
        Ok(store)
    }

    /// The store on an image that was read from a device: repaired, and every checksum in it verified.
    pub(crate) fn open(image: Image) -> Result<Store, StoreFailure> {
        let backend = image.clone();
        let open = move || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create_with_backend(backend)
        };
        // The store may panic on an image that is not one of its own, and a mirror can hold anything.
        let database = catch_unwind(AssertUnwindSafe(open)).map_err(|_| StoreFailure::Corrupted)?;
        let database = database.map_err(|error| failure(&image, &error.into()))?;
        Ok(Store { database, image })
    }

    /// What the store wrote and nobody has replayed yet.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// The newest committed set.
    pub fn newest(&self) -> Result<Option<SetRecord>, StoreFailure> {
        Ok(self.sets()?.pop())
    }

    /// All sets, oldest first.
    pub fn sets(&self) -> Result<Vec<SetRecord>, StoreFailure> {
        self.read(|transaction| {
            let table = transaction.open_table(SETS)?;
            let record = |row: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, SetRow>), _>| {
                let (number, row) = row?;
                let (bytes, pages, generation, seed) = row.value();
                Ok(SetRecord { number: number.value(), bytes, pages, generation, seed })
            };
            table.iter()?.map(record).collect()
        })
    }

    /// The pages of a set in order.
    pub fn pages(&self, set: u64) -> Result<Vec<PageRecord>, StoreFailure> {
        self.read(|transaction| {
            let table = transaction.open_table(PAGES)?;
            let mut records = Vec::new();
            for row in table.range((set, 0)..=(set, u64::MAX))? {
                let (frame, root) = row?.1.value();
                records.push(PageRecord { frame, root });
            }
            Ok(records)
        })
    }

    /// What the peers of earlier runs have learnt; `None` when there is nothing, or nothing that can be read: that costs the
    /// first set some time, and no more.
    pub fn learnt(&self) -> Option<Learnt> {
        let read = self.read(|transaction| {
            let row = transaction.open_table(LEARNT)?.get(BALANCE)?;
            Ok(row.map(|row| row.value().to_vec()))
        });
        serde_json::from_slice(&read.ok()??).ok()
    }

    /// Makes a set the newest and drops all others, in one transaction with what was learnt by it.
    pub(crate) fn commit(&self, set: &SetRecord, pages: &[PageRecord], learnt: &Learnt) -> Result<(), StoreFailure> {
        let others = self.sets()?;
        // What very many peers know of each other is more than the area is made for, and lasts as long as they do.
        let learnt = serde_json::to_vec(learnt).ok().filter(|bytes| bytes.len() <= LEARNT_BYTES_MAX);
        self.write(|transaction| {
            let (mut sets, mut table) = (transaction.open_table(SETS)?, transaction.open_table(PAGES)?);
            let mut others_learnt = transaction.open_table(LEARNT)?;
            match &learnt {
                Some(bytes) => drop(others_learnt.insert(BALANCE, bytes.as_slice())?),
                None => drop(others_learnt.remove(BALANCE)?),
            }
            for old in &others {
                sets.remove(old.number)?;
                table.retain_in((old.number, 0)..=(old.number, u64::MAX), |_, _| false)?;
            }
            for (page, record) in (0..).zip(pages) {
                table.insert((set.number, page), (record.frame, record.root))?;
            }
            sets.insert(set.number, (set.bytes, set.pages, set.generation, set.seed))?;
            Ok(())
        })
    }

    fn read<T>(&self, take: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreFailure> {
        let all = || take(&self.database.begin_read()?);
        all().map_err(|error| failure(&self.image, &error))
    }

    /// One transaction: what `apply` returns, once all of it is in the image.
    fn write<T>(
        &self,
        apply: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreFailure> {
        let all = || {
            let transaction = self.database.begin_write()?;
            let applied = apply(&transaction)?;
            transaction.commit()?;
            Ok::<T, redb::Error>(applied)
        };
        all().map_err(|error| failure(&self.image, &error))
    }
}

fn failure(image: &Image, error: &redb::Error) -> StoreFailure {
    match error {
        _ if image.is_full() => StoreFailure::Full,
        redb::Error::Corrupted(_) | redb::Error::Io(_) => StoreFailure::Corrupted,
        _ => StoreFailure::Refused,
    }
}

type SetRow = (u64, u64, u64, Option<u64>);
type PageKey = (u64, u64);
type PageRow = (u64, u64);
const SETS: TableDefinition<'static, u64, SetRow> = TableDefinition::new("sets");
const PAGES: TableDefinition<'static, PageKey, PageRow> = TableDefinition::new("pages");
const LEARNT: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("learnt");
const BALANCE: &str = "balance";
/// A small part of the smallest area.
const LEARNT_BYTES_MAX: usize = 64 << 10;
/// The image is memory already.
const CACHE_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use bireme_control::raid::geometry::{Geometry, Level};

    use super::*;
    use crate::layout::Layout;

    fn set(number: u64, pages: u64) -> (SetRecord, Vec<PageRecord>) {
        let record = SetRecord { number, bytes: pages * 4096, pages, generation: number, seed: Some(number) };
        (record, (0..pages).map(|page| PageRecord { frame: page + number, root: page * 31 + number }).collect())
    }

    #[test]
    fn a_commit_replaces_the_set_before() {
        let store = Store::create(Image::empty([0; 16], 64 << 20)).expect("memory");
        assert_eq!(store.newest(), Ok(None));
        for number in 1..4 {
            let (record, pages) = set(number, 100);
            store.commit(&record, &pages, &Learnt::default()).expect("room");
            assert_eq!(store.sets(), Ok(vec![record]));
            assert_eq!(store.pages(number), Ok(pages));
            assert_eq!(store.pages(number - 1), Ok(vec![]));
        }
    }

    /// The worst case of the area: sets of half the frames in turn, and then one of all frames.
    #[test]
    fn the_area_of_a_layout_takes_whatever_fits_its_frames() {
        for bytes in [16 << 20, 64 << 20, 1 << 30, 4 << 30] {
            let geometry = Geometry::new(Level::Raid0, 1, 4096, 64 << 10).expect("a usable shape");
            let layout = Layout::new(geometry, bytes).expect("room");
            let area = layout.image();
            let store = Store::create(Image::empty([0; 16], area.end - area.start)).expect("memory");
            for number in 1..6 {
                let pages = if number == 1 { layout.frames() } else { layout.frames() / 2 };
                let (record, pages) = set(number, pages);
                store.commit(&record, &pages, &Learnt::default()).unwrap_or_else(|error| {
                    panic!("{} frames, set {number}: {error:?} in {} bytes", layout.frames(), area.end - area.start)
                });
            }
            let (used, room) = (store.image().len(), area.end - area.start);
            println!("{} frames: {used} of {room} bytes", layout.frames());
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        let (record, pages) = set(1, 200);
        let image = Image::empty([0; 16], 64 << 20);
        let store = Store::create(image.clone()).expect("memory");
        store.commit(&record, &pages, &Learnt::default()).expect("room");
        drop(store);
        let mut bytes = vec![0; usize::try_from(image.len()).expect("small")];
        redb::StorageBackend::read(&image, 0, &mut bytes).expect("inside");
        for seed in 0..60u64 {
            let mut bytes = bytes.clone();
            for change in 0..40 {
                let drawn = crate::checksum::mix(seed * 1000 + change);
                // Half of the changes hit the first 64 KiB, where header and roots lie.
                let all = bytes.len() as u64;
                let range = if change % 2 == 0 { all.min(65536) } else { all };
                bytes[usize::try_from(drawn % range).expect("small")] ^= drawn.to_be_bytes()[0];
            }
            if let Ok(store) = Store::open(Image::loaded([0; 16], 64 << 20, bytes, 1)) {
                let _ = store.newest().map(|_| store.pages(1));
            }
        }
    }
}
