//! The volumes of a pool: where each lies, and which of its logs counts.
//!
//! ```text
//!   volumes       name       -> (id, bytes, generation, epoch, clean)
//!   volume_pages  (id, page) -> frame
//!   volume_lanes  (id, lane) -> (first frame, frames)
//!   counters      "volumes", "epochs" -> the last one that was given
//! ```
//!
//! Ids and epochs are never given twice, not even after a volume is gone: its frames, with records of its log in them, may
//! belong to another then.

use bireme_control::units::Extent;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::Store;
use crate::message::StoreFailure;

/// A volume as the metadata know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// What the operator calls it.
    pub name: String,
    /// What its pages are filed under.
    pub id: u64,
    /// Its size: whole blocks.
    pub bytes: u64,
    /// What the tags of its leaves carry.
    pub generation: u64,
    /// Of its newest opening: only records of this one count.
    pub epoch: u64,
    /// Closed in order: no record counts.
    pub clean: bool,
}

impl Store {
    /// All volumes, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>, StoreFailure> {
        self.read(|transaction| {
            let mut records = Vec::new();
            for row in transaction.open_table(VOLUMES)?.iter()? {
                let (name, row) = row?;
                records.push(record(name.value(), row.value()));
            }
            Ok(records)
        })
    }

    /// The volume of this name.
    pub fn volume(&self, name: &str) -> Result<Option<VolumeRecord>, StoreFailure> {
        self.read(|transaction| {
            let row = transaction.open_table(VOLUMES)?.get(name)?;
            Ok(row.map(|row| record(name, row.value())))
        })
    }

    /// The frame of each page of a volume, in order.
    pub fn volume_frames(&self, id: u64) -> Result<Vec<u64>, StoreFailure> {
        self.read(|transaction| {
            let table = transaction.open_table(VOLUME_PAGES)?;
            table.range((id, 0)..=(id, u64::MAX))?.map(|row| Ok(row?.1.value())).collect()
        })
    }

    /// The frames of each lane of a volume.
    pub fn volume_lanes(&self, id: u64) -> Result<Vec<Extent>, StoreFailure> {
        self.read(|transaction| {
            let table = transaction.open_table(VOLUME_LANES)?;
            let mut lanes = Vec::new();
            for row in table.range((id, 0)..=(id, u16::MAX))? {
                let (start, count) = row?.1.value();
                lanes.push(Extent::new(start, count));
            }
            Ok(lanes)
        })
    }

    /// Adds a volume that was never opened; its id and epoch are given here. `generation` makes its own of an id.
    pub(crate) fn add_volume(
        &self,
        (name, bytes): (&str, u64),
        generation: impl FnOnce(u64) -> u64,
        frames: &[Extent],
        lanes: &[Extent],
    ) -> Result<(), StoreFailure> {
        self.write(|transaction| {
            let id = count_up(transaction, LAST_VOLUME)?;
            let epoch = count_up(transaction, LAST_EPOCH)?;
            let mut volumes = transaction.open_table(VOLUMES)?;
            volumes.insert(name, (id, bytes, generation(id), epoch, true))?;
            let mut pages = transaction.open_table(VOLUME_PAGES)?;
            for (page, frame) in (0..).zip(frames.iter().flat_map(|run| run.iter())) {
                pages.insert((id, page), frame)?;
            }
            let mut table = transaction.open_table(VOLUME_LANES)?;
            for (index, lane) in (0..).zip(lanes) {
                table.insert((id, index), (lane.start, lane.count))?;
            }
            Ok(())
        })
    }

    /// Takes a volume and its frames out.
    pub(crate) fn remove_volume(&self, name: &str) -> Result<(), StoreFailure> {
        self.write(|transaction| {
            let row = transaction.open_table(VOLUMES)?.remove(name)?.map(|row| row.value());
            let Some((id, ..)) = row else { return Ok(()) };
            transaction.open_table(VOLUME_PAGES)?.retain_in((id, 0)..=(id, u64::MAX), |_, _| false)?;
            transaction.open_table(VOLUME_LANES)?.retain_in((id, 0)..=(id, u16::MAX), |_, _| false)?;
            Ok(())
        })
    }

    /// A volume is opened: from now on only records of the epoch that is returned count.
    pub(crate) fn begin_epoch(&self, volume: &VolumeRecord) -> Result<VolumeRecord, StoreFailure> {
        self.write(|transaction| {
            let epoch = count_up(transaction, LAST_EPOCH)?;
            let opened = VolumeRecord { epoch, clean: false, ..volume.clone() };
            transaction.open_table(VOLUMES)?.insert(opened.name.as_str(), row(&opened))?;
            Ok(opened)
        })
    }

    /// A volume was closed in order.
    pub(crate) fn end_epoch(&self, volume: &VolumeRecord) -> Result<(), StoreFailure> {
        self.write(|transaction| {
            let closed = VolumeRecord { clean: true, ..volume.clone() };
            transaction.open_table(VOLUMES)?.insert(closed.name.as_str(), row(&closed))?;
            Ok(())
        })
    }
}

/// Tables that are empty exist, so that readers need not tell.
pub(super) fn make_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(VOLUMES)?;
    transaction.open_table(VOLUME_PAGES)?;
    transaction.open_table(VOLUME_LANES)?;
    transaction.open_table(COUNTERS)?;
    Ok(())
}

/// The next of a row of numbers.
fn count_up(transaction: &WriteTransaction, counter: &'static str) -> Result<u64, redb::Error> {
    let mut counters = transaction.open_table(COUNTERS)?;
    let next = counters.get(counter)?.map_or(0, |row| row.value()) + 1;
    counters.insert(counter, next)?;
    Ok(next)
}

fn record(name: &str, (id, bytes, generation, epoch, clean): VolumeRow) -> VolumeRecord {
    VolumeRecord { name: name.to_owned(), id, bytes, generation, epoch, clean }
}

fn row(record: &VolumeRecord) -> VolumeRow {
    (record.id, record.bytes, record.generation, record.epoch, record.clean)
}

type VolumeRow = (u64, u64, u64, u64, bool);
const VOLUMES: TableDefinition<'static, &'static str, VolumeRow> = TableDefinition::new("volumes");
const VOLUME_PAGES: TableDefinition<'static, (u64, u64), u64> = TableDefinition::new("volume_pages");
const VOLUME_LANES: TableDefinition<'static, (u64, u16), (u64, u64)> = TableDefinition::new("volume_lanes");
const COUNTERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("counters");
const LAST_VOLUME: &str = "volumes";
const LAST_EPOCH: &str = "epochs";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::image::Image;

    fn store() -> Store {
        Store::create(Image::empty([0; 16], 64 << 20)).expect("memory")
    }

    #[test]
    fn a_volume_comes_back_and_goes_with_all_its_rows() {
        let store = store();
        let (frames, lanes) = ([Extent::new(9, 2), Extent::new(3, 1)], [Extent::new(4, 2), Extent::new(6, 2)]);
        store.add_volume(("b", 12288), |id| 70 + id, &frames, &lanes).expect("room");
        store.add_volume(("a", 4096), |id| 70 + id, &[Extent::new(0, 1)], &lanes[..0]).expect("room");
        let volumes = store.volumes().expect("readable");
        let ids: Vec<_> = volumes.iter().map(|volume| (volume.name.as_str(), volume.id, volume.generation)).collect();
        assert_eq!(ids, [("a", 2, 72), ("b", 1, 71)]);
        assert_eq!(store.volume_frames(1), Ok(vec![9, 10, 3]));
        assert_eq!(store.volume_lanes(1), Ok(lanes.to_vec()));
        store.remove_volume("b").expect("room");
        assert_eq!(
            (store.volume("b"), store.volume_frames(1), store.volume_lanes(1)),
            (Ok(None), Ok(vec![]), Ok(vec![]))
        );
        assert_eq!(store.volume_frames(2), Ok(vec![0]), "another's rows stay");
        store.remove_volume("b").expect("it is gone already");
    }

    #[test]
    fn ids_and_epochs_are_never_given_twice() {
        let store = store();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            store.add_volume(("v", 4096), |id| id, &[Extent::new(0, 1)], &[]).expect("room");
            let made = store.volume("v").expect("readable").expect("made");
            assert!(made.clean && seen.insert(made.epoch));
            for _ in 0..2 {
                let opened = store.begin_epoch(&made).expect("room");
                assert!(!opened.clean && seen.insert(opened.epoch));
                assert_eq!(store.volume("v"), Ok(Some(opened.clone())));
                store.end_epoch(&opened).expect("room");
                assert_eq!(store.volume("v"), Ok(Some(VolumeRecord { clean: true, ..opened })));
            }
            store.remove_volume("v").expect("room");
        }
        store.add_volume(("v", 4096), |id| id, &[Extent::new(0, 1)], &[]).expect("room");
        assert_eq!(store.volume("v").expect("readable").map(|volume| volume.id), Some(5));
    }
}
