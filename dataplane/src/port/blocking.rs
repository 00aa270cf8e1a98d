//! Whole ranges, one after the other, waiting on the spot: for opening and closing, where there is nothing else to do.
//!
//! Works over any port that has nothing in flight. Short answers are continued. The port sleeps with [`Next::Event`],
//! which in simulation moves the clock.

use super::{Next, Operation, Port, Request};
use crate::buffer::Span;
use crate::message::Doing;

/// A port that is used by one caller who waits.
#[derive(Debug)]
pub struct Blocking<'a, P: Port> {
    port: &'a mut P,
    token: u64,
}

/// A request that failed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was asked.
    pub doing: Doing,
    /// Of which of the port's files.
    pub file: u16,
    /// Where.
    pub offset: u64,
    /// The answer.
    pub errno: i32,
}

impl<'a, P: Port> Blocking<'a, P> {
    /// Takes the port for a while.
    ///
    /// # Panics
    /// When it has requests in flight: their answers would be lost.
    pub fn new(port: &'a mut P) -> Blocking<'a, P> {
        assert_eq!(port.in_flight(), 0, "only an idle port can be waited on");
        Blocking { port, token: 0 }
    }

    /// Fills `out` from a device.
    pub fn read(&mut self, file: u16, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < out.len() {
            let span = self.scratch(out.len() - done);
            let at = offset + done as u64;
            let moved = self.one(Doing::Read, file, at, Operation::Read(span))?;
            let part = self.port.region().bytes(span.part(0, moved));
            out[done..done + part.len()].copy_from_slice(part);
            done += part.len();
        }
        Ok(())
    }

    /// Writes `data` to a device.
    pub fn write(&mut self, file: u16, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < data.len() {
            let span = self.scratch(data.len() - done);
            let part = &data[done..done + span.bytes as usize];
            self.port.region_mut().bytes_mut(span).copy_from_slice(part);
            let at = offset + done as u64;
            done += self.one(Doing::Write, file, at, Operation::Write(span))? as usize;
        }
        Ok(())
    }

    /// Everything written before is durable afterwards.
    pub fn flush(&mut self, file: u16) -> Result<(), Fault> {
        self.one(Doing::Flush, file, 0, Operation::Flush).map(|_| ())
    }

    fn scratch(&self, bytes: usize) -> Span {
        let room = self.port.region().all().bytes.min(REQUEST_BYTES_MAX);
        Span::new(0, u32::try_from(bytes).unwrap_or(u32::MAX).min(room))
    }

    /// One request and its answer: the bytes moved, at least one unless nothing was asked.
    fn one(&mut self, doing: Doing, file: u16, offset: u64, operation: Operation) -> Result<u32, Fault> {
        let fault = |errno| Fault { doing, file, offset, errno };
        self.token += 1;
        let token = self.token;
        let pushed = self.port.push(Request { token, file, offset, operation });
        assert!(pushed.is_ok(), "an idle port takes one request");
        let result = loop {
            self.port.submit(Next::Event).map_err(|error| fault(error.raw_os_error().unwrap_or(libc::EIO)))?;
            if let Some(end) = self.port.reap() {
                break end.result;
            }
        };
        match result {
            Err(errno) => Err(fault(errno)),
            // The end of the device, where its size said that there is more.
            Ok(0) if operation.bytes() > 0 => Err(fault(libc::EIO)),
            Ok(bytes) => Ok(bytes),
        }
    }
}

/// Requests of an everyday size: some devices refuse larger ones.
const REQUEST_BYTES_MAX: u32 = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::simulated::World;

    #[test]
    fn short_answers_are_continued() {
        let world = World::new(9, &[4 << 20]);
        world.short_rate(500_000);
        let mut port = world.port(64 << 10, 4);
        let mut blocking = Blocking::new(&mut port);
        let data: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1] ^ 0x5A).collect();
        blocking.write(0, 4096, &data).expect("a sound disk");
        blocking.flush(0).expect("a sound disk");
        let mut back = vec![0; data.len()];
        blocking.read(0, 4096, &mut back).expect("a sound disk");
        assert!(back == data);
        assert!(world.reboot().peek(0, 4096, data.len()) == data);
    }

    #[test]
    fn a_failure_names_its_place() {
        let world = World::new(9, &[4 << 20, 4 << 20]);
        world.fail_at(1, libc::EIO);
        let mut port = world.port(64 << 10, 4);
        let fault = Blocking::new(&mut port).write(1, 8192, &[1; 4096]);
        assert_eq!(fault, Err(Fault { doing: Doing::Write, file: 1, offset: 8192, errno: libc::EIO }));
    }

    #[test]
    fn a_disk_that_hangs_is_an_error_and_no_endless_wait() {
        let world = World::new(9, &[4 << 20]);
        world.hang(0);
        let mut port = world.port(64 << 10, 4);
        assert!(Blocking::new(&mut port).flush(0).is_err());
    }
}
