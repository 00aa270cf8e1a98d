//! The line on stderr that says how a run goes: redrawn in place on a terminal, cut to its width; listed elsewhere.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where the line is shown. Dropping it clears a line that is redrawn.
#[derive(Debug)]
pub struct Display {
    bar: Option<ProgressBar>,
    shown: bool,
}

impl Display {
    /// Shows how far towards `total` a run is; nothing yet.
    pub fn new(total: u64) -> Display {
        let style =
            || ProgressStyle::with_template("{bar:20} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = || ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()).with_style(style());
        Display { bar: io::stderr().is_terminal().then(bar), shown: false }
    }

    /// Whether a line takes the place of the one before.
    pub fn redraws(&self) -> bool {
        self.bar.is_some()
    }

    /// Shows a line. Nobody who reads it is no reason to fail.
    pub fn show(&mut self, line: String, position: u64) {
        match &self.bar {
            None => {
                let _ = writeln!(io::stderr(), "{line}");
            }
            Some(bar) => {
                // Once: a new target forgets the line that it is to replace.
                if !std::mem::replace(&mut self.shown, true) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                bar.set_message(line);
                bar.set_position(position);
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
