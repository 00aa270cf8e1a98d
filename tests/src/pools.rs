//! Pools in states that no command leaves behind.

use std::path::Path;
use std::time::Instant;

use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::units::Nanos;
use bireme_dataplane::device::{Device, Purpose};
use bireme_dataplane::pool::{Member, Pool, Shape};
use bireme_dataplane::port::Bell;
use bireme_dataplane::port::uring::{Bells, Method, Uring, Wishes};

/// Makes a pool that holds no set, with the shape that the command gives it by default.
///
/// # Panics
/// When that fails.
pub fn make_empty<P: AsRef<Path>>(paths: &[P]) {
    let devices = Device::open_all(paths, Purpose::Write).expect("devices");
    let geometry = Geometry::new(Level::Raid0, devices.len(), 64 << 10, 4 << 20).expect("a usable shape");
    let member = |device: &Device| Member { path: device.path().into(), bytes: device.bytes() };
    let members: Vec<_> = devices.iter().map(member).collect();
    let files: Vec<_> = devices.iter().map(|device| Some(device.as_fd())).collect();
    let wishes = Wishes {
        files: &files,
        namespaces: &[],
        method: Method::Interrupts,
        region_bytes: 1 << 20,
        limit: 64,
        weave_pieces: 0,
        origin: Instant::now(),
        bells: Bells::new(1),
        bell: Bell(0),
        patience: Nanos::from_secs(30),
    };
    let mut port = Uring::new(&wishes).expect("a port");
    let pool = Pool::open_or_create(&members, Shape { geometry }, false, &mut port).expect("a pool");
    pool.close(&mut port).expect("closed in order");
}
