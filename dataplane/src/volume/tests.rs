//! Volumes over simulated disks against a model.

mod model;
mod rig;
