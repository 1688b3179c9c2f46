//! What the core orders, carried out in the simulation.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use lockstep_sip::message::Host;
use lockstep_sip::net::{Destination, Protocol};
use lockstep_sip::resolve::{NextHops, Target};
use rand_chacha::rand_core::Rng;

use super::super::network::Packet;
use super::super::project::engine_address;
use super::super::rehearsal;
use super::super::world::Order;
use super::{BACKGROUND, SERVICE, Simulation, Waiting};
use crate::block_on::block_on;
use crate::core::world::Arrived;

impl Simulation {
    /// Carries out whatever has been ordered; whether anything was.
    pub(super) fn carry_out(&mut self, now: Instant) -> bool {
        let mut any = false;
        loop {
            let Some(order) = self.shared.borrow_mut().orders.pop_front() else { return any };
            any = true;
            self.carry_out_one(now, order);
        }
    }

    fn carry_out_one(&mut self, now: Instant, order: Order) {
        match order {
            Order::Transmit(transmit) => {
                let from = transmit.destination.local.unwrap_or_else(engine_address);
                let bytes = transmit.bytes.as_ref().into();
                self.network.send(now, Packet { from, to: transmit.destination.remote, bytes });
            }
            Order::Open { leg, rtp } => {
                let seed = self.rng.next_u64();
                self.media.open(now, leg, rtp, seed);
            }
            Order::Media { leg, command } => self.media.command(now, leg, command),
            Order::Join { a, b } => self.media.join(now, a, b),
            Order::Part { leg } => self.media.part(now, leg),
            Order::Close { leg } => self.media.close(now, leg),
            Order::Record(order) => self.media.record(now, order),
            Order::Load { ticket, sources, codec } => {
                let http = &mut self.http;
                let loaded = self.shared.borrow_mut().audio.load(now, &sources, codec, &mut |url| http.audio(url));
                self.arrive(now + BACKGROUND, ticket, Arrived::Audio(loaded));
            }
            Order::Speak { ticket, args, codec } => {
                let spoken = self.shared.borrow_mut().audio.speak(&args, codec);
                self.arrive(now + BACKGROUND, ticket, Arrived::Audio(spoken));
            }
            Order::Resolve { ticket, target } => {
                let hops = self.next_hops(&target);
                self.arrive(now + BACKGROUND, ticket, Arrived::NextHops(hops));
            }
            Order::Fetch { ticket, args } => {
                let (answer, delay) = self.http.answer(args);
                self.arrive(now + delay, ticket, Arrived::Answered(answer));
            }
            Order::Route { ticket, table, facts } => {
                let moment = self.clock.moment();
                let (decision, took) = self.rehearse(|stage| rehearsal::route(stage, &table, &facts, moment));
                self.arrive(now + SERVICE + took, ticket, Arrived::Routed(decision));
            }
            Order::Host { ticket, context, call } => {
                let listens = call.listens;
                let answer = self.services().call(&context, call);
                if listens {
                    self.waiting.push(Waiting { ticket, answer });
                } else {
                    // Whatever the machine takes for it, it takes the same time here.
                    let answer = block_on(answer);
                    self.arrive(now + SERVICE, ticket, Arrived::Answered(answer));
                }
            }
        }
    }

    fn next_hops(&mut self, target: &Target) -> Result<NextHops, String> {
        if target.secure || target.protocol.is_some_and(|protocol| protocol != Protocol::Udp) {
            return Err("a simulation has no transport but UDP".to_owned());
        }
        let port = target.port.unwrap_or(5060);
        let address = match &target.host {
            Host::V4(ip) => SocketAddr::new(IpAddr::V4(*ip), port),
            Host::V6(ip) => SocketAddr::new(IpAddr::V6(*ip), port),
            Host::Name(name) => self.address_of_name(name, port),
        };
        Ok(NextHops::certain(vec![Destination::new(Protocol::Udp, address)]))
    }
}
