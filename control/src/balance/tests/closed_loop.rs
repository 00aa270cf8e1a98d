//! Every strategy against the integer optimum, at speeds from 1:1 to 1:8 and with two to five peers.

use super::super::{Rules, Strategy};
use super::world::{World, optimum};

#[test]
fn explore() {
    for (h, q, n) in [
        (10, 1, 1024),
        (1000, 1, 1024),
        (10_000, 1, 1024),
        (10, 32, 1024),
        (1000, 32, 1024),
        (10_000, 32, 1024),
        (1000, 1, 64),
        (1000, 8, 64),
    ] {
        for (name, rules) in [
            ("fixed", Rules { strategy: Strategy::Fixed, ..Rules::default() }),
            ("steal", Rules { strategy: Strategy::StealHalf, ..Rules::default() }),
            ("ratio", Rules { strategy: Strategy::Ratio, ..Rules::default() }),
            ("meas-late", Rules { early: false, repeat: false, ..Rules::default() }),
            ("meas-norep", Rules { repeat: false, ..Rules::default() }),
            ("measured", Rules::default()),
        ] {
            print!("h={h} q={q} n={n} {name:10}");
            for costs in
                [&[1000, 1000][..], &[500, 1000], &[250, 1000], &[125, 1000], &[1000, 125], &[1000, 500, 250, 200, 125]]
            {
                let mut world = World::new(rules, costs, q, h);
                let ideal = optimum(costs, n);
                let over = |t: u64| (t as f64 / ideal as f64 - 1.0) * 100.0;
                let mut sum = 0;
                let first = over(world.set(n));
                for s in 1..30 {
                    if s == 20 {
                        world.messages = 0;
                    }
                    let t = world.set(n);
                    if s >= 20 {
                        sum += t;
                    }
                }
                print!("  {first:6.2}/{:6.2} ({:3})", over(sum / 10), world.messages / 10);
            }
            println!();
        }
    }
}

#[test]
fn trace() {
    let mut world = World::new(Rules::default(), &[1000, 500, 250, 200, 125], 32, 10_000);
    for s in 0..12 {
        world.asks.clear();
        println!(
            "div {:?}",
            world.learnt.division(Strategy::Measured, 1024, &[true; 5]).iter().map(|e| e.count).collect::<Vec<_>>()
        );
        let start = world.now;
        let t = world.set(1024);
        println!("SET {s} {t}");
        if s < 12 {
            for (n, left, _) in &world.asks {
                println!(
                    "  {} {}<-{} {} of {} {:?} {} rtt {}",
                    n.at.0 - start,
                    n.to,
                    n.from,
                    n.transfers,
                    left,
                    n.reason,
                    n.share.get(),
                    n.round_trip.0
                );
            }
        }
    }
}
