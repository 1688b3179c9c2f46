//! The fuzz targets of SIP with their seeds and a few thousand damaged copies.

#[path = "../../fuzz/src/drive.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod drive;
#[path = "../../fuzz/src/sip.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod sip;

use drive::drive;

#[test]
fn messages() {
    drive("sip_message", 4_000, sip::message);
}

#[test]
fn addresses() {
    drive("sip_address", 4_000, sip::address);
}

#[test]
fn streams() {
    drive("sip_stream", 4_000, sip::stream);
}

#[test]
fn endpoints() {
    drive("sip_endpoint", 500, sip::endpoint);
}

#[test]
fn placed_calls() {
    drive("sip_caller", 500, sip::caller);
}
