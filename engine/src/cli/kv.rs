//! `lockstep kv`

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::calls::encode;
use super::client::Ask;
use super::{finish, out, some_seconds};
use crate::log::on_one_line;

/// List, read, set, remove and follow keys of the key-value store.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print keys as they change, those of objects, too.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    ask: Ask,
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
    Get {
        #[arg(id = "name", value_name = "KEY")]
        key: String,
    },
    /// Set a key.
    Set {
        #[arg(id = "name", value_name = "KEY")]
        key: String,
        value: String,
        /// Seconds until it is gone.
        #[arg(long, value_name = "SECONDS", value_parser = some_seconds)]
        ttl: Option<Duration>,
    },
    /// Remove a key.
    Del {
        #[arg(id = "name", value_name = "KEY")]
        key: String,
    },
}

pub(super) fn run(args: &Args) -> ExitCode {
    finish(work(args))
}

async fn work(args: &Args) -> Result<(), String> {
    if args.follow {
        if args.action.is_some() {
            return Err("--follow prints the keys of all as they change: it goes with no other command".to_owned());
        }
        return args.ask.follow("kv", line).await;
    }
    let Ask { target, .. } = &args.ask;
    let path = |key: &str| format!("/v1/kv/{}", encode(key));
    let all = Action::List { prefix: None, after: None, limit: 100 };
    match args.action.as_ref().unwrap_or(&all) {
        Action::List { prefix, after, limit } => {
            let mut query = format!("/v1/kv?limit={limit}&prefix={}", encode(prefix.as_deref().unwrap_or_default()));
            if let Some(after) = after {
                query.push_str(&format!("&after={}", encode(after)));
            }
            args.ask.show(&target.get(&query).await?, |keys| {
                keys["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).for_each(out::line);
            });
        }
        Action::Get { key } => {
            let entry = target.get(&path(key)).await?;
            args.ask.show(&entry, |entry| out::line(entry["value"].as_str().unwrap_or_default()));
        }
        Action::Set { key, value, ttl } => {
            let ttl_s = ttl.map(|ttl| ttl.as_secs_f64());
            target.put(&path(key), &json!({ "value": value, "ttl_s": ttl_s })).await?;
        }
        Action::Del { key } => {
            target.delete(&path(key)).await?;
        }
    }
    Ok(())
}

/// A key that has changed.
fn line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let became = match (text("change"), event["value"].as_str()) {
        ("set", Some(value)) => format!("= {value}"),
        ("set", None) => "= …".to_owned(),
        (gone, _) => gone.to_owned(),
    };
    on_one_line(format!("{}  {} {became}", text("space"), text("key")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_line_says_what_became_of_a_key() {
        let set = json!({ "type": "kv", "space": "kv", "key": "colour", "change": "set", "value": "a\nb" });
        assert_eq!(line(&set), "kv  colour = a\\nb");
        assert_eq!(line(&json!({ "space": "ko", "key": "long", "change": "set" })), "ko  long = …");
        assert_eq!(line(&json!({ "space": "kv", "key": "colour", "change": "expired" })), "kv  colour expired");
    }

    #[test]
    fn the_name_of_a_key_is_not_the_key_to_the_engine() {
        for line in [
            ["kv", "--key", "secret", "get", "colour"],
            ["kv", "get", "colour", "--key", "secret"],
            ["kv", "del", "--key", "secret", "colour"],
        ] {
            let args = Line::parse_from(line).args;
            let (Some(Action::Get { key }) | Some(Action::Del { key })) = args.action else { panic!("{line:?}") };
            assert_eq!((key.as_str(), args.ask.target.key()), ("colour", Some("secret")), "{line:?}");
        }
        let args = Line::parse_from(["kv", "set", "colour", "red"]).args;
        let Some(Action::Set { key, value, .. }) = args.action else { panic!("set") };
        assert_eq!((key.as_str(), value.as_str()), ("colour", "red"));
    }

    #[tokio::test]
    async fn who_follows_sets_nothing() {
        let args = Line::parse_from(["kv", "--follow", "set", "colour", "red"]).args;
        assert!(work(&args).await.unwrap_err().starts_with("--follow "));
    }
}
