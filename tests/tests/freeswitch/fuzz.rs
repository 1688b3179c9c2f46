//! The fuzz target of the event socket with its seeds and a few thousand damaged copies; and that every other target is run so, too.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/drive.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod drive;
#[path = "../../../fuzz/src/esl.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz crate")]
mod esl;

/// Where targets are run under `cargo test`.
const RUN: [&str; 4] = ["sip/tests/fuzz.rs", "media/tests/fuzz.rs", "ctx-api/tests/fuzz.rs", "tests/tests/freeswitch/fuzz.rs"];

#[test]
fn frames() {
    drive::drive("esl", 4_000, esl::frames);
}

#[test]
fn what_libfuzzer_is_given_is_run_by_a_test_with_the_same_seeds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tests: String = RUN.iter().map(|path| text(&root.join(path))).collect();
    let manifest = text(&root.join("fuzz/Cargo.toml"));
    let targets = fs::read_dir(root.join("fuzz/fuzz_targets")).expect("the folder is there");
    let targets: Vec<_> = targets.map(|entry| entry.expect("it can be read").path()).collect();
    assert!(targets.len() >= 10, "{targets:?}");
    for target in targets {
        let name = target.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        let source = text(&target);
        let function =
            source.split("lockstep_fuzz::").nth(1).and_then(|call| call.split('(').next()).expect("it calls a function");
        let runs = |line: &str| line.contains(&format!("(\"{name}\", ")) && line.contains(&format!(", {function});"));
        assert!(tests.lines().any(runs), "no test runs {function} with the seeds of {name}");
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not in fuzz/Cargo.toml");
    }
}
