//! What is recorded, against devices whose latencies are known beforehand: the whole way from the schedule through the
//! workload and its histograms to the percentiles, on the clock of a simulation.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_control::units::Nanos;
use bireme_dataplane::engine::raw::Client;
use bireme_dataplane::engine::volumes::Step;
use bireme_dataplane::port::simulated::{Simulated, World};
use bireme_dataplane::port::{Next, Port, TrimWay};
use bireme_dataplane::telemetry::Latencies;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, LogNormal};

use super::addresses::Order;
use super::arrivals::{Arrivals, Schedule};
use super::load::{Data, Load, Mix, Span};
use super::workload::{Part, Workload};
use crate::recording::recorder::{Exchange, Interval, Recorder};

/// A device with a body and a long tail: most requests take about 80 us, one of a thousand takes milliseconds.
fn latencies(count: usize) -> Vec<Nanos> {
    let (body, tail) = (LogNormal::new(11.3, 0.25).expect("a law"), LogNormal::new(15.5, 0.4).expect("a law"));
    let mut random = SmallRng::seed_from_u64(7);
    let draw = |index: usize| {
        let nanos = if index % 1000 == 999 { tail.sample(&mut random) } else { body.sample(&mut random) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of milliseconds")]
        Nanos(nanos as u64)
    };
    (0..count).map(draw).collect()
}

fn load(depth: u32, arrivals: Arrivals, span: Span) -> Load {
    Load {
        mix: Mix { reads: 100, trims: 0 },
        sizes: vec![(512, 100)],
        order: Order::Uniform,
        region: (0, u64::MAX),
        depth,
        batch_submit: depth,
        batch_complete: None,
        arrivals,
        warm_up: Nanos::ZERO,
        span,
        flush_every: None,
        data: Data::Random,
        fua: false,
        seed: 1,
    }
}

/// Lives through one load, and returns all that was recorded. A turn of a peer that does not sleep takes `turn`.
fn live(world: &World, load: &Load, turn: Nanos) -> Interval {
    let exchange = Exchange::new(1);
    let recorder = Recorder::new(exchange.clone(), 0, Nanos::from_secs(1));
    let places = load.places(DISK_BYTES, 0, 1).expect("there is room");
    let mut port = world.port(usize::try_from(Workload::region_bytes(load)).expect("small"), load.depth);
    let part = Part { file: 0, places, trim: TrimWay::Discard };
    let mut client = Workload::new(load.clone(), 0, &[part], recorder, None, None, Arc::new(AtomicBool::new(false)));
    let mut all = Interval::default();
    loop {
        let now = port.now();
        let next = match client.turn(&mut port, now, false).expect("no device fails") {
            Step::Done => break,
            Step::On(next) => next,
            Step::Held(until) => Next::At(until),
        };
        Client::<Simulated>::handed_over(&mut client, now);
        port.submit(Next::Ready).expect("a port in a simulation");
        let event = world.next_event().unwrap_or(Nanos(u64::MAX));
        let until = match next {
            Next::Ready => now + turn,
            Next::At(time) => time.max(now + turn),
            Next::Event => event,
        };
        world.advance_to(event.min(until));
        // What has ended by now can be reaped in the next turn.
        port.submit(Next::Ready).expect("a port in a simulation");
        while exchange.take(|interval| all.merge(interval)) {}
    }
    while exchange.take(|interval| all.merge(interval)) {}
    all
}

/// That percentiles of a recording are those of a sorted sample, within 1 % or 100 ns.
fn compare(recorded: &Latencies, mut sample: Vec<Nanos>) {
    sample.sort_unstable();
    assert_eq!(recorded.count(), sample.len() as u64);
    // Of a hundred thousand.
    for percentile in [1, 1_000, 10_000, 50_000, 75_000, 90_000, 95_000, 99_000, 99_500, 99_900, 99_950, 99_990] {
        let rank = (sample.len() * percentile as usize).div_ceil(100_000).max(1);
        let (want, got) = (sample[rank - 1].0, recorded.percentile(percentile).0);
        let error = want.abs_diff(got);
        assert!(error <= 100 || error * 100 <= want, "{percentile} of 100,000: {got} ns recorded, {want} ns is true");
    }
}

#[test]
fn a_closed_loop_records_what_the_device_took() {
    let world = World::new(1, &[DISK_BYTES]);
    world.short_rate(0);
    let all = latencies(200_000);
    world.latencies(all.clone());
    let recorded = live(&world, &load(32, Arrivals::Closed, Span::Bytes(200_000 * 512)), Nanos(100));
    // Nothing is lost: as many as were started, each with the time that it took.
    compare(&recorded.directions[0].service, all);
}

#[test]
fn an_open_loop_records_what_the_device_took_and_what_was_waited_for() {
    let world = World::new(1, &[DISK_BYTES]);
    world.short_rate(0);
    let all = latencies(40_000);
    world.latencies(all.clone());
    // So few in flight that arrivals have to wait now and then, and longer than the device takes.
    let (depth, per_s) = (8, 50_000.0);
    let arrivals = Arrivals::Poisson { per_s };
    let recorded = live(&world, &load(depth, arrivals, Span::Bytes(40_000 * 512)), Nanos(50));
    let mut schedule = Schedule::new(arrivals, 1, Nanos::ZERO).expect("open");
    // Each place is free when its request has ended; the next arrival takes the one that is free first.
    let mut free = vec![Nanos::ZERO; depth as usize];
    let mut responses = Vec::with_capacity(all.len());
    let mut waited = 0;
    for &latency in &all {
        let arrived = schedule.next();
        schedule.advance();
        let place = (0..free.len()).min_by_key(|&place| free[place]).expect("places");
        waited += u32::from(free[place] > arrived);
        free[place] = free[place].max(arrived) + latency;
        responses.push(free[place].since(arrived));
    }
    assert!(waited > 1000, "only {waited} arrivals had to wait");
    compare(&recorded.directions[0].service, all);
    compare(&recorded.directions[0].response, responses);
}

#[test]
fn a_stall_of_a_second_is_seen_by_all_that_arrive_meanwhile() {
    let world = World::new(1, &[DISK_BYTES]);
    world.short_rate(0);
    world.latencies(vec![Nanos(50_000)]);
    world.pause(Nanos::from_secs(2), Nanos::from_secs(3));
    let arrivals = Arrivals::Constant { per_s: 2000.0 };
    let recorded = live(&world, &load(64, arrivals, Span::Time(Nanos::from_secs(5))), Nanos(1000));
    let figures = &recorded.directions[0];
    // 2,000 of 10,000 arrived in the stall, and waited between nothing and a second, evenly.
    let near = |percentile: u32, want: f64| {
        let got = figures.response.percentile(percentile).0 as f64 / 1e9;
        assert!((got - want).abs() < 0.02, "{percentile} of 100,000 is {got} s instead of {want} s");
    };
    near(79_000, 0.0);
    near(85_000, 0.25);
    near(90_000, 0.5);
    near(99_000, 0.95);
    near(99_900, 0.995);
    // Who counts from the hand-over sees it in as many requests as were in flight, and in no others.
    let slow =
        figures.service.counts().filter(|(latency, _)| latency.0 > 100_000_000).map(|(_, count)| count).sum::<u64>();
    assert!(slow <= 64, "{slow} requests");
    assert!(figures.service.percentile(99_000).0 < 60_000);
}

const DISK_BYTES: u64 = 64 << 20;
