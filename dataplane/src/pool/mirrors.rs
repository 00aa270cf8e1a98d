//! The mirrors of the metadata: the same on every device that takes part, by replaying what the store wrote.

use bireme_control::units::Nanos;

use super::error::{PoolError, device};
use super::{Pool, to_usize};
use crate::layout::LENGTHS_BYTES;
use crate::ledger::errands::Trouble;
use crate::ledger::image::{Image, decode_length};
use crate::ledger::task::Replay;
use crate::message::Failure;
use crate::port::blocking::{Blocking, Fault};
use crate::port::{Next, Port};
use crate::superblock::SUPERBLOCK_BYTES;

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
        let mut lost = false;
        while !replay.is_done() {
            replay.drive(port, Nanos::ZERO);
            let submitted = port.submit(Next::Event);
            submitted.map_err(|error| PoolError::Port(error.raw_os_error().unwrap_or(libc::EIO)))?;
            while let Some(end) = port.reap() {
                let Err(Trouble { file, failure }) = replay.ended(end) else { continue };
                let Failure::Device { doing, offset, errno, .. } = failure else {
                    return Err(PoolError::Port(libc::EIO));
                };
                self.without(file, Fault { doing, file, offset, errno })?;
                replay.forsake(file);
                lost = true;
            }
        }
        if lost { self.write_superblocks(port) } else { Ok(()) }
    }

    /// The bytes of the source's mirror, as they were read, over those of these files.
    pub(super) fn copy_mirror<P: Port>(&mut self, files: &[u16], port: &mut P) -> Result<(), PoolError> {
        let place = self.layout().metadata();
        let Some(source) = self.places[self.source].clone() else {
            return Err(PoolError::NoMetadata { path: self.paths[self.source].clone() });
        };
        let from = device(&source.path);
        let mut lengths = vec![0; to_usize(LENGTHS_BYTES)];
        Blocking::new(port).read(source.file, place.start, &mut lengths).map_err(&from)?;
        let (_, length) = decode_length(self.newest.pool, &lengths)
            .ok_or_else(|| PoolError::NoMetadata { path: source.path.clone() })?;
        let end = place.start + LENGTHS_BYTES + length.next_multiple_of(SUPERBLOCK_BYTES as u64);
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = place.start;
        while at < end.min(place.end) {
            let part = &mut buffer[..to_usize((end - at).min(COPY_BYTES as u64))];
            Blocking::new(port).read(source.file, at, part).map_err(&from)?;
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

    /// A device that refuses is left out, if the array survives that.
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
