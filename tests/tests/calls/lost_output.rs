//! Commands whose output cannot be written.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use lockstep_tests::engine::binary;

fn told(command: &mut Command, stdout: impl Into<Stdio>) -> Output {
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn();
    child.expect("it runs").wait_with_output().expect("it ends")
}

#[test]
fn a_command_that_cannot_write_says_so_and_fails() {
    let full = told(Command::new(binary()).arg("types"), File::options().write(true).open("/dev/full").unwrap());
    let why = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{why}");
    assert!(why.contains("cannot write to stdout: No space left on device"), "{why}");

    let path = std::env::temp_dir().join(format!("lockstep-types-{}", std::process::id()));
    let bound =
        told(Command::new("sh").args(["-c", "ulimit -f 1; exec \"$0\" types"]).arg(binary()), File::create(&path).unwrap());
    // It is of no use to anybody, but in nobody's way either.
    let _ = std::fs::remove_file(&path);
    let why = String::from_utf8_lossy(&bound.stderr);
    assert_eq!(bound.status.code(), Some(1), "no signal ends it: {why}");
    assert!(why.contains("cannot write to stdout: File too large"), "{why}");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gone = told(Command::new(binary()).arg("types"), writer);
    assert_eq!((gone.status.code(), gone.stderr.len()), (Some(141), 0), "as SIGPIPE would have ended it");
}
