//! To come.

pub mod signature;
