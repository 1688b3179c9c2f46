//! Branches of an INVITE of ours: phones behind a proxy, each in an early dialog of its own.

use lockstep_media::io::{LegId as MediaLeg, PoolEvent};
use lockstep_media::stream::MediaEvent;

use super::lab::{ENGINE, Lab, PhoneId};
use super::outgoing::{USERS, registered};

/// A field of the INVITE that came to a phone.
fn field(lab: &mut Lab, phone: PhoneId, name: &str) -> String {
    let invite = lab.at(phone).invited.clone().expect("an INVITE came");
    invite.headers.get(name).expect("every request has it").text().into_owned()
}

/// A branch rings.
fn ring(lab: &mut Lab, phone: PhoneId, tag: &str) {
    progress(lab, phone, tag, "180 Ringing", "");
}

/// A branch sends a provisional response.
fn progress(lab: &mut Lab, phone: PhoneId, tag: &str, status: &str, sdp: &str) {
    let [via, from, to, call_id, cseq] = ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| field(lab, phone, name));
    let address = lab.at(phone).address;
    let response = format!(
        "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag={tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
         Contact: <sip:{address}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    lab.packet_from(address, response.as_bytes());
}

/// A branch sends a BYE, with further fields.
fn hang_up(lab: &mut Lab, phone: PhoneId, tag: &str, fields: &str) {
    let [from, to, call_id] = ["From", "To", "Call-ID"].map(|name| field(lab, phone, name));
    let address = lab.at(phone).address;
    let bye = format!(
        "BYE sip:lockstep@{ENGINE} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{tag}\r\nMax-Forwards: 70\r\n\
         From: {to};tag={tag}\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n{fields}Content-Length: 0\r\n\r\n"
    );
    lab.packet_from(address, bye.as_bytes());
}

#[test]
fn branches_of_a_call_that_ring_leave_nothing_behind() {
    let script = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let callee = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    for tag in ["one", "two"] {
        ring(&mut lab, callee, tag);
    }
    assert_eq!(lab.switch.exchange.borrow().dialogs.len(), 3, "the caller's, and each branch's");
    lab.pick_up(callee);
    assert_eq!(lab.switch.exchange.borrow().dialogs.len(), 2);
    lab.hang_up(callee);
    assert_eq!(lab.seen(caller), ["180", "200", "bye"]);
    assert_eq!(lab.switch.exchange.borrow().dialogs.len(), 0);
}

#[test]
fn a_bye_of_the_only_branch_fails_the_invite_which_is_cancelled() {
    let script = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    for (fields, told) in [
        ("", "480 Temporarily Unavailable"),
        ("Reason: SIP;cause=183\r\n", "480 Temporarily Unavailable"),
        ("Reason: Q.850;cause=16\r\n", "480 Temporarily Unavailable"),
        ("Reason: Q.850;cause=17\r\n", "486 Busy Here"),
    ] {
        let mut lab = Lab::new(USERS, &[("1000", script)]);
        let callee = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let caller = lab.phone("127.0.0.1:5070");
        lab.dial(caller, "1000");
        ring(&mut lab, callee, "one");
        hang_up(&mut lab, callee, "one", fields);
        assert_eq!(lab.seen(callee), ["invite", "cancel"], "{fields}");
        assert_eq!(lab.seen(caller), ["180", told], "{fields}");
        let exchange = lab.switch.exchange.borrow();
        assert_eq!((exchange.endpoint.dialog_count(), exchange.dialogs.len(), exchange.given_up.len()), (0, 0, 0));
    }
}

#[test]
fn a_bye_of_one_branch_leaves_the_others_ringing() {
    let script = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let callee = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    ring(&mut lab, callee, "one");
    ring(&mut lab, callee, "two");
    hang_up(&mut lab, callee, "two", "");
    lab.pick_up(callee);
    assert_eq!((lab.seen(callee), lab.seen(caller)), (vec!["invite".to_owned()], vec!["180".to_owned(), "200".to_owned()]));
    lab.hang_up(callee);
    assert_eq!(lab.seen(caller), ["bye"]);
    assert_eq!(lab.switch.exchange.borrow().dialogs.len(), 0);
}

#[test]
fn a_bye_of_the_branch_that_the_caller_hears_has_it_hear_ring_back() {
    let script = "async function main(data, ctx) { await ctx.answer(); await ctx.bridge('1001'); }";
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40010 RTP/AVP 0\r\n";
    for (gone, what_follows) in [("one", vec!["part 1", "1 play"]), ("two", vec![])] {
        let mut lab = Lab::new(USERS, &[("1000", script)]);
        let callee = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let caller = lab.phone("127.0.0.1:5070");
        lab.dial(caller, "1000");
        progress(&mut lab, callee, "one", "183 Session Progress", sdp);
        ring(&mut lab, callee, "two");
        let event = MediaEvent::MediaStarted { source: "127.0.0.1:40010".parse().unwrap() };
        lab.switch.media_report(PoolEvent::Media { leg: MediaLeg(2), at: lab.now.instant, event });
        lab.settle();
        assert_eq!(lab.book.borrow().media.last().map(String::as_str), Some("join 1 2"));
        lab.book.borrow_mut().media.clear();
        hang_up(&mut lab, callee, gone, "");
        assert_eq!(lab.book.borrow().media, what_follows, "{gone}");
    }
}
