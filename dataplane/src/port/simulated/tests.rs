//! What the simulated devices promise, and what they do not.

use super::*;
use crate::buffer::Span;
use crate::port::blocking::Blocking;

fn write(port: &mut Simulated, token: u64, offset: u64, byte: u8) {
    let span = Span::new(u32::try_from(token).expect("small") * 4096, 4096);
    port.region_mut().bytes_mut(span).fill(byte);
    let request = Request { token, file: 0, offset, operation: Operation::Write(span) };
    port.push(request).expect("room");
}

fn wait_all(port: &mut Simulated) -> Vec<Completion> {
    let mut all = Vec::new();
    while port.in_flight() > 0 {
        port.submit(Next::Event).expect("power");
        all.extend(std::iter::from_fn(|| port.reap()));
    }
    all
}

fn flush(port: &mut Simulated) {
    port.push(Request { token: 99, file: 0, offset: 0, operation: Operation::Flush }).expect("room");
}

#[test]
fn a_write_takes_effect_when_it_ends_and_lasts_once_flushed() {
    let world = World::new(1, &[1 << 20]);
    world.short_rate(0);
    let mut port = world.port(1 << 16, 8);
    write(&mut port, 0, 8192, 7);
    port.submit(Next::Ready).expect("power");
    assert_eq!(world.peek(0, 8192, 1), [0], "it has not ended");
    world.advance_to(world.next_event().expect("a write"));
    assert_eq!(world.peek(0, 8192, 1), [7]);
    wait_all(&mut port);
    flush(&mut port);
    wait_all(&mut port);
    assert_eq!(world.reboot().peek(0, 8192, 4096), [7; 4096]);
}

#[test]
fn a_flush_covers_only_what_had_ended_when_it_was_submitted() {
    let mut lost = 0;
    for seed in 0..40 {
        let world = World::new(seed, &[1 << 20]);
        world.short_rate(0);
        let mut port = world.port(1 << 16, 8);
        write(&mut port, 0, 0, 7);
        flush(&mut port);
        wait_all(&mut port);
        lost += u32::from(world.reboot().peek(0, 0, 4096) != [7; 4096]);
    }
    assert!(lost > 10, "a flush beside a write must not cover it: lost {lost} of 40");
}

#[test]
fn without_a_flush_blocks_survive_vanish_and_tear() {
    let (mut kept, mut gone, mut torn) = (0, 0, 0);
    for seed in 0..100 {
        let world = World::new(seed, &[1 << 20]);
        let mut port = world.port(1 << 16, 8);
        write(&mut port, 0, 4096, 7);
        if seed % 2 == 0 {
            wait_all(&mut port);
        } else {
            port.submit(Next::Ready).expect("power");
        }
        let after = world.reboot().peek(0, 4096, 4096);
        match after.iter().filter(|&&b| b == 7).count() {
            4096 => kept += 1,
            0 => gone += 1,
            some => {
                assert_eq!(some % 512, 0, "sectors do not tear");
                torn += 1;
            }
        }
    }
    assert!(kept > 10 && gone > 10 && torn > 10, "kept {kept}, gone {gone}, torn {torn}");
}

#[test]
fn ends_are_reordered_short_and_failed_as_told() {
    let world = World::new(3, &[1 << 20]);
    world.short_rate(500_000);
    world.fail_at(3, libc::ENOSPC);
    let mut port = world.port(1 << 16, 16);
    (0..16).for_each(|token| write(&mut port, token, token * 4096, 1));
    let ends = wait_all(&mut port);
    assert_eq!(ends.len(), 16);
    assert!(ends.windows(2).any(|pair| pair[0].token > pair[1].token), "in the order of submission");
    assert!(ends.iter().any(|end| matches!(end.result, Ok(bytes) if bytes < 4096)), "none was short");
    let failed: Vec<_> = ends.iter().filter(|end| end.result.is_err()).collect();
    assert_eq!(failed, [&Completion { token: 2, result: Err(libc::ENOSPC) }]);
}

#[test]
fn a_disk_that_hangs_never_answers_and_no_power_means_an_error() {
    let world = World::new(4, &[1 << 20]);
    world.hang(0);
    let mut port = world.port(1 << 16, 8);
    write(&mut port, 0, 0, 1);
    port.submit(Next::Ready).expect("power");
    world.advance_to(Nanos::from_secs(1000));
    port.submit(Next::Ready).expect("power");
    assert_eq!(port.reap(), None);
    world.power_off_at(2);
    write(&mut port, 1, 4096, 1);
    assert!(port.submit(Next::Ready).is_err());
    assert!(port.submit(Next::Ready).is_err(), "for good");
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let run = |seed| {
        let world = World::new(seed, &[1 << 20]);
        let mut port = world.port(1 << 16, 16);
        (0..16).for_each(|token| write(&mut port, token, token * 4096, 1));
        let ends: Vec<_> = wait_all(&mut port).iter().map(|end| end.token).collect();
        (ends, world.now(), world.reboot().peek(0, 0, 65536))
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
}

#[test]
fn a_dead_disk_stays_dead_until_it_is_replaced() {
    let world = World::new(5, &[1 << 20, 1 << 20]);
    let mut port = world.port(8192, 4);
    let mut write = |disk: u16| Blocking::new(&mut port).write(disk, 0, &[7; 4096]).map_err(|fault| fault.errno);
    assert_eq!((write(0), write(1)), (Ok(()), Ok(())));
    world.kill_at(world.steps() + 1, 0);
    assert_eq!((write(0), write(1), write(0)), (Err(libc::EIO), Ok(()), Err(libc::EIO)));
    let world = world.restart();
    let mut port = world.port(8192, 4);
    let mut out = [0; 4096];
    assert!(Blocking::new(&mut port).read(0, 0, &mut out).is_err());
    world.revive(0);
    Blocking::new(&mut port).read(0, 0, &mut out).expect("it answers again");
    assert_eq!(out, [7; 4096]);
    world.kill(0);
    world.replace(0, 1 << 20);
    Blocking::new(&mut port).read(0, 0, &mut out).expect("a new disk");
    assert_eq!(out, [0; 4096]);
}

#[test]
fn a_write_through_the_cache_lasts_and_what_was_there_before_does_not_come_over_it() {
    for seed in 0..40 {
        let world = World::new(seed, &[1 << 20]);
        world.short_rate(0);
        let mut port = world.port(1 << 16, 8);
        write(&mut port, 0, 4096, 7);
        wait_all(&mut port);
        let span = Span::new(4096, 4096);
        port.region_mut().bytes_mut(span).fill(8);
        let through = Operation::WriteThrough(span);
        port.push(Request { token: 1, file: 0, offset: 4096, operation: through }).expect("room");
        assert_eq!(wait_all(&mut port), [Completion { token: 1, result: Ok(4096) }]);
        assert_eq!(world.reboot().peek(0, 4096, 4096), [8; 4096], "seed {seed}");
    }
}

#[test]
fn a_trim_shows_zeroes_and_is_lost_like_a_write() {
    let (mut kept, mut gone) = (0, 0);
    for seed in 0..40 {
        let world = World::new(seed, &[1 << 20]);
        world.short_rate(0);
        let mut port = world.port(1 << 16, 8);
        write(&mut port, 0, 4096, 7);
        wait_all(&mut port);
        flush(&mut port);
        wait_all(&mut port);
        let operation = Operation::Trim { bytes: 4096, way: crate::port::TrimWay::Discard };
        port.push(Request { token: 1, file: 0, offset: 4096, operation }).expect("room");
        assert_eq!(wait_all(&mut port), [Completion { token: 1, result: Ok(0) }]);
        assert_eq!(world.peek(0, 4096, 4096), [0; 4096]);
        match world.reboot().peek(0, 4096, 4096) {
            after if after == [0; 4096] => gone += 1,
            after if after == [7; 4096] => kept += 1,
            _ => {}
        }
    }
    assert!(kept > 5 && gone > 5, "kept {kept}, gone {gone}");
}

#[test]
fn a_disk_that_forgets_flushes_loses_what_it_has_acknowledged() {
    let mut lost = 0;
    for seed in 0..20 {
        let world = World::new(seed, &[1 << 20]);
        world.short_rate(0);
        world.forget_flushes(0);
        let mut port = world.port(1 << 16, 8);
        write(&mut port, 0, 4096, 7);
        wait_all(&mut port);
        flush(&mut port);
        assert_eq!(wait_all(&mut port), [Completion { token: 99, result: Ok(0) }]);
        lost += u32::from(world.reboot().peek(0, 4096, 4096) != [7; 4096]);
    }
    assert!(lost > 5, "{lost}");
}
