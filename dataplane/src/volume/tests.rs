//! Volumes over simulated disks against a model.

mod crash;
mod model;
mod rig;
