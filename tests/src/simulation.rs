//! The whole engine on one thread: production peers, control, ledger and pool over simulated devices and a virtual
//! clock, all from one seed.
//!
//! ```text
//!   seed ─▶ Life (shape, devices, boots, faults)
//!             each boot:  open ─▶ Crew + Ledger take turns, a fault strikes ─▶ reboot or restart
//!                         ─▶ read the pool and restore its newest set ─▶ compare with the Model
//! ```
//!
//! - [`life`]: what is drawn before anything happens. [`stage`]: the devices from boot to boot. [`roster`]: who of them
//!   counts.
//! - [`boot`]: one engine from opening to closing. [`crew`]: whose turn it is, who sleeps, when time passes.
//! - [`mending`]: the same for a pool whose members are filled again, or scrubbed.
//! - [`model`]: what the pool must hold. [`watch`]: what must hold at each moment. [`restore`]: what a reader finds, and
//!   [`reading`] how.
//! - [`fuse`]: what strikes in a boot. [`losses`]: which disks die. [`deaths`]: which peers. [`pace`]: how fast those are.
//! - [`tally`]: how often what is to be shown happened. [`trace`]: what happened. The same seed gives the same trace.
//!
//! Threads sleep and are woken as in production: a letter whose bell nobody rings is never read, and a life in which
//! everybody sleeps for ever has failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bireme_dataplane::port::simulated::Random;

use self::boot::End;
use self::life::{Damage, Fault, Life};
use self::model::Model;
use self::stage::Stage;
use self::tally::{Kind, Tally};
use self::trace::Trace;

pub mod boot;
pub mod crew;
pub mod deaths;
pub mod fuse;
pub mod life;
pub mod losses;
pub mod mending;
pub mod model;
pub mod pace;
pub mod reading;
pub mod restore;
pub mod roster;
pub mod stage;
pub mod tally;
pub mod trace;
pub mod watch;

/// What a life was, if nothing that was promised was broken.
#[derive(Debug)]
pub struct Lived {
    /// How each boot ended.
    pub ends: Vec<End>,
    /// The same for the same seed.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// Requests of the first boot and its reader, where faults can strike.
    pub steps: u64,
    /// What happened how often.
    pub tally: Tally,
}

/// Lives the life of a seed.
///
/// # Errors
/// What was broken, as a sentence.
pub fn simulate(seed: u64, printed: bool) -> Result<Lived, String> {
    live(seed, &Life::draw(seed), printed)
}

/// Lives a given life. A panic of the product is an error as any other.
///
/// # Errors
/// What was broken, as a sentence.
pub fn live(seed: u64, life: &Life, printed: bool) -> Result<Lived, String> {
    let mut trace = Trace::new(printed);
    if printed {
        println!("{life:#?}");
    }
    let lived = catch_unwind(AssertUnwindSafe(|| all_boots(seed, life, &mut trace)));
    lived.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("a panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind")))
    })
}

fn all_boots(seed: u64, life: &Life, trace: &mut Trace) -> Result<Lived, String> {
    let mut random = Random::new(seed);
    let mut stage = Stage::new(seed, life);
    let mut model = Model::default();
    let mut ends = Vec::new();
    let mut steps = 0;
    let mut tally = Tally::default();
    for (number, boot) in life.boots.iter().enumerate() {
        let in_boot = |broken: String| format!("boot {number} ({:?}): {broken}", boot.fault);
        let end = boot::run(life, boot, &mut stage, &mut model, trace, &mut random, &mut tally).map_err(in_boot)?;
        if number == 0 {
            steps = stage.world().steps();
        }
        let reboot = boot.reboot && boot.fault != Fault::Kill || boot.fault == Fault::Power;
        trace.note(stage.world().now(), "machine", if reboot { "reboot" } else { "restart" });
        if reboot {
            stage.reboot()
        } else {
            stage.restart()
        }
        let found = restore::check(life, &stage, &model, trace, &mut random, &mut tally).map_err(in_boot)?;
        if reboot && (found.is_some() || stage.roster.survives(stage.world(), None)) {
            // What was seen after a loss of power is durable. Of a pool that was refused nothing was seen.
            model.settle(found);
        }
        if matches!(end, End::Stopped | End::NoSpace) {
            // Where nothing was committed, nothing but the opening has made the mirrors the same.
            restore::check_mirrors(life, &stage.copy(), &model, trace, &mut random).map_err(in_boot)?;
        }
        tally.add(Kind::PoolRefused, u64::from(matches!(end, End::Refused(_))));
        tally.add(Kind::AllDied, u64::from(matches!(end, End::Failed(boot::ALL_DIED))));
        ends.push(end);
    }
    match life.damage {
        Damage::None => {}
        Damage::Bit => restore::check_bit(life, &stage, &model, trace, &mut random)?,
        Damage::Mirrors => restore::check_mirrors(life, &stage, &model, trace, &mut random)?,
    }
    Ok(Lived { ends, hash: trace.hash(), events: trace.events(), steps, tally })
}
