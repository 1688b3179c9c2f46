//! `lockstep init DIR`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lockstep_ctx_api::catalog;
use lockstep_media::prompt::stock;
use rand::distr::{Alphanumeric, SampleString};

use super::out;

/// Lay out a starter project: configuration, one IVR with its test, audio, and types for the editor.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where; made if it is not there.
    dir: PathBuf,
}

/// Stock prompts that the starter's own audio begins with: (name in `user/`, stock prompt).
const AUDIO: &[(&str, &str)] = &[("menu.wav", "main-menu.wav"), ("goodbye.wav", "goodbye.wav")];

/// Long enough that nobody guesses it over SIP.
const PASSWORD_LEN: usize = 20;

pub(super) fn run(args: &Args) -> ExitCode {
    match lay_out(&args.dir) {
        Ok(files) => {
            for file in files {
                out::line(file.display());
            }
            out::line(format!(
                "\nNext: lockstep test {0}\nThen: lockstep serve {0}\nAnd:  lockstep phone call sip:1000@127.0.0.1",
                args.dir.display()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => out::failed(error),
    }
}

fn lay_out(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let password = || Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LEN);
    let config = include_str!("starter/lockstep.toml").replace("{password_1}", &password()).replace("{password_2}", &password());
    let mut files: Vec<(PathBuf, Vec<u8>)> = vec![
        ("lockstep.toml".into(), config.into_bytes()),
        ("jsconfig.json".into(), include_bytes!("starter/jsconfig.json").to_vec()),
        ("ctx.d.ts".into(), catalog::type_declarations().into_bytes()),
        ("scripts/main-menu.js".into(), include_bytes!("starter/main-menu.js").to_vec()),
        ("scripts/tests/main-menu.test.js".into(), include_bytes!("starter/main-menu.test.js").to_vec()),
    ];
    for (name, prompt) in AUDIO {
        let audio = stock::find(prompt).ok_or_else(|| format!("the stock prompt {prompt} is not built in"))?;
        files.push((Path::new("scripts/user").join(name), audio.to_vec()));
    }

    let existing: Vec<String> = files
        .iter()
        .map(|(name, _)| dir.join(name))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !existing.is_empty() {
        return Err(format!("not overwritten: {}", existing.join(", ")));
    }
    let mut written = Vec::new();
    for (name, content) in files {
        let path = dir.join(name);
        write_new(&path, &content).map_err(|error| format!("{}: {error}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// Writes a file that must not be there yet; the configuration holds passwords and is for its owner only.
fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mode = if path.extension().is_some_and(|extension| extension == "toml") { 0o600 } else { 0o644 };
    std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Modules, check};
    use crate::config::Config;
    use crate::simulation::Project;
    use crate::testing::{Plan, TestFile, Verdict, run as run_tests};

    #[test]
    fn the_starter_is_accepted_by_the_engine_and_the_checker() {
        let dir = std::env::temp_dir().join(format!("lockstep-init-{}", std::process::id()));
        let files = lay_out(&dir).unwrap();
        let loaded = Config::load_with(&dir, []);
        let again = lay_out(&dir);
        let project = Project::load(loaded.as_ref().unwrap()).unwrap();
        let test = TestFile::load(&dir.join("scripts/tests/main-menu.test.js"), project, 0).unwrap();
        let mut verdicts = Vec::new();
        run_tests(&[test], &Plan::default(), |report| verdicts.push((report.name, report.verdict)));
        let findings: Vec<_> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "js"))
            .flat_map(|file| check(&file.display().to_string(), &std::fs::read_to_string(file).unwrap(), &Modules::none()))
            .collect();
        std::fs::remove_dir_all(&dir).unwrap();

        let config = loaded.unwrap().config;
        assert_eq!(config.users.len(), 2);
        assert_eq!(config.users[0].password.expose().len(), PASSWORD_LEN);
        assert_ne!(config.users[0].password, config.users[1].password);
        assert_eq!(findings, []);
        assert_eq!(verdicts.len(), 2);
        assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::Passed)), "{verdicts:#?}");
        assert!(again.unwrap_err().starts_with("not overwritten"));
    }
}
