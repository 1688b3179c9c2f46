//! The fuzz target of the event socket with its seeds and a fixed set of damaged copies.

#[path = "../../../fuzz/src/drive.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod drive;
#[path = "../../../fuzz/src/esl.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod esl;

#[test]
fn frames() {
    drive::drive("esl", 4_000, esl::frames);
}
