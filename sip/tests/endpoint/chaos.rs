//! Random commands at both ends of a random network: every request gets exactly one outcome, nothing happens in a dialog that is over,
//! and nothing is left at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_sip::endpoint::{DialogId, DialogRequest, Event, IncomingId, RequestId};
use lockstep_sip::message::{Headers, Method};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::net::{Net, NodeId, answer, invite_to, offer, reply};

/// What a careless engine knows of its endpoint.
#[derive(Default)]
struct Engine {
    open_requests: BTreeSet<RequestId>,
    challenged: BTreeSet<RequestId>,
    incoming: Vec<IncomingId>,
    dialogs: BTreeSet<DialogId>,
    over: BTreeSet<DialogId>,
    seen: Vec<String>,
}

impl Engine {
    fn settle(&mut self, id: RequestId, is_ours: bool) {
        let was_open = self.open_requests.remove(&id);
        self.challenged.remove(&id);
        assert!(was_open || is_ours, "a second outcome for {id:?}: {:#?}", self.seen);
    }

    fn alive(&mut self, dialog: DialogId) {
        assert!(!self.over.contains(&dialog), "{dialog:?} is over: {:#?}", self.seen);
        self.dialogs.insert(dialog);
    }

    fn end(&mut self, dialog: DialogId) {
        self.alive(dialog);
        self.dialogs.remove(&dialog);
        self.over.insert(dialog);
    }

    fn note(&mut self, event: Event) {
        let text = format!("{event:?}");
        self.seen.push(text.chars().take(200).collect());
        match event {
            Event::Invite { id, dialog, .. } => {
                self.incoming.push(id);
                self.alive(dialog);
            }
            Event::Cancelled { dialog, .. } => self.end(dialog),
            Event::Acked { dialog, .. } | Event::AckTimeout { dialog, .. } => self.alive(dialog),
            Event::Progress { id, dialog, .. } => {
                assert!(self.open_requests.contains(&id));
                if let Some(dialog) = dialog {
                    self.alive(dialog);
                }
            }
            Event::Answered { id, dialog, .. } => {
                self.settle(id, false);
                self.alive(dialog);
            }
            Event::Failed { id, .. } => self.settle(id, false),
            Event::Challenged { id, .. } => {
                self.challenged.insert(id);
            }
            Event::Request { id, dialog, .. } => {
                self.incoming.push(id);
                if let Some(dialog) = dialog {
                    self.alive(dialog);
                }
            }
            Event::RequestCancelled { dialog, .. } | Event::GlareOver { dialog } => self.alive(dialog),
            // The endpoint's own refreshes have ids we never got; they are after all others in this test.
            Event::Response { id, outcome, .. } => match outcome {
                Ok(response) if !response.status.is_final() => assert!(self.open_requests.contains(&id)),
                Ok(_) | Err(_) => self.settle(id, false),
            },
            Event::Terminated { dialog, .. } => self.end(dialog),
        }
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> Option<T> {
    let index = rng.next_u32() as usize % from.len().max(1);
    from.get(index).copied()
}

fn body(rng: &mut ChaCha8Rng) -> Option<lockstep_sip::endpoint::Body> {
    match rng.next_u32() % 3 {
        0 => None,
        1 => Some(offer()),
        _ => Some(answer()),
    }
}

/// One random command. Errors are answers too; only panics and broken promises count.
fn act(net: &mut Net, node: NodeId, peer: NodeId, engine: &mut Engine, rng: &mut ChaCha8Rng) {
    let dialogs: Vec<_> = engine.dialogs.iter().copied().collect();
    let requests: Vec<_> = engine.open_requests.iter().copied().collect();
    let challenged: Vec<_> = engine.challenged.iter().copied().collect();
    match rng.next_u32() % 12 {
        0 if engine.dialogs.len() < 8 => {
            let mut request = invite_to(net.address(node), net.address(peer));
            request.body = body(rng);
            let id = net.at(node, |e, now| e.invite(now, request)).expect("an INVITE");
            engine.open_requests.insert(id);
        }
        1..=5 => {
            let Some(id) = pick(rng, &engine.incoming) else {
                return;
            };
            let code = [100, 180, 183, 200, 200, 200, 401, 407, 422, 486, 488, 491, 503][rng.next_u32() as usize % 13];
            let mut response = reply(code);
            response.body = body(rng);
            let dialog_gone = net.at(node, |e, now| e.respond(now, id, response)).is_ok() && code >= 300;
            if dialog_gone {
                // A refused first INVITE takes its dialog with it without a word.
                let gone: Vec<_> =
                    engine.dialogs.iter().copied().filter(|d| net.at(node, |e, _| e.dialog(*d).is_none())).collect();
                for dialog in gone {
                    engine.dialogs.remove(&dialog);
                    engine.over.insert(dialog);
                }
            }
        }
        6 | 7 => {
            let method = [Method::Invite, Method::Update, Method::Info][rng.next_u32() as usize % 3].clone();
            let mut request = DialogRequest::new(method);
            request.body = body(rng);
            if let Some(dialog) = pick(rng, &dialogs)
                && let Ok(id) = net.at(node, |e, now| e.request(now, dialog, request))
            {
                engine.open_requests.insert(id);
            }
        }
        8 => {
            if let Some(dialog) = pick(rng, &dialogs)
                && let Ok(id) = net.at(node, |e, now| e.bye(now, dialog, Headers::new()))
            {
                engine.open_requests.insert(id);
            }
        }
        9 => {
            if let Some(id) = pick(rng, &requests) {
                let _ = net.at(node, |e, now| e.cancel(now, id, Headers::new()));
            }
        }
        10 => {
            if let Some(dialog) = pick(rng, &dialogs) {
                let body = body(rng);
                let _ = net.at(node, |e, now| e.ack(now, dialog, Headers::new(), body));
            }
        }
        _ => {
            if let Some(id) = pick(rng, &challenged) {
                let mut headers = Headers::new();
                headers.push("Authorization", "Digest x");
                if net.at(node, |e, now| e.resend_with(now, id, &headers)).is_ok() {
                    engine.challenged.remove(&id);
                }
            }
        }
    }
}

fn note_all(net: &mut Net, nodes: [NodeId; 2], engines: &mut [Engine; 2]) {
    for (node, engine) in nodes.into_iter().zip(engines) {
        for event in net.events(node) {
            engine.note(event);
        }
    }
}

fn chaos(seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut net = Net::new();
    let percent = [0, 5, 15, 30, 60, 90][rng.next_u32() as usize % 6];
    let mut losses = ChaCha8Rng::seed_from_u64(seed ^ 1);
    net.lose = Box::new(move |_| losses.next_u32() % 100 < percent);
    let nodes = [net.endpoint("192.0.2.1:5060"), net.endpoint("192.0.2.2:5060")];
    let mut engines = [Engine::default(), Engine::default()];
    for _ in 0..200 {
        let side = rng.next_u32() as usize % 2;
        act(&mut net, nodes[side], nodes[1 - side], &mut engines[side], &mut rng);
        note_all(&mut net, nodes, &mut engines);
        net.run(Duration::from_millis(u64::from(rng.next_u32() % 400)));
        note_all(&mut net, nodes, &mut engines);
    }
    // Everybody hangs up, refuses what is asked, and gives up what is under way.
    for _ in 0..100 {
        for side in [0, 1] {
            for id in std::mem::take(&mut engines[side].incoming) {
                let _ = net.at(nodes[side], |e, now| e.respond(now, id, reply(603)));
            }
            for id in engines[side].open_requests.clone() {
                let _ = net.at(nodes[side], |e, now| e.cancel(now, id, Headers::new()));
            }
            for dialog in engines[side].dialogs.clone() {
                if let Ok(id) = net.at(nodes[side], |e, now| e.bye(now, dialog, Headers::new())) {
                    engines[side].open_requests.insert(id);
                }
            }
        }
        note_all(&mut net, nodes, &mut engines);
        net.run(Duration::from_secs(2));
        note_all(&mut net, nodes, &mut engines);
    }
    for (node, engine) in nodes.into_iter().zip(&engines) {
        let left = net.at(node, |e, _| (e.transaction_count(), e.dialog_count()));
        assert_eq!(left, (0, 0), "seed {seed}: {:#?}", engine.seen);
        assert!(engine.open_requests.is_empty(), "seed {seed}: {:?} {:#?}", engine.open_requests, engine.seen);
    }
}

#[test]
fn every_request_has_one_outcome_and_nothing_is_left() {
    for seed in 0..48 {
        chaos(seed);
    }
}
