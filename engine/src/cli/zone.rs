//! The time zone of a command that runs scripts itself.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use super::out;

/// Names the zone that the process was started in, once it has been started for one.
const ZONE_IS_SET: &str = "LOCKSTEP_ZONE_IS_SET";

/// Has this process run in a time zone: starts the command anew unless it does already. Call it before there are threads.
///
/// The C library knows one zone a process, and takes it from the environment, which must not change once there are threads.
///
/// # Errors
/// The exit code of a command that cannot be started anew; it has said why.
pub(super) fn enter(zone: &str) -> Result<(), ExitCode> {
    if std::env::var(ZONE_IS_SET).is_ok_and(|set| set == zone) {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|error| out::failed(format!("cannot find this program: {error}")))?;
    let error = Command::new(program).args(std::env::args_os().skip(1)).env("TZ", zone).env(ZONE_IS_SET, zone).exec();
    Err(out::failed(format!("cannot start in the time zone {zone}: {error}")))
}
