//! Runs from one cursor that all peers share: whoever has room takes the next few transfers.
//!
//! Nobody plans, so nobody is wrong about speeds; the end is ragged by at most one run. The price is that a run must be
//! long enough to be one piece on the devices, and short enough to end together: the controller sets its length.

use super::Action;
use super::share::Share;

/// What a peer with room does: it draws from the oldest set whose cursor is not at its end.
pub(super) fn draw<'a>(mut oldest_first: impl Iterator<Item = &'a Share>, most: u64) -> Option<Action> {
    let share = oldest_first.find(|share| share.cursor_open)?;
    Some(Action::Draw { sequence: share.sequence, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_set_that_has_something_is_drawn_from() {
        #[rustfmt::skip]
        let cases = [
            // why,                      older open, newer open, drawn from
            ("both have",                true,       true,       Some(6)),
            ("the older is at its end",  false,      true,       Some(7)),
            ("both are",                 false,      false,      None),
        ];
        for (why, older_open, newer_open, want) in cases {
            let (mut older, mut newer) = (Share::new(), Share::new());
            (older.sequence, older.cursor_open) = (6, older_open);
            (newer.sequence, newer.cursor_open) = (7, newer_open);
            let want = want.map(|sequence| Action::Draw { sequence, most: 4 });
            assert_eq!(draw([&older, &newer].into_iter(), 4), want, "{why}");
        }
    }
}
