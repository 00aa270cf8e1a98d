//! Which members of an array can be relied on, frame by frame.
//!
//! ```text
//!   frame        0 ........ watermark ........ last
//!   whole        ##############################
//!   rebuilding   ##########....................     what lies below the watermark counts
//!   lost         ..............................
//! ```

use super::geometry::Geometry;
use super::members::Members;

/// The members that cannot be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Absent, failed or stale: nothing of them counts, and nothing is written to them.
    pub lost: Members,
    /// Being filled again.
    pub rebuilding: Members,
    /// Frames below this are whole on members that are rebuilt; no other frame is read from or written to them.
    pub watermark: u64,
}

impl Health {
    /// Members that do not count for a frame.
    pub fn lost_of(&self, frame: u64) -> Members {
        if frame < self.watermark { self.lost } else { self.lost | self.rebuilding }
    }

    /// Nothing is missing anywhere.
    pub fn is_whole(&self) -> bool {
        (self.lost | self.rebuilding).is_empty()
    }

    /// The same without one more member.
    #[must_use]
    pub fn without(self, member: u16) -> Health {
        let gone: Members = [member].into_iter().collect();
        Health { lost: self.lost | gone, rebuilding: self.rebuilding - gone, ..self }
    }

    /// Whether all data of all frames can still be had.
    pub fn survives(&self, geometry: &Geometry) -> bool {
        let gone: Vec<u16> = (self.lost | self.rebuilding).iter().collect();
        geometry.survives(&gone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::geometry::Level;
    use super::*;

    #[test]
    fn a_member_counts_below_its_watermark() {
        let member = |index: u16| -> Members { [index].into_iter().collect() };
        let health = Health { lost: member(2), rebuilding: member(0), watermark: 5 };
        assert_eq!(health.lost_of(4), member(2));
        assert_eq!(health.lost_of(5), member(2) | member(0));
        assert_eq!(health.without(0), Health { lost: member(2) | member(0), rebuilding: Members::NONE, watermark: 5 });
        let geometry = |level| Geometry::new(level, 4, 4096, 65536).expect("a usable shape");
        assert!(health.survives(&geometry(Level::Raid6)) && !health.survives(&geometry(Level::Raid5)));
        assert!(Health::default().is_whole() && !health.is_whole());
    }
}
