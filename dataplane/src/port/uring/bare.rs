//! The least that a thread can do with a ring: transfers from the slots of one buffer, counted and nothing else. What a
//! port costs beyond that is what its accounting of memory, letters and patience costs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::{opcode, types};

use super::ring::{Least, Ring};
use super::{BUFFER, Method, SetupError, refused};
use crate::buffer::Region;
use crate::port::GATHER_TIME;

/// A ring with registered files and one registered buffer of equal slots.
#[derive(Debug)]
pub struct Bare {
    // The ring goes first: the kernel must be done with the memory before the region is unmapped.
    ring: Ring,
    region: Region,
    slot_bytes: u32,
}

impl Bare {
    /// With `slots` places for requests of `slot_bytes` on these files.
    ///
    /// # Errors
    /// No ring, or no memory.
    pub fn new(files: &[BorrowedFd<'_>], slots: u32, slot_bytes: u32) -> Result<Bare, SetupError> {
        let (mut ring, _) = Ring::device(slots.next_power_of_two(), Method::Interrupts, false).map_err(refused)?;
        let bytes = slots as usize * slot_bytes as usize;
        let mut region = Region::new(bytes).map_err(|cause| SetupError::Memory { bytes, cause })?;
        let all = region.all();
        // Pages that were never written are one page of zeroes.
        region.bytes_mut(all).fill(0x5a);
        ring.register_buffer(&region).map_err(|cause| SetupError::Register { bytes, cause })?;
        let fds: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        ring.register_files(&fds).map_err(|cause| SetupError::Missing { what: "registered files", cause })?;
        ring.register_itself();
        Ok(Bare { ring, region, slot_bytes })
    }

    /// Queues a transfer of one whole slot; `false` when the queue is full.
    #[inline]
    pub fn push(&mut self, slot: u32, file: u16, offset: u64, write: bool) -> bool {
        let (file, start) = (types::Fixed(u32::from(file)), self.region.address(slot * self.slot_bytes));
        let entry = match write {
            true => opcode::WriteFixed::new(file, start.cast_const(), self.slot_bytes, BUFFER).offset(offset).build(),
            false => opcode::ReadFixed::new(file, start, self.slot_bytes, BUFFER).offset(offset).build(),
        };
        self.ring.push(&entry.user_data(u64::from(slot)))
    }

    /// Hands over what was queued, and waits until `least` have ended.
    ///
    /// # Errors
    /// The ring cannot go on.
    #[inline]
    pub fn enter(&mut self, least: u32) -> io::Result<()> {
        self.ring.enter(None, Least { completions: least, within: GATHER_TIME })
    }

    /// The slot of the next request that has ended, and bytes moved or an errno.
    #[inline]
    pub fn reap(&mut self) -> Option<(u32, Result<u32, i32>)> {
        let answer = self.ring.reap()?;
        let slot = u32::try_from(answer.user_data()).expect("only slots are pushed");
        Some((slot, u32::try_from(answer.result()).map_err(|_| -answer.result())))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.ring.unregister();
    }
}
