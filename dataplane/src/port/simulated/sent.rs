//! The memory of writes in flight, as disks see it.

use super::{Operation, Request};
use crate::buffer::{Region, Span};

/// What the disks see of memory that is lent for writes. Nobody can look at lent memory, and several requests may share
/// it; it does not change meanwhile, so a copy from before it was lent shows the same.
#[derive(Debug)]
pub(super) struct Sent {
    bytes: Vec<u8>,
    /// Per block of the region, how many writes hold it.
    requests: Vec<u8>,
}

impl Sent {
    pub(super) fn new(region_bytes: usize) -> Sent {
        Sent { bytes: vec![0; region_bytes], requests: vec![0; region_bytes.div_ceil(BLOCK)] }
    }

    /// What a write shows to its disk, in the order of the disk.
    pub(super) fn gather(&self, request: &Request) -> Vec<u8> {
        let mut bytes = Vec::new();
        if is_write(request) {
            spans(request).for_each(|span| bytes.extend_from_slice(&self.bytes[range(span)]));
        }
        bytes
    }

    pub(super) fn send(&mut self, span: Span, region: &Region) {
        for block in blocks(span) {
            if self.requests[block] == 0 {
                let end = ((block + 1) * BLOCK).min(self.bytes.len());
                let whole = block * BLOCK..end;
                let offset = u32::try_from(whole.start).expect("a region is addressed with 32 bits");
                let bytes = u32::try_from(whole.len()).expect("a block");
                self.bytes[whole].copy_from_slice(region.bytes(Span::new(offset, bytes)));
            }
            self.requests[block] += 1;
        }
    }

    pub(super) fn take_back(&mut self, span: Span) {
        blocks(span).for_each(|block| self.requests[block] -= 1);
    }
}

pub(super) fn is_write(request: &Request) -> bool {
    matches!(request.operation, Operation::Write(_) | Operation::WriteWoven(_) | Operation::WriteThrough(_))
}

fn range(span: Span) -> std::ops::Range<usize> {
    span.offset as usize..span.offset as usize + span.bytes as usize
}

fn blocks(span: Span) -> std::ops::Range<usize> {
    range(span).start / BLOCK..range(span).end.div_ceil(BLOCK)
}

pub(super) fn spans(request: &Request) -> impl Iterator<Item = Span> + use<> {
    let (whole, woven) = match request.operation {
        Operation::Read(span) | Operation::Write(span) | Operation::WriteThrough(span) => (Some(span), None),
        Operation::ReadWoven(weave) | Operation::WriteWoven(weave) => (None, Some(weave)),
        Operation::Trim { .. } | Operation::Flush => (None, None),
    };
    whole.into_iter().chain(woven.into_iter().flat_map(|weave| weave.spans()))
}

const BLOCK: usize = 4096;
