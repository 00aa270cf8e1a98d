//! Where the bytes of a frame lie on the members of an array.

pub mod geometry;
