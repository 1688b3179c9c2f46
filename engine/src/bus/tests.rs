//! The bus, with futures polled by hand.

use futures_util::FutureExt as _;

use super::*;
use crate::host::Scratch;

fn payloads(batch: Option<Option<Batch>>) -> Vec<String> {
    let batch = batch.expect("something has come").expect("subscribed");
    batch.messages.iter().map(|message| message.payload.to_string()).collect()
}

#[test]
fn messages_reach_those_who_asked_for_them_in_order() {
    let (bus, run) = (Bus::default(), Scratch::default());
    let all = bus.subscribe("a", "t", None, run.witness()).unwrap();
    let one = bus.subscribe("a", "t", Some("1"), run.witness()).unwrap();
    bus.subscribe("b", "t", None, run.witness()).unwrap();
    assert_eq!(bus.publish("a", "t", Some("1"), "1"), Ok(2));
    assert_eq!(bus.publish("a", "t", Some("2"), "2"), Ok(1));
    assert_eq!(bus.publish("a", "t", None, "3"), Ok(1));
    assert_eq!(bus.publish("a", "other", None, "4"), Ok(0));
    assert_eq!(payloads(bus.next("a", all).now_or_never()), ["1", "2", "3"]);
    assert_eq!(payloads(bus.next("a", one).now_or_never()), ["1"]);
    assert!(bus.next("a", one).now_or_never().is_none(), "nothing more");
}

#[test]
fn whoever_waits_is_woken_by_a_message_and_by_the_end() {
    let (bus, run) = (Bus::default(), Scratch::default());
    let subscriber = bus.subscribe("a", "t", None, run.witness()).unwrap();
    let mut next = Box::pin(bus.next("a", subscriber));
    assert!(next.as_mut().now_or_never().is_none());
    bus.publish("a", "t", None, "1").unwrap();
    assert_eq!(payloads(next.now_or_never()), ["1"]);
    let mut next = Box::pin(bus.next("a", subscriber));
    assert!(next.as_mut().now_or_never().is_none());
    bus.unsubscribe("b", subscriber);
    assert!(next.as_mut().now_or_never().is_none(), "another account's");
    bus.unsubscribe("a", subscriber);
    assert_eq!(next.now_or_never(), Some(None));
    assert_eq!(bus.next("a", subscriber).now_or_never(), Some(None), "whoever asks late is told, too");
}

#[test]
fn a_slow_subscriber_loses_the_oldest_and_is_told() {
    let (bus, run) = (Bus::default(), Scratch::default());
    let subscriber = bus.subscribe("a", "t", None, run.witness()).unwrap();
    for number in 0..QUEUE + 5 {
        bus.publish("a", "t", None, &number.to_string()).unwrap();
    }
    let batch = bus.next("a", subscriber).now_or_never().unwrap().unwrap();
    assert_eq!((batch.dropped, batch.messages.len(), &*batch.messages[0].payload), (5, BATCH, "5"));
    let large = "x".repeat(MAX_PAYLOAD);
    for _ in 0..QUEUE_BYTES / MAX_PAYLOAD {
        bus.publish("a", "t", None, &large).unwrap();
    }
    assert_eq!(bus.stats().dropped, 5 + (QUEUE - BATCH) as u64, "what is left fits in bytes, too");
}

#[test]
fn subscriptions_end_with_their_run() {
    let bus = Bus::default();
    let (gone, stays) = (Scratch::default(), Scratch::default());
    bus.subscribe("a", "t", None, gone.witness()).unwrap();
    bus.subscribe("a", "t", None, stays.witness()).unwrap();
    drop(gone);
    assert_eq!(bus.publish("a", "t", None, "1"), Ok(1));
    assert_eq!(bus.stats().subscriptions, 1);
}

#[test]
fn an_account_has_a_bounded_number_of_subscriptions() {
    let (bus, run) = (Bus::default(), Scratch::default());
    for _ in 0..MAX_SUBSCRIPTIONS {
        bus.subscribe("a", "t", None, run.witness()).unwrap();
    }
    assert_eq!(bus.subscribe("a", "t", None, run.witness()), Err(BusError::TooMany));
    assert!(bus.subscribe("b", "t", None, run.witness()).is_ok());
    drop(run);
    assert!(bus.subscribe("a", "t", None, Scratch::default().witness()).is_ok(), "those of runs that are over make room");
}
