//! The fuzz targets of the wire format with their seeds and a few thousand damaged copies.

#[path = "../../fuzz/src/drive.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod drive;
#[path = "../../fuzz/src/wire.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod wire;

#[test]
fn frames() {
    drive::drive("wire", 4_000, wire::frames);
}
