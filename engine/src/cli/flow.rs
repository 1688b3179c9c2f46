//! `lockstep flow FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{check, out};
use crate::coverage::{instrument, read_lcov};
use crate::{flow, typescript};

/// Draw what a script does with a call, as SVG: its operations and the ways between them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The script.
    file: PathBuf,
    /// Mark the ways that no test has taken, by what `lockstep test --lcov FILE` wrote.
    #[arg(long, value_name = "FILE")]
    coverage: Option<PathBuf>,
    /// Write the picture here instead of on stdout.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match picture(&args.file, args.coverage.as_deref()) {
        Err(error) => out::failed(error),
        Ok(svg) => match &args.svg {
            None => {
                out::text(&svg);
                ExitCode::SUCCESS
            }
            Some(path) => match std::fs::write(path, svg) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => out::failed(format!("{}: {error}", path.display())),
            },
        },
    }
}

fn picture(file: &Path, tracefile: Option<&Path>) -> Result<String, String> {
    let shown = file.display().to_string();
    let mut source = check::read(file).map_err(|error| format!("{shown}: {error}"))?;
    if typescript::is_typescript(&shown) {
        source = typescript::strip(&shown, &source).map_err(|refused| format!("{}: {}", refused.at, refused.message))?;
    }
    let made = instrument(&shown, &source, 0).ok_or_else(|| format!("{shown} does not parse; see `lockstep check {shown}`"))?;
    let counts = tracefile.map(|path| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        read_lcov(&text, file, &made)
    });
    let counts = counts.transpose()?;
    let chart = flow::chart(&shown, &source, &made, counts.as_ref()).ok_or_else(|| format!("{shown} does not parse"))?;
    Ok(flow::draw(&chart))
}
