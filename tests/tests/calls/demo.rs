//! `make demo`, what it builds aside: it ends well, tells the call, and writes what was heard.

use std::path::Path;
use std::process::Command;

use lockstep_tests::audio::{assert_holds, assert_lacks};
use lockstep_tests::engine::binary;
use lockstep_tests::wav::Wav;

/// Seconds that a demo may take; one that says nothing more would wait without end.
const LONGEST: &str = "120";

#[test]
fn the_demo_tells_its_call_and_writes_what_the_script_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = folder.join("demo.wav");
    // There is none before the first demo.
    let _ = std::fs::remove_file(&file);
    let mut demo = Command::new("timeout");
    demo.args(["--kill-after=10", LONGEST]).arg(folder.join("demo/run.sh")).env("LOCKSTEP", binary());
    let run = demo.output().expect("it runs");
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}{}", String::from_utf8_lossy(&run.stderr));
    for part in [
        "INVITE sip:2008@",
        "ivr(ivr/enter-number.wav 1-12) = Success \"42\"",
        "play(ivr/you-entered.wav, ivr/4.wav, ivr/2.wav) = ",
        "  ended  ",
        "  media  ",
        "demo.wav",
    ] {
        assert!(told.contains(part), "no {part} in:\n{told}");
    }
    let wav = Wav::read(&file);
    assert_eq!((wav.channels, wav.rate), (1, 8_000));
    let heard = wav.channel(0);
    for name in ["enter-number.wav", "you-entered.wav", "4.wav", "2.wav"] {
        assert_holds(&heard, name);
    }
    assert_lacks(&heard, "goodbye.wav");
}
