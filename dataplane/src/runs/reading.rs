//! How far a run is that is read page by page, because something is wrong or missing: see `job/restore/page.rs`.

use bireme_control::raid::members::Members;

use crate::message::Failure;

/// The page that is being read, and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// One page after the other; otherwise all leaves were right before the first block was read.
    pub by_page: bool,
    /// The leaves in memory are those that the root vouches for.
    pub trusted: bool,
    /// Members whose leaves are computed from what is brought back.
    pub leafless: Members,
    /// Which members are taken to be leafless, in the order in which sets of them are tried.
    pub trial: u16,
    /// Why the present trial has failed.
    pub failed: Option<Failure>,
    /// What is wrong with the page if no trial succeeds.
    pub first: Option<Failure>,
    /// A member has refused to read its leaves.
    pub refused: Option<Failure>,
    /// Members with damaged blocks that could not be mended yet, because the leaves were not known to be right.
    pub damaged: Members,
    /// Members whose leaf blocks are to be written.
    pub leaves_to_write: Members,
    /// They are being written.
    pub writing: bool,
}

impl Reading {
    /// For the next page.
    pub fn start_over(&mut self) {
        *self = Reading { by_page: self.by_page, refused: self.refused, ..Reading::default() };
    }
}
