//! What the memory gives: the ceiling over everything that touches data with a CPU.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Bytes per second that so many threads copy at once, read and written counted; pinned to these cores in turn if there
/// are any.
pub(super) fn copy_rate(threads: u16, cores: &[usize]) -> f64 {
    let barrier = Barrier::new(usize::from(threads));
    let mut pins = cores.iter().copied().cycle();
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|_| {
                let (pin, barrier) = (pins.next(), &barrier);
                scope.spawn(move || copy(pin, barrier))
            })
            .collect();
        started.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

fn copy(pin: Option<usize>, barrier: &Barrier) -> f64 {
    if let Some(core) = pin {
        let mut cpus = CpuSet::new();
        // A core that cannot be had makes the figure one of any core; the run itself has refused it before.
        let _ = cpus.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus));
    }
    let (from, mut to) = (vec![1u8; BUFFER_BYTES], vec![2u8; BUFFER_BYTES]);
    barrier.wait();
    let start = Instant::now();
    let mut bytes = 0u64;
    while start.elapsed() < TIME {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
        bytes += 2 * BUFFER_BYTES as u64;
    }
    bytes as f64 / start.elapsed().as_secs_f64()
}

/// Larger than the part of the last cache that one core has.
const BUFFER_BYTES: usize = 64 << 20;
const TIME: Duration = Duration::from_millis(500);
