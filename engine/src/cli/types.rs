//! `lockstep types`

use std::process::ExitCode;

use lockstep_ctx_api::catalog;

use super::out;

/// Print `ctx.d.ts`, the types of everything a script can use.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> ExitCode {
    out::text(&catalog::type_declarations());
    ExitCode::SUCCESS
}
