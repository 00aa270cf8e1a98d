//! Volumes over simulated disks against a model.

mod crash;
mod faults;
mod model;
mod rig;
