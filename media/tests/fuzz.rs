//! The fuzz targets of media with their seeds and a few thousand damaged copies.

#[path = "../../fuzz/src/drive.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod drive;
#[path = "../../fuzz/src/media.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod media;

use drive::drive;

#[test]
fn session_descriptions() {
    drive("sdp", 4_000, media::sdp);
}

#[test]
fn rtp_packets() {
    drive("rtp", 4_000, media::rtp);
}

#[test]
fn rtcp_packets() {
    drive("rtcp", 4_000, media::rtcp);
}
