//! The requests that a port has taken and not yet answered, in a table of fixed size.

use super::{Busy, Operation, Request};
use crate::buffer::Region;

/// Index of a request in the table; it travels through the kernel as `user_data`.
pub(super) type Ticket = u32;

/// A table with one row per request in flight. While a request is in it, its memory is lent.
#[derive(Debug)]
pub(super) struct InFlight {
    rows: Box<[Option<Request>]>,
    free: Vec<Ticket>,
}

impl InFlight {
    /// A table for at most `limit` requests; nothing is allocated later.
    pub(super) fn new(limit: u32) -> InFlight {
        InFlight { rows: vec![None; limit as usize].into_boxed_slice(), free: (0..limit).rev().collect() }
    }

    /// Enters a request and lends its memory.
    pub(super) fn enter(&mut self, request: Request, region: &mut Region) -> Result<Ticket, Busy> {
        let ticket = self.free.pop().ok_or(Busy)?;
        match request.operation {
            Operation::Read(span) | Operation::Write(span) | Operation::WriteThrough(span) => region.lend(span),
            Operation::ReadWoven(weave) | Operation::WriteWoven(weave) => weave.spans().for_each(|s| region.lend(s)),
            Operation::Trim { .. } | Operation::Flush => {}
        }
        self.rows[ticket as usize] = Some(request);
        Ok(ticket)
    }

    /// Ends a request and gives its memory back. `None` for a ticket that is not in the table.
    pub(super) fn leave(&mut self, ticket: Ticket, region: &mut Region) -> Option<Request> {
        let request = self.rows.get_mut(ticket as usize)?.take()?;
        match request.operation {
            Operation::Read(span) | Operation::Write(span) | Operation::WriteThrough(span) => region.give_back(span),
            Operation::ReadWoven(weave) | Operation::WriteWoven(weave) => {
                weave.spans().for_each(|s| region.give_back(s));
            }
            Operation::Trim { .. } | Operation::Flush => {}
        }
        self.free.push(ticket);
        Some(request)
    }

    /// Ends all requests, of a port that goes away and whose memory nobody touches any more.
    pub(super) fn clear(&mut self, region: &mut Region) {
        for ticket in 0..Ticket::try_from(self.rows.len()).expect("the limit is a u32") {
            self.leave(ticket, region);
        }
    }

    /// Whether it takes another one.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many are in it.
    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }
}
