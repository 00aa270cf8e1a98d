//! The machines together: what no table of one decider shows.
