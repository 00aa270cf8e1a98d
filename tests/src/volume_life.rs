//! Volumes on simulated devices, from one seed: reads, writes and flushes at random while members die, the power fails,
//! devices are replaced, pages are rebuilt and scrubbed, and bits rot.
//!
//! ```text
//!   seed ─▶ Plan (level, members, pages, homes, episodes)
//!             each episode: recover ─▶ homes take turns, clients ask, something happens ─▶ settled, or the power is off
//!             ─▶ everything is read back and compared with the Model
//! ```
//!
//! - [`plan`]: what is drawn before anything happens. [`model`]: what each block may hold.
//! - [`stage`]: the devices, and which members count. [`episode`]: one opening of the volume.

use bireme_dataplane::port::simulated::Random;

use self::model::Model;
use self::plan::Plan;
use self::stage::Stage;

pub mod episode;
pub mod model;
pub mod plan;
pub mod stage;

/// What happened in a life, to see that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations that were acknowledged.
    pub operations: u64,
    /// Blocks that were compared.
    pub compared: u64,
    /// Members that died.
    pub deaths: u64,
    /// Times that the power failed.
    pub power_cuts: u64,
    /// Records that a recovery has replayed, or regions that it has made agree.
    pub recovered: u64,
    /// Pages that were rebuilt.
    pub rebuilt: u64,
    /// Blocks that had rotted and were healed.
    pub healed: u64,
    /// Reads of rotted blocks that were refused.
    pub refused: u64,
}

impl Tally {
    /// Adds another life's.
    pub fn merge(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.compared += other.compared;
        self.deaths += other.deaths;
        self.power_cuts += other.power_cuts;
        self.recovered += other.recovered;
        self.rebuilt += other.rebuilt;
        self.healed += other.healed;
        self.refused += other.refused;
    }
}

/// Lives the life of a seed.
///
/// # Errors
/// What was broken, as a sentence.
pub fn live(seed: u64) -> Result<Tally, String> {
    let plan = Plan::draw(seed);
    let mut random = Random::new(seed);
    let mut stage = Stage::new(&plan, seed);
    let mut model = Model::new(stage.volume.blocks);
    let mut tally = Tally::default();
    for (number, episode) in plan.episodes.iter().enumerate() {
        episode::play(&plan, episode, &mut stage, &mut model, &mut random, &mut tally)
            .map_err(|broken| format!("episode {number} ({episode:?}) of {plan:?}: {broken}"))?;
    }
    Ok(tally)
}
