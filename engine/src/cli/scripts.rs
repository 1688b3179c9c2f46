//! `lockstep scripts`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::calls::encode;
use super::client::{Ask, Target};
use super::{finish, out};

/// The largest file that is sent, in bytes: what the engine reads of a script.
const MAX_SOURCE: u64 = 4 << 20;

/// List the scripts the engine has loaded; show, push, remove one, and go back to an earlier version.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Tell when scripts were loaded again.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every script, its destination and version.
    List,
    /// Print the text of a script: the live one, or a kept version.
    Show {
        /// Name, file, uuid or number.
        name: String,
        #[arg(long, value_name = "NUMBER")]
        version: Option<u32>,
    },
    /// Put files into the engine's scripts folder and make them live.
    Push {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Kept versions of a script, the newest first.
    Versions { name: String },
    /// Put the version before the live one back; again: the one before that.
    Rollback {
        /// Name, file, uuid or number.
        name: String,
        /// This version instead.
        #[arg(long = "to", value_name = "NUMBER")]
        version: Option<u32>,
    },
    /// Take a script out of the folder.
    Remove { name: String },
}

pub(super) fn run(args: &Args) -> ExitCode {
    finish(work(args))
}

async fn work(args: &Args) -> Result<(), String> {
    if args.follow {
        return args.ask.follow("scripts-loaded", |event| format!("{} scripts are live", event["scripts"])).await;
    }
    let Ask { target, .. } = &args.ask;
    let path = |name: &str, rest: &str| format!("/v1/scripts/{}{rest}", encode(name));
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => args.ask.show(&target.get("/v1/scripts").await?, print_table),
        Action::Show { name, version } => {
            let rest = version.map_or_else(String::new, |version| format!("/versions/{version}"));
            args.ask.show(&target.get(&path(name, &rest)).await?, |script| {
                out::text(script["source"].as_str().unwrap_or_default());
            });
        }
        Action::Push { files } => {
            for file in files {
                args.ask.show(&push(target, file).await?, print_live);
            }
        }
        Action::Versions { name } => args.ask.show(&target.get(&path(name, "/versions")).await?, print_versions),
        Action::Rollback { name, version } => {
            let back = target.post_json(&path(name, "/rollback"), &json!({ "version": version })).await?;
            args.ask.show(&back, print_live);
        }
        Action::Remove { name } => {
            target.delete(&path(name, "")).await?;
        }
    }
    Ok(())
}

/// A script that is there is replaced, another one added.
async fn push(target: &Target, path: &Path) -> Result<Value, String> {
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let bytes = std::fs::metadata(path).map_err(named)?.len();
    if bytes > MAX_SOURCE {
        return Err(format!("{}: {bytes} bytes, at most {MAX_SOURCE} are taken", path.display()));
    }
    let source = std::fs::read_to_string(path).map_err(named)?;
    let file = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| format!("{}: no file name", path.display()))?;
    let listed = target.get("/v1/scripts").await?;
    let is_there = listed["scripts"].as_array().into_iter().flatten().any(|script| {
        // What has no version is no script yet.
        script["file"] == file && !script["version"].is_null()
    });
    if is_there {
        target.put(&format!("/v1/scripts/{}", encode(file)), &json!({ "source": source })).await
    } else {
        target.post_json("/v1/scripts", &json!({ "file": file, "source": source })).await
    }
}

fn print_live(script: &Value) {
    let text = |key: &str| script[key].as_str().unwrap_or("-");
    out::line(format!("{}: version {} is live", text("name"), text("version")));
    if let Some(error) = script["error"].as_str() {
        out::line(format!("  {error}"));
    }
    for finding in script["findings"].as_array().into_iter().flatten() {
        let message = finding["message"].as_str().unwrap_or_default();
        out::line(format!("  {}:{}:{}: {message}", finding["file"].as_str().unwrap_or("-"), finding["line"], finding["column"]));
    }
}

fn print_versions(versions: &Value) {
    for version in versions["versions"].as_array().into_iter().flatten() {
        let mark = if version["live"] == true { "*" } else { " " };
        let sha256 = version["sha256"].as_str().unwrap_or_default().get(..12).unwrap_or_default();
        let saved = version["saved_ms"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        let number = version["version"].as_u64().unwrap_or_default();
        out::line(format!("{mark} {number:>5}  {sha256}  {saved}  {}", version["origin"].as_str().unwrap_or_default()));
    }
}

fn print_table(scripts: &Value) {
    let scripts = scripts["scripts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if scripts.is_empty() {
        out::line("no scripts");
        return;
    }
    out::line(format!("{:<24}  {:<8}  {:<20}  VERSION", "SCRIPT", "TYPE", "DESTINATION"));
    for script in scripts {
        let text = |key: &str| script[key].as_str().unwrap_or("-");
        let version = text("version").chars().take(12).collect::<String>();
        out::line(format!("{:<24}  {:<8}  {:<20}  {version}", text("name"), text("type"), text("class5_destination")));
        if let Some(error) = script["error"].as_str() {
            out::line(format!("  the newest text is not live: {error}"));
        }
    }
}
