//! Scenarios that need no peer but phones run in virtual time: `lockstep test` of the project in `tests/scenarios`.

use std::path::Path;
use std::process::Command;

use lockstep_tests::engine::binary;

#[test]
fn every_scenario_passes_in_virtual_time() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let output = Command::new(binary()).arg("test").arg(&project).output().expect("it runs");
    let report = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    // A folder that lost tests would pass as well: whoever adds some counts them here.
    assert!(report.contains("# 53 passed, 0 failed, 0 skipped"), "{report}");
}
