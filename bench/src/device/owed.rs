//! Whether devices still hold, after a crash, what a journal says that they owe.
//!
//! A block is in order when each of its sectors is a sound one of the run, for its place, and of the newest owed write or
//! of one that was asked for after it: a write that was in flight may have come in wholly, in part, or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bireme_control::units::Nanos;
use bireme_dataplane::buffer::Span;
use bireme_dataplane::device::{Device, Purpose, namespace};
use bireme_dataplane::engine::raw::{self, Client, RawJob};
use bireme_dataplane::engine::volumes::Step;
use bireme_dataplane::engine::{Config, Handles};
use bireme_dataplane::message::{Doing, Failure};
use bireme_dataplane::port::uring::Method;
use bireme_dataplane::port::{Next, Operation, Port, Request};
use bireme_dataplane::telemetry::Gauges;
use serde_json::{Value, json};

use super::checks::Mismatch;
use super::content::{Found, SECTOR, Writer, is_since};
use super::journal::{Header, Owed, Told};
use super::load::slot_bytes;

/// Reads all that is owed; the report, or a sentence that names what is lost.
pub(super) fn verify(journal: &Path, paths: &[PathBuf]) -> Result<(String, Value), String> {
    let told = Told::read(journal)?;
    let paths = if paths.is_empty() { &told.header.devices } else { paths };
    if paths.len() != told.header.devices.len() {
        let count = told.header.devices.len();
        return Err(format!("the run of {} had {count} devices: name as many, in the same order", journal.display()));
    }
    // What was written by commands to a namespace is read by its block device.
    let block = |path: &PathBuf| namespace::block_device(path).unwrap_or_else(|| path.clone());
    let block: Vec<PathBuf> = paths.iter().map(block).collect();
    let devices = Device::open_all(&block, Purpose::Read).map_err(|error| error.to_string())?;
    for owed in &told.owed {
        let device = &devices[owed.device as usize];
        if owed.offset.checked_add(u64::from(told.header.block_bytes)).is_none_or(|end| end > device.bytes()) {
            let path = device.path().display();
            return Err(format!("{path} ends before byte {}, which was written: it is another device", owed.offset));
        }
    }
    let header = told.header.clone();
    let (records, unreadable, blocks) = (told.records, told.unreadable, told.owed.len());
    let job = RawJob {
        devices,
        region_bytes: u64::from(slot_bytes(header.block_bytes)) * u64::from(DEPTH),
        requests: DEPTH,
        methods: vec![Method::Interrupts],
    };
    let handles = Handles { gauges: Arc::new(Gauges::new(0)), stop: Arc::new(AtomicBool::new(false)) };
    let (config, tick) = (Config { peers: 1, ..Config::default() }, Duration::from_millis(50));
    let reader = Reader::new(header, told.owed);
    let ran = raw::drive(&job, &config, &handles, vec![reader], tick, |_| {}).map_err(|error| error.to_string())?;
    let reader = ran.peers.into_iter().next().map(|peer| peer.client).ok_or("no peer has read anything")?;
    if let Some(first) = reader.lost.first() {
        let sentences: Vec<String> = reader.lost.iter().map(|mismatch| mismatch.sentence(paths)).collect();
        let more = if reader.lost_count > sentences.len() as u64 { "; and so on" } else { "" };
        let count = reader.lost_count;
        return Err(format!(
            "{count} of {blocks} owed blocks are lost, from byte {} on: {}{more}",
            first.offset,
            sentences.join("; ")
        ));
    }
    let empty = if blocks == 0 { ": nothing was durable when the run ended, so nothing was checked" } else { "" };
    let text = format!(
        "{}: {blocks} blocks are owed, from {records} records ({unreadable} unreadable){empty}\n  {} hold the write that is \
         owed, {} a later one; none is lost\n",
        journal.display(),
        reader.exact,
        reader.later,
    );
    let json = json!({
        "kind": "journal", "owed": blocks, "records": records, "unreadable": unreadable,
        "as_owed": reader.exact, "later": reader.later, "lost": 0,
    });
    Ok((text, json))
}

/// Reads owed blocks one after the other, many at a time.
#[derive(Debug)]
pub(super) struct Reader {
    header: Header,
    owed: Vec<Owed>,
    next: usize,
    /// What each request in flight reads.
    slots: [usize; DEPTH as usize],
    free: Vec<u32>,
    pub(super) exact: u64,
    pub(super) later: u64,
    pub(super) lost_count: u64,
    /// The first of them.
    pub(super) lost: Vec<Mismatch>,
}

impl Reader {
    pub(super) fn new(header: Header, owed: Vec<Owed>) -> Reader {
        let free = (0..DEPTH).rev().collect();
        let slots = [0; DEPTH as usize];
        Reader { header, owed, next: 0, slots, free, exact: 0, later: 0, lost_count: 0, lost: Vec::new() }
    }

    fn span(&self, slot: u32) -> Span {
        Span::new(slot * slot_bytes(self.header.block_bytes), self.header.block_bytes)
    }

    fn judge(&mut self, owed: Owed, block: &[u8]) {
        let writer = Writer { run: self.header.run, device: owed.device };
        let fits = |found| matches!(found, Found::Written(stamp) if is_since(stamp, owed.stamp));
        let mut found = (owed.offset..)
            .step_by(SECTOR)
            .zip(block.as_chunks::<SECTOR>().0)
            .map(|(at, sector)| (at, writer.judge(at, sector)));
        let all: Vec<Found> = found.clone().map(|(_, found)| found).collect();
        match found.find(|&(_, found)| !fits(found)) {
            None if all.iter().all(|&found| found == Found::Written(owed.stamp)) => self.exact += 1,
            None => self.later += 1,
            Some((offset, found)) => {
                self.lost_count += 1;
                if self.lost.len() < SHOWN {
                    let torn = all.into_iter().any(fits);
                    self.lost.push(Mismatch { file: owed.device, offset, owed: owed.stamp, found, torn });
                }
            }
        }
    }
}

impl<P: Port> Client<P> for Reader {
    fn turn(&mut self, port: &mut P, _now: Nanos, stopping: bool) -> Result<Step, Failure> {
        while let Some(end) = port.reap() {
            let slot = u32::try_from(end.token).expect("tokens are slots");
            let owed = self.owed[self.slots[slot as usize]];
            let file = u16::try_from(owed.device).expect("fewer than 65536 devices");
            let failure = |errno| Failure::Device { doing: Doing::Read, file, offset: owed.offset, errno };
            if end.result.map_err(failure)? != self.header.block_bytes {
                return Err(failure(libc::EIO));
            }
            self.judge(owed, port.region().bytes(self.span(slot)));
            self.free.push(slot);
        }
        while !stopping
            && let Some(&owed) = self.owed.get(self.next)
            && let Some(slot) = self.free.pop()
        {
            let file = u16::try_from(owed.device).expect("fewer than 65536 devices");
            let operation = Operation::Read(self.span(slot));
            let request = Request { token: u64::from(slot), file, offset: owed.offset, operation };
            port.push(request).expect("a port has a place for each slot");
            self.slots[slot as usize] = self.next;
            self.next += 1;
        }
        Ok(if port.in_flight() == 0 { Step::Done } else { Step::On(Next::Event) })
    }

    fn handed_over(&mut self, _now: Nanos) {}
}

const DEPTH: u32 = 32;
/// Lost blocks that are named.
const SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::content::Stamp;

    const WRITER: Writer = Writer { run: 7, device: 0 };
    const OWED: Owed = Owed { device: 0, offset: 8192, stamp: 5 };

    fn block(stamp: Stamp) -> Vec<u8> {
        let mut block = vec![0; 4096];
        WRITER.write(OWED.offset, stamp, &mut block);
        block
    }

    /// What begins as one write and ends as another, from this sector on.
    fn torn(one: Stamp, other: Stamp, sector: usize) -> Vec<u8> {
        let at = sector * SECTOR;
        [&block(one)[..at], &block(other)[at..]].concat()
    }

    #[test]
    fn the_owed_write_and_all_later_ones_are_right_also_in_part() {
        let header = r#"{"bireme_journal":1,"run":7,"block_bytes":4096,"devices":["d"]}"#;
        let header: Header = serde_json::from_str(header).expect("a header");
        let mut damaged = block(5);
        damaged[4095] ^= 1;
        #[rustfmt::skip]
        let cases = [
            // why,                                   shown,         exact, later, lost
            ("the owed one",                          block(5),      1, 0, 0),
            ("a later one",                           block(9),      0, 1, 0),
            ("a later one in part",                   torn(5, 6, 7), 0, 1, 0),
            ("an older one",                          block(4),      0, 0, 1),
            ("an older one in part, at the end",      torn(5, 4, 7), 0, 0, 1),
            ("a later one beside an older one",       torn(4, 6, 1), 0, 0, 1),
            ("damaged in its last byte",              damaged,       0, 0, 1),
            ("nothing",                               vec![0; 4096], 0, 0, 1),
        ];
        for (why, shown, exact, later, lost) in cases {
            let mut reader = Reader::new(header.clone(), vec![OWED]);
            reader.judge(OWED, &shown);
            assert_eq!((reader.exact, reader.later, reader.lost_count), (exact, later, lost), "{why}");
        }
    }
}
