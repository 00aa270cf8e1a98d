//! The mirrors of the metadata: the same on every device that takes part, by replaying what the store wrote.
//!
//! A replay goes on to the next segment when the one before is durable on all mirrors. So after a crash two mirrors differ
//! in blocks of one segment only, and each of them is an image that the store can open. Copying one over the other
//! passes through images that a crash within that segment could have left too: a mirror stays good while it is evened
//! out, and the pool survives the loss of any other meanwhile. One that the store cannot open, because its device has
//! lost writes, is marked in the superblocks until it is the same as the others; so are all at level 0, where
//! nothing is survived.

use bireme_control::raid::geometry::Level;
use bireme_control::units::Nanos;

use super::error::PoolError;
use super::roll::Place;
use super::{Pool, read_mirror, to_usize};
use crate::layout::LENGTHS_BYTES;
use crate::ledger::errands::Trouble;
use crate::ledger::image::{Image, decode_length};
use crate::ledger::task::Replay;
use crate::message::Failure;
use crate::port::blocking::{Blocking, Fault};
use crate::port::{Next, Port};
use crate::superblock::{SUPERBLOCK_BYTES, State};

impl Pool {
    /// A replay to all mirrors, with this much of the port's region from its start on.
    pub(crate) fn replay(&self, region_bytes: u32) -> Replay {
        let files = self.places.iter().flatten().map(|place| place.file).collect();
        Replay::new(files, self.layout().metadata().start, region_bytes)
    }

    /// What the store wrote, to all mirrors.
    pub(super) fn replay_store<P: Port>(&mut self, port: &mut P) -> Result<(), PoolError> {
        let image = self.store().image().clone();
        self.replay_image(&image, port)
    }

    /// The same of an image whose store may be closed. A device that refuses is left out, if the array survives that.
    pub(super) fn replay_image<P: Port>(&mut self, image: &Image, port: &mut P) -> Result<(), PoolError> {
        let mut replay = self.replay(port.region().all().bytes);
        replay.extend(image.take_segments());
        let (mut lost, mut failed) = (false, None);
        while !replay.is_done() && (failed.is_none() || port.in_flight() > 0) {
            if failed.is_none() {
                replay.drive(port, Nanos::ZERO);
            }
            let submitted = port.submit(Next::Event);
            submitted.map_err(|error| PoolError::Port(error.raw_os_error().unwrap_or(libc::EIO)))?;
            while let Some(end) = port.reap() {
                let Err(Trouble { file, failure }) = replay.ended(end) else { continue };
                let Failure::Device { doing, offset, errno, .. } = failure else {
                    return Err(PoolError::Port(libc::EIO));
                };
                match self.without(file, Fault { doing, file, offset, errno }) {
                    Ok(()) => {
                        replay.forsake(file);
                        lost = true;
                    }
                    // What else is in flight ends before anybody is told: the port is to be idle.
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None if lost => self.write_superblocks(port),
            None => Ok(()),
        }
    }

    /// The mirror that the store was read from over all others, with new superblocks before and after; `false` when the
    /// member that has it was lost.
    pub(super) fn even_mirrors<P: Port>(&mut self, port: &mut P) -> Result<bool, PoolError> {
        self.mark_copies(port)?;
        self.write_superblocks(port)?;
        let Some(source) = self.places[self.source].clone() else { return Ok(false) };
        let others: Vec<u16> = self.files().filter(|&file| file != source.file).collect();
        self.copy_mirror(&source, &others, port)?;
        if self.places[self.source].as_ref() != Some(&source) {
            return Ok(false);
        }
        let copies = self.newest.rows.iter_mut().filter(|entry| entry.state == State::Copying);
        copies.for_each(|entry| entry.state = State::Active);
        self.write_superblocks(port)?;
        Ok(true)
    }

    /// Mirrors that are about to be overwritten, and do not count until that is done.
    fn mark_copies<P: Port>(&mut self, port: &mut P) -> Result<(), PoolError> {
        let others: Vec<usize> = self.active().filter(|&row| row != self.source).collect();
        for row in others {
            let file = self.places[row].as_ref().map_or(0, |place| place.file);
            if self.geometry().level() == Level::Raid0 || !matches!(read_mirror(&self.newest, file, port), Ok(Some(_)))
            {
                self.newest.rows[row].state = State::Copying;
            }
            if port.in_flight() > 0 {
                return Err(PoolError::Port(libc::EIO));
            }
        }
        Ok(())
    }

    /// The bytes of a member's mirror, as they were read, over those of these files, as far as none of them is lost.
    pub(super) fn copy_mirror<P: Port>(
        &mut self,
        source: &Place,
        files: &[u16],
        port: &mut P,
    ) -> Result<(), PoolError> {
        let place = self.layout().metadata();
        let mut lengths = vec![0; to_usize(LENGTHS_BYTES)];
        let read = Blocking::new(port).read(source.file, place.start, &mut lengths);
        self.or_without(source.file, read, port)?;
        if self.row_of(source.file).is_none() {
            return Ok(());
        }
        let (_, length) = decode_length(self.newest.pool, &lengths)
            .ok_or_else(|| PoolError::NoMetadata { path: source.path.clone() })?;
        let end = place.start + LENGTHS_BYTES + length.next_multiple_of(SUPERBLOCK_BYTES as u64);
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = place.start;
        while at < end.min(place.end) {
            let part = &mut buffer[..to_usize((end - at).min(COPY_BYTES as u64))];
            let read = Blocking::new(port).read(source.file, at, part);
            self.or_without(source.file, read, port)?;
            if self.row_of(source.file).is_none() {
                return Ok(());
            }
            for &file in files {
                if self.row_of(file).is_none() {
                    continue;
                }
                let written = Blocking::new(port).write(file, at, part);
                self.or_without(file, written, port)?;
            }
            at += part.len() as u64;
        }
        self.flush_all(port)
    }

    /// Makes durable what was written to all. A device that refuses is left out, if the array survives that.
    pub(super) fn flush_all<P: Port>(&mut self, port: &mut P) -> Result<(), PoolError> {
        for file in self.files().collect::<Vec<_>>() {
            let flushed = Blocking::new(port).flush(file);
            self.or_without(file, flushed, port)?;
        }
        Ok(())
    }

    /// The port's files of all that take part.
    pub(super) fn files(&self) -> impl Iterator<Item = u16> + '_ {
        self.places.iter().flatten().map(|place| place.file)
    }

    /// Goes on without a device that has refused, but not with a port that gave up.
    pub(super) fn or_without<P: Port>(
        &mut self,
        file: u16,
        done: Result<(), Fault>,
        port: &P,
    ) -> Result<(), PoolError> {
        match done {
            Err(fault) if port.in_flight() == 0 => self.without(file, fault),
            Err(fault) => Err(self.refused(file, fault)),
            Ok(()) => Ok(()),
        }
    }
}

const COPY_BYTES: usize = 1 << 20;
