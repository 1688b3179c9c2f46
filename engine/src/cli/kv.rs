//! `lockstep kv`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::calls::encode;
use super::client::{Target, print_json};
use super::{finish, out};

/// List, read, set and remove keys of the key-value store.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Keys in order; all, or those that begin with PREFIX.
    List {
        prefix: Option<String>,
        /// Only keys after this one.
        #[arg(long)]
        after: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Print the value of a key.
    Get { key: String },
    /// Set a key.
    Set {
        key: String,
        value: String,
        /// Seconds until it is gone.
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<f64>,
    },
    /// Remove a key.
    Del { key: String },
}

pub(super) fn run(args: &Args) -> ExitCode {
    finish(work(args))
}

async fn work(args: &Args) -> Result<(), String> {
    let path = |key: &str| format!("/v1/kv/{}", encode(key));
    let all = Action::List { prefix: None, after: None, limit: 100 };
    match args.action.as_ref().unwrap_or(&all) {
        Action::List { prefix, after, limit } => {
            let mut query = format!("/v1/kv?limit={limit}&prefix={}", encode(prefix.as_deref().unwrap_or_default()));
            if let Some(after) = after {
                query.push_str(&format!("&after={}", encode(after)));
            }
            let keys = args.target.get(&query).await?;
            if args.json {
                print_json(&keys);
            } else {
                keys["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).for_each(out::line);
            }
        }
        Action::Get { key } => {
            let entry = args.target.get(&path(key)).await?;
            if args.json { print_json(&entry) } else { out::line(entry["value"].as_str().unwrap_or_default()) }
        }
        Action::Set { key, value, ttl } => {
            args.target.put(&path(key), &json!({ "value": value, "ttl_s": ttl })).await?;
        }
        Action::Del { key } => {
            args.target.delete(&path(key)).await?;
        }
    }
    Ok(())
}
