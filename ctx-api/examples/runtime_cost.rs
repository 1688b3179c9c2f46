//! Prints what a call's JavaScript runtime costs before the first line of its script.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match lockstep_ctx_api::js::fixed_cost(2_000) {
        Ok(cost) => {
            println!(
                "fixed cost of a call's JavaScript runtime before its first line: {} µs (bar: 250 µs); freeing it: {} µs; memory: {} KiB",
                cost.create.as_micros(),
                cost.free.as_micros(),
                cost.memory_bytes >> 10,
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
