//! Flushes that many changes share: at most one per member is under way, and it covers what had ended before it.
//!
//! ```text
//!   tick       1   2   3   4        each write that ends has a number
//!   flush              |-------|    begun after tick 2: covers 1 and 2, whoever waits for 3 waits for the next one
//! ```

use bireme_control::raid::members::Members;

/// What is durable on each member.
#[derive(Debug)]
pub(super) struct Flushes {
    tick: u64,
    members: Box<[Cache]>,
}

/// The volatile cache of one member.
#[derive(Clone, Copy, Debug, Default)]
struct Cache {
    /// The last write that ended.
    written: u64,
    /// Writes up to this are durable.
    durable: u64,
    /// Somebody waits for this one.
    wanted: u64,
    /// The flush under way covers writes up to this.
    flushing: Option<u64>,
}

impl Flushes {
    pub(super) fn new(members: u16) -> Flushes {
        Flushes { tick: 0, members: vec![Cache::default(); usize::from(members)].into_boxed_slice() }
    }

    /// A write to a member has ended.
    pub(super) fn wrote(&mut self, member: u16) {
        self.tick += 1;
        self.members[usize::from(member)].written = self.tick;
    }

    /// Asks that all that has ended on these members becomes durable; [`is_durable`](Flushes::is_durable) with the answer
    /// tells when it is.
    pub(super) fn want(&mut self, members: Members) -> u64 {
        for member in members.iter() {
            let cache = &mut self.members[usize::from(member)];
            cache.wanted = self.tick;
        }
        self.tick
    }

    /// Whether what had ended on a member by `tick` is durable.
    pub(super) fn is_durable(&self, member: u16, tick: u64) -> bool {
        let cache = &self.members[usize::from(member)];
        cache.durable >= tick || cache.durable >= cache.written
    }

    /// The next member to be flushed, of those that may be; the flush is under way then.
    pub(super) fn begin(&mut self, among: Members) -> Option<u16> {
        let tick = self.tick;
        let due = |member: &u16| {
            let cache = &self.members[usize::from(*member)];
            cache.flushing.is_none() && cache.wanted.min(cache.written) > cache.durable
        };
        let member = among.iter().find(due)?;
        self.members[usize::from(member)].flushing = Some(tick);
        Some(member)
    }

    /// A flush has ended.
    pub(super) fn end(&mut self, member: u16, done: bool) {
        let cache = &mut self.members[usize::from(member)];
        let covered = cache.flushing.take().expect("a flush was under way");
        if done {
            cache.durable = covered;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_covers_what_had_ended_before_it() {
        let both: Members = [0, 1].into_iter().collect();
        let mut flushes = Flushes::new(2);
        assert_eq!(flushes.begin(both), None);
        flushes.wrote(1);
        let first = flushes.want(both);
        assert!(flushes.is_durable(0, first) && !flushes.is_durable(1, first));
        assert_eq!(flushes.begin(both), Some(1));
        assert_eq!(flushes.begin(both), None, "one at a time");
        flushes.wrote(1);
        let second = flushes.want(both);
        flushes.end(1, true);
        assert!(flushes.is_durable(1, first) && !flushes.is_durable(1, second));
        assert_eq!(flushes.begin(both), Some(1));
        flushes.end(1, false);
        assert!(!flushes.is_durable(1, second), "it was refused");
        assert_eq!(flushes.begin(both), Some(1));
        flushes.end(1, true);
        assert!(flushes.is_durable(1, second));
        assert_eq!(flushes.begin(both), None);
    }

    #[test]
    fn who_waits_is_not_left_behind_by_a_write_that_comes_between() {
        let both: Members = [0, 1].into_iter().collect();
        let mut flushes = Flushes::new(2);
        flushes.wrote(0);
        flushes.want(both);
        assert_eq!(flushes.begin(both), Some(0));
        flushes.wrote(1);
        let tick = flushes.want(both);
        flushes.wrote(0);
        flushes.end(0, true);
        assert!(!flushes.is_durable(0, tick));
        assert_eq!(flushes.begin(both), Some(0), "or nobody would ever flush for the one who waits");
    }
}
