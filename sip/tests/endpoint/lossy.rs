//! Whole calls over a network that loses packets by a seeded rule: everything ends, on both sides, in agreement.

use std::time::Duration;

use lockstep_sip::endpoint::{DialogRequest, Event};
use lockstep_sip::message::{Headers, Method};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::net::{Net, NodeId, answer, offer, reply};

/// Answers what a node is asked, like a phone that takes every call.
fn serve(net: &mut Net, node: NodeId) -> Vec<Event> {
    let events = net.events(node);
    for event in &events {
        let (id, body) = match event {
            Event::Invite { id, .. } => (*id, Some(answer())),
            Event::Request { id, description, .. } => (*id, description.as_ref().map(|_| answer())),
            _ => continue,
        };
        let mut ok = reply(200);
        ok.body = body;
        // It may have been cancelled meanwhile.
        let _ = net.at(node, |e, now| e.respond(now, id, ok));
    }
    events
}

fn run_both(net: &mut Net, a: NodeId, b: NodeId, seconds: u64) -> (Vec<Event>, Vec<Event>) {
    let mut seen = (Vec::new(), Vec::new());
    for _ in 0..seconds * 5 {
        net.run(Duration::from_millis(200));
        seen.0.extend(serve(net, a));
        seen.1.extend(serve(net, b));
    }
    seen
}

fn lossy_call(seed: u64, percent: u32) -> (bool, Vec<String>) {
    let mut net = Net::new();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    net.lose = Box::new(move |_| rng.next_u32() % 100 < percent);
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    let mut seen = run_both(&mut net, a, b, 20);
    let answered = seen.0.iter().find_map(|event| match event {
        Event::Answered { dialog, .. } => Some(*dialog),
        _ => None,
    });
    if let Some(dialog) = answered {
        let again = DialogRequest::new(Method::Invite).with_body(offer());
        // Both may fail when the peer has hung up already.
        let _ = net.at(a, |e, now| e.request(now, dialog, again));
        run_both(&mut net, a, b, 5);
        let _ = net.at(a, |e, now| e.bye(now, dialog, Headers::new()));
    }
    let late = run_both(&mut net, a, b, 150);
    seen.0.extend(late.0);
    seen.1.extend(late.1);
    for node in [a, b] {
        let left = net.at(node, |e, _| (e.transaction_count(), e.dialog_count()));
        // A callee whose BYE and all its repetitions were lost keeps the dialog; session timers are for that.
        assert!(left.0 == 0 && left.1 <= 1, "seed {seed}: {left:?}");
    }
    let wire = net.take_wire();
    net.lose = Box::new(|_| false);
    for (node, events) in [(a, seen.0), (b, seen.1)] {
        for event in events {
            if let Event::Answered { dialog, .. } | Event::Invite { dialog, .. } = event {
                // It may be over.
                let _ = net.at(node, |e, now| e.bye(now, dialog, Headers::new()));
            }
        }
    }
    run_both(&mut net, a, b, 70);
    for node in [a, b] {
        assert_eq!(net.at(node, |e, _| (e.transaction_count(), e.dialog_count())), (0, 0), "seed {seed}");
    }
    (answered.is_some(), wire)
}

#[test]
fn calls_survive_loss() {
    for seed in 0..30 {
        assert!(lossy_call(seed, 20).0, "seed {seed}");
    }
}

#[test]
fn heavy_loss_leaves_nothing_behind() {
    for seed in 0..30 {
        lossy_call(seed, 60);
    }
}

#[test]
fn the_same_seed_gives_the_same_wire() {
    assert_eq!(lossy_call(7, 30), lossy_call(7, 30));
    assert_ne!(lossy_call(7, 30).1, lossy_call(8, 30).1);
}
