//! What is drawn from a seed before anything happens: the shape of the pool, its devices, and what is to befall them.

use bireme_control::balance::{Rules, Strategy};
use bireme_control::raid::geometry::{Geometry, Level};
use bireme_control::reservation::Terms;
use bireme_control::units::{Nanos, PeerId};
use bireme_dataplane::array::Array;
use bireme_dataplane::engine::sizing;
use bireme_dataplane::layout::Layout;
use bireme_dataplane::port::simulated::Random;
use bireme_dataplane::reservation::{Class, Promises};

use super::losses::{Loss, draw_shape};
use super::pace::Pace;

/// A pool's life: several boots on the same devices.
#[derive(Clone, Debug)]
pub struct Life {
    /// Level, members, chunk and page.
    pub geometry: Geometry,
    /// Bytes of each device.
    pub disks: Vec<u64>,
    /// How engines are built.
    pub config: Config,
    /// One engine after the other.
    pub boots: Vec<Boot>,
    /// What happens to the devices at the end.
    pub damage: Damage,
}

/// The engine, and how fast threads and devices are.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many peers.
    pub peers: u16,
    /// Slots per peer.
    pub depth: u32,
    /// Data of a slot.
    pub slot_bytes: u64,
    /// One request at most.
    pub request_bytes: u64,
    /// How peers share the work.
    pub rules: Rules,
    /// Memory of the ledger's port.
    pub ledger_region: usize,
    /// Places of the ledger's mailbox.
    pub letters: usize,
    /// Places of each peer's mailbox.
    pub peer_letters: usize,
    /// How fast each peer is.
    pub paces: [Pace; PEERS_MAX],
    /// What the class that works may use of each device, in bytes per second.
    pub limit: Option<u64>,
    /// What each device is taken to do.
    pub link_rate: Option<u64>,
    /// A request that takes longer ends the run.
    pub hang_limit: Nanos,
    /// So many answers of a million are short.
    pub short_per_million: u32,
    /// So many requests of a million are slow.
    pub stalls_per_million: u32,
    /// So often of a million does a device go on before a thread that could.
    pub lag_per_million: u32,
    /// What a turn takes at most.
    pub turn_max: Nanos,
}

/// One engine: sets to write, or a pool to mend, and what happens meanwhile.
#[derive(Clone, Debug)]
pub struct Boot {
    /// What it is for.
    pub work: Work,
    /// Bytes of each set.
    pub sets: Vec<u64>,
    /// The data comes from a file of so many bytes; it is generated otherwise.
    pub input: Option<u64>,
    /// What goes wrong.
    pub fault: Fault,
    /// And when.
    pub moment: Moment,
    /// So many steps later.
    pub steps: u64,
    /// Peers that die.
    pub deaths: Vec<Death>,
    /// Disks that die.
    pub losses: Vec<Loss>,
    /// More of them than the array survives.
    pub reckless: bool,
    /// The operator stops it so many steps after the threads began.
    pub stop: Option<u64>,
    /// The power goes after it in any case; another process follows otherwise.
    pub reboot: bool,
}

/// What a boot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Sets are written.
    Offload,
    /// Members that do not count are replaced and filled again; where all count, the set is scrubbed.
    Mend {
        /// So many bits of one member are flipped before a scrub.
        flips: u64,
        /// A member is replaced although it counts.
        swap: bool,
    },
}

/// What goes wrong in a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The power.
    Power,
    /// The process is killed.
    Kill,
    /// A request fails.
    Errno(i32),
    /// A device does not answer from then on.
    Hang,
    /// So many requests of a million fail with EIO.
    Rate(u32),
}

/// A peer that dies.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    /// Who, unless the moment says it.
    pub peer: PeerId,
    /// From when on its calls are counted.
    pub moment: Moment,
    /// It dies at this one of its port.
    pub calls: u64,
    /// The main thread sees it so long after its port was drained.
    pub unseen: Nanos,
}

/// What happens to the devices of a pool that was closed in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    None,
    /// One bit of the newest set is flipped.
    Bit,
    /// All mirrors of the metadata but one are overwritten.
    Mirrors,
}

/// From when on the steps to a fault are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The devices are opened.
    Opening,
    /// The threads run.
    Running,
    /// A set of the boot has its frames.
    Prepared(u32),
    /// The ledger writes the transaction of a set of the boot.
    Committing(u32),
    /// A set of the boot was acknowledged.
    Committed(u32),
    /// The pool is closed.
    Closing,
    /// A peer has asked another for work. These are for deaths only: that peer dies.
    Asking,
    /// A peer has begun a repeat.
    Repeating,
    /// A peer has begun a flush.
    Flushing,
    /// A set was acknowledged, and a peer writes to a frame that its map leaves out.
    Losing,
}

impl Life {
    /// The life of a seed: of each three, two on RAID 0, and one on a level that survives the loss of members.
    pub fn draw(seed: u64) -> Life {
        let life = if seed % 3 == 2 { Life::redundant(seed) } else { Life::striped(seed / 3 * 2 + seed % 3) };
        let config = life.config.in_class(&mut Random::new(seed ^ 0x636c_6173));
        Life { config, ..life }
    }

    /// The life of a seed on RAID 0.
    pub fn striped(seed: u64) -> Life {
        let mut random = Random::new(seed ^ 0x6c69_6665);
        let r = &mut random;
        let members = [1, 1, 2, 2, 2, 3, 4, 5][pick(r, 8)];
        let chunk = 4096 << r.below(5);
        // Many small pages: there is something to hand over, and room for repeats.
        let long = r.below(5) < 3;
        let page = if long { [16, 24][pick(r, 2)] } else { [16, 16, 24, 32, 64, 100, 128, 256][pick(r, 8)] } << 10;
        let geometry = Geometry::new(Level::Raid0, members, chunk, page).expect("figures within bounds");
        let mut life = Life::of(r, geometry, long);
        if seed.is_multiple_of(16) {
            // What is lost here is lost, unless it comes back.
            let place = pick(r, life.boots.len() as u64 - 1);
            (life.boots[place].losses, life.boots[place].reckless) = (vec![Loss::draw(r)], true);
            life.damage = Damage::None;
        }
        life
    }

    /// The life of a seed on a level that survives the loss of members: disks die in it, are replaced and filled again.
    fn redundant(seed: u64) -> Life {
        let mut random = Random::new(seed ^ 0x6172_7261);
        let r = &mut random;
        let long = r.below(3) == 0;
        let geometry = draw_shape(r, long);
        let mut life = Life::of(r, geometry, long);
        for index in (1..life.boots.len()).rev() {
            if r.below(3) > 0 {
                life.boots.insert(index, Boot::draw_mending(r));
            }
        }
        let faulty = life.boots.len() - 1;
        for boot in &mut life.boots[..faulty] {
            boot.losses = Loss::draw_some(r);
            boot.reckless = r.below(60) == 0;
            if !boot.losses.is_empty() && r.below(2) == 0 {
                // Most die while all else is well, or nobody could tell what the run does without them.
                (boot.fault, boot.stop) = (Fault::None, None);
            }
            if !boot.losses.is_empty() && r.below(2) == 0 {
                boot.deaths.clear();
            }
        }
        if life.boots.iter().any(|boot| boot.reckless) {
            life.damage = Damage::None;
        }
        life
    }

    fn of(r: &mut Random, geometry: Geometry, long: bool) -> Life {
        let (members, page) = (usize::from(geometry.members()), u64::from(geometry.page_bytes()));
        let frames = if long { 40 + r.below(100) } else { 2 + [r.below(6), r.below(40)][pick(r, 2)] };
        let least = METADATA_BYTES + frames * u64::from(geometry.frame_member_bytes());
        let most =
            least.clamp(METADATA_BYTES + u64::from(geometry.frame_member_bytes()) * 2, DISK_BYTES_MAX.max(least));
        let disks = (0..members).map(|_| most + r.below(64) * 512 * r.below(2)).collect();
        let mut config = Config::draw(r);
        if long && config.peers == 1 {
            config.peers = 2;
        }
        if long && r.below(3) > 0 {
            // One that is far behind the others, so that they have something to repeat in the end, and requests that
            // take so long that the set is durable before they end.
            config.paces = [Pace::QUICK; PEERS_MAX];
            config.paces[pick(r, u64::from(config.peers))].request_times = 6 << r.below(3);
            config.depth = config.depth.max(2);
            config.rules.strategy = Strategy::Measured;
            config.stalls_per_million = [0, 5_000, 40_000][pick(r, 3)];
        }
        let capacity = frames * page;
        let count = 2 + r.below(4);
        let mut boots: Vec<_> = (0..count).map(|_| Boot::draw(r, capacity, page, config.peers)).collect();
        // The last one is undisturbed: whatever happened before, the pool still works.
        let sets = (0..1 + r.below(2)).map(|_| draw_bytes(r, capacity / 2, page)).collect();
        boots.push(Boot { sets, ..Boot::quiet(r.below(2) == 0) });
        Life { geometry, disks, config, boots, damage: [Damage::None, Damage::Bit, Damage::Mirrors][pick(r, 3)] }
    }

    /// A small life with one death in it: unequal peers share three sets of a dozen pages.
    pub fn mortal(strategy: Strategy, seed: u64, death: Death) -> Life {
        let mut life = Life::small(Fault::None, 1);
        let frame = u64::from(life.geometry.frame_member_bytes());
        let slow = Pace { request_times: 6, ..Pace::QUICK };
        life.config.rules.strategy = strategy;
        life.config.peers = 3;
        life.config.paces[pick(&mut Random::new(seed), 3)] = slow;
        life.disks = vec![METADATA_BYTES + 90 * frame; 2];
        let sets = vec![(12 << 14) - 5_000, 12 << 14, 9 << 14];
        life.boots = vec![Boot { sets, deaths: vec![death], ..Boot::quiet(false) }];
        life.damage = Damage::None;
        life
    }

    /// The smallest life in which everything happens, for faults at each of its steps.
    pub fn small(fault: Fault, steps: u64) -> Life {
        let geometry = Geometry::new(Level::Raid0, 2, 4096, 16 << 10).expect("figures within bounds");
        let frame = u64::from(geometry.frame_member_bytes());
        let mut config = Config::draw(&mut Random::new(1));
        let paces = [Pace::QUICK; PEERS_MAX];
        config = Config { peers: 2, depth: 2, slot_bytes: 16 << 10, request_bytes: 16 << 10, paces, ..config };
        let sets = vec![40_000, 16 << 10, 30_001];
        let faulty = Boot { sets, fault, moment: Moment::Opening, steps, ..Boot::quiet(true) };
        let boots = vec![faulty, Boot { sets: vec![20_000], ..Boot::quiet(true) }];
        let disks = vec![METADATA_BYTES + 12 * frame; 2];
        Life { geometry, disks, config, boots, damage: Damage::Mirrors }
    }
}

impl Life {
    /// The sizes of one peer.
    pub fn array(&self, layout: Layout) -> Result<Array, String> {
        let Config { depth, slot_bytes, request_bytes, peers, .. } = self.config;
        let ask = sizing::Ask { depth: Some(depth), slot_bytes: Some(slot_bytes), request_bytes, peers };
        let sized = sizing::size(self.geometry, layout, ask).map_err(|error| error.to_string());
        sized.map(|(array, _)| array)
    }
}

impl Config {
    /// One of eight has a limit, and one of eight works on links of a known rate.
    fn in_class(self, r: &mut Random) -> Config {
        let rate = (64 << 20) >> r.below(6);
        match r.below(8) {
            0 => Config { limit: Some(rate), ..self },
            1 => Config { link_rate: Some(rate), ..self },
            _ => self,
        }
    }

    /// What the classes were promised.
    pub fn promises(&self) -> Promises {
        let limited = |class| (class, Terms { limit: self.limit, ..Promises::usual(class) });
        Promises::new(&Class::ALL.map(limited), self.link_rate).expect("limits need nothing")
    }

    fn draw(r: &mut Random) -> Config {
        let hang_limit = Nanos::from_millis(200 << r.below(3));
        Config {
            peers: [1, 2, 2, 3, 4][pick(r, 5)],
            depth: [1, 2, 3, 8][pick(r, 4)],
            slot_bytes: 4096 << r.below(7),
            request_bytes: [4096, 12 << 10, 64 << 10, 512 << 10][pick(r, 4)],
            rules: Rules { strategy: STRATEGIES[pick(r, 8)], ..Rules::default() },
            ledger_region: [64 << 10, 1 << 20][pick(r, 2)],
            letters: [16, 64, 4096][pick(r, 3)],
            peer_letters: [1, 8, 64][pick(r, 3)],
            paces: [(); PEERS_MAX].map(|()| Pace::draw(r, hang_limit)),
            limit: None,
            link_rate: None,
            hang_limit,
            short_per_million: [0, 20_000, 300_000][pick(r, 3)],
            stalls_per_million: [0, 0, 5_000][pick(r, 3)],
            lag_per_million: [0, 50_000, 500_000][pick(r, 3)],
            turn_max: Nanos([1, 2_000, 50_000][pick(r, 3)]),
        }
    }
}

impl Boot {
    fn quiet(reboot: bool) -> Boot {
        Boot {
            work: Work::Offload,
            sets: Vec::new(),
            input: None,
            fault: Fault::None,
            moment: Moment::Opening,
            steps: 1,
            deaths: Vec::new(),
            losses: Vec::new(),
            reckless: false,
            stop: None,
            reboot,
        }
    }

    fn draw_mending(r: &mut Random) -> Boot {
        let work = Work::Mend { flips: r.below(2) * (1 + r.below(6)), swap: r.below(5) == 0 };
        let fault = if r.below(3) == 0 { Fault::draw(r) } else { Fault::None };
        let (moment, doubled) = (Moment::draw(r), r.below(10));
        Boot { work, fault, moment, steps: 1 + r.below(1 << doubled), ..Boot::quiet(r.below(2) == 0) }
    }

    fn draw(r: &mut Random, capacity: u64, page: u64, peers: u16) -> Boot {
        let fault = Fault::draw(r);
        let moment = Moment::draw(r);
        let doubled = r.below(10);
        let steps = 1 + r.below(1 << doubled);
        let stop = (r.below(8) == 0).then(|| 1 + r.below(200));
        let mut sets: Vec<_> = (0..1 + r.below(4)).map(|_| draw_bytes(r, capacity, page)).collect();
        let input = (r.below(3) == 0).then(|| {
            let bytes = sets[0];
            sets.iter_mut().for_each(|set| *set = bytes);
            bytes
        });
        let deaths: Vec<_> = match r.below(6) {
            0 | 1 => vec![Death::draw(r, peers)],
            2 => (0..peers).map(|_| Death::draw(r, peers)).collect(),
            _ => Vec::new(),
        };
        // Most deaths strike while all else is well.
        let fault = if deaths.is_empty() || r.below(3) == 0 { fault } else { Fault::None };
        Boot { sets, input, fault, moment, steps, deaths, stop, ..Boot::quiet(r.below(2) == 0) }
    }
}

impl Fault {
    fn draw(r: &mut Random) -> Fault {
        match r.below(16) {
            0..=3 => Fault::None,
            4..=9 => Fault::Power,
            10 => Fault::Kill,
            11 => Fault::Errno([libc::EIO, libc::ENOSPC, libc::ENODATA][pick(r, 3)]),
            12 => Fault::Hang,
            13 => Fault::Rate([2_000, 20_000][pick(r, 2)]),
            _ => Fault::Errno(libc::EIO),
        }
    }
}

impl Death {
    fn draw(r: &mut Random, peers: u16) -> Death {
        let peer = PeerId(u16::try_from(r.below(u64::from(peers))).expect("a few peers"));
        let busy = [Moment::Asking, Moment::Repeating, Moment::Flushing, Moment::Losing, Moment::Losing];
        let (moment, doubled) =
            if r.below(2) == 0 { (Moment::draw(r), r.below(11)) } else { (busy[pick(r, 5)], r.below(5)) };
        // What a loser has in flight ends soon.
        let calls = (1 + r.below(1 << doubled)).min(if moment == Moment::Losing { 1 } else { u64::MAX });
        Death { peer, moment, calls, unseen: Nanos(1 << r.below(26)) }
    }
}

impl Moment {
    fn draw(r: &mut Random) -> Moment {
        match r.below(9) {
            0..=2 => Moment::Opening,
            3 | 4 => Moment::Running,
            5 => Moment::Prepared(u32::try_from(r.below(3)).expect("small")),
            6 | 7 => Moment::Committed(u32::try_from(r.below(3)).expect("small")),
            _ => Moment::Closing,
        }
    }
}

/// One byte, whole pages, anything, and now and then more than there is room for.
fn draw_bytes(r: &mut Random, capacity: u64, page: u64) -> u64 {
    let usual = (capacity / 2).clamp(1, SET_BYTES_MAX);
    match r.below(8) {
        0 => 1,
        1 | 2 => (usual / page).max(1) * page,
        3 => (1 + r.below(capacity * 5 / 4)).min(2 * SET_BYTES_MAX),
        _ => 1 + r.below(usual),
    }
}

/// An index below `bound`.
pub fn pick(r: &mut Random, bound: u64) -> usize {
    usize::try_from(r.below(bound)).expect("a small table")
}

/// The default more often than the others.
const STRATEGIES: [Strategy; 8] = [
    Strategy::Fixed,
    Strategy::Pull,
    Strategy::StealHalf,
    Strategy::Ratio,
    Strategy::Measured,
    Strategy::Measured,
    Strategy::Measured,
    Strategy::Measured,
];
/// The most peers of an engine.
pub const PEERS_MAX: usize = 4;
/// Superblocks, store and leaves of a small pool.
const METADATA_BYTES: u64 = (4 << 20) + (64 << 10);
const DISK_BYTES_MAX: u64 = 8 << 20;
const SET_BYTES_MAX: u64 = 512 << 10;
