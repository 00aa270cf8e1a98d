//! The simulated link: how what was granted gets through it.
//!
//! ```text
//!   sharing   each of n in flight moves rate / n:  [==>   ] [=>    ] [====> ]     ends by size, whoever came first
//!   fifo      one after the other:                 [====> ] [      ] [      ]
//! ```
//!
//! Both are a clock of *work*, what one request in flight has been served, and a mark on it where each request ends.
//! Work is counted in 10^-9 bytes, so that a nanosecond of any rate is a whole number of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bireme_control::reservation::ClassId;
use bireme_control::units::Nanos;

use super::Service;

/// What a class asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) class: ClassId,
    pub(super) bytes: u64,
    /// When it was asked for.
    pub(super) arrived: Nanos,
}

#[derive(Debug)]
pub(super) struct Link {
    bytes_per_s: u64,
    service: Service,
    now: Nanos,
    work: u128,
    /// Where the last in the row ends.
    tail: u128,
    started: u64,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    busy: Nanos,
}

/// In the order of its end.
#[derive(Debug, PartialEq, Eq)]
struct InFlight {
    end: u128,
    order: u64,
    request: Request,
}

impl Link {
    pub(super) fn new(bytes_per_s: u64, service: Service) -> Link {
        Link {
            bytes_per_s,
            service,
            now: Nanos::ZERO,
            work: 0,
            tail: 0,
            started: 0,
            in_flight: BinaryHeap::new(),
            busy: Nanos::ZERO,
        }
    }

    pub(super) fn start(&mut self, now: Nanos, request: Request) {
        self.advance(now);
        let size = u128::from(request.bytes) * SCALE;
        let end = match self.service {
            Service::Sharing => self.work + size,
            Service::Fifo => self.work.max(self.tail) + size,
        };
        self.tail = end;
        self.in_flight.push(Reverse(InFlight { end, order: self.started, request }));
        self.started += 1;
    }

    /// When the next request ends.
    pub(super) fn next(&self) -> Option<Nanos> {
        let Reverse(first) = self.in_flight.peek()?;
        let time = (first.end.saturating_sub(self.work) * self.sharers()).div_ceil(u128::from(self.bytes_per_s));
        Some(self.now + Nanos(u64::try_from(time).unwrap_or(u64::MAX)))
    }

    /// Takes out the request that ends now, as [`Link::next`] said.
    pub(super) fn end(&mut self, now: Nanos) -> Option<Request> {
        self.advance(now);
        let Reverse(ended) = self.in_flight.pop()?;
        // Times are rounded up to whole nanoseconds: a little more may be done than its end, and by then the next is due.
        debug_assert!(ended.end <= self.work);
        Some(ended.request)
    }

    /// For how long anything was in flight.
    pub(super) fn busy(&mut self, now: Nanos) -> Nanos {
        self.advance(now);
        self.busy
    }

    fn advance(&mut self, now: Nanos) {
        let elapsed = now.since(self.now);
        self.now = now;
        if !self.in_flight.is_empty() {
            self.work += u128::from(elapsed.0) * u128::from(self.bytes_per_s) / self.sharers();
            self.busy += elapsed;
        }
    }

    /// Among how many the rate is divided.
    fn sharers(&self) -> u128 {
        match self.service {
            Service::Sharing => self.in_flight.len() as u128,
            Service::Fifo => 1,
        }
    }
}

impl Ord for InFlight {
    fn cmp(&self, other: &InFlight) -> std::cmp::Ordering {
        (self.end, self.order).cmp(&(other.end, other.order))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &InFlight) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

const SCALE: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two requests, the second at a quarter of the first's time alone.
    #[test]
    fn requests_end_as_the_service_says() {
        #[rustfmt::skip]
        let cases = [
            // service,         sizes,        ends in microseconds, of the first and of the second
            (Service::Sharing, [1000, 1000], [1750, 2000]),
            (Service::Sharing, [1000, 100],  [1100, 450]),
            (Service::Fifo,    [1000, 100],  [1000, 1100]),
        ];
        for (service, sizes, want) in cases {
            let mut link = Link::new(1_000_000, service);
            let mut ends = [0; 2];
            let request = |class: u16, arrived| Request {
                class: ClassId(class),
                bytes: sizes[usize::from(class)],
                arrived: Nanos(arrived),
            };
            link.start(Nanos::ZERO, request(0, 0));
            link.start(Nanos(250_000), request(1, 250_000));
            while let Some(now) = link.next() {
                let ended = link.end(now).expect("one ends");
                ends[ended.class.index()] = now.0 / 1000;
            }
            assert_eq!(ends, want, "{service:?}");
            assert_eq!(link.busy(Nanos::from_secs(1)), Nanos(1000 * ends[0].max(ends[1])));
        }
    }
}
