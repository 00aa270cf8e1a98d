//! The `bireme` command.
//!
//! - [`cli`]: what may be written on the command line. [`run`]: what each command does.
//! - [`live`]: progress on stderr while it runs. [`signals`]: Ctrl-C ends a run in order.

pub mod cli;
pub mod live;
pub mod run;
pub mod signals;
