//! What simulations of one project share: its configuration, its scripts, its audio.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lockstep_media::prompt::{Folders, PromptLibrary};

use super::audio::Audio;
use crate::config::{Config, Loaded};
use crate::coverage::Coverage;
use crate::script::ProgramSet;
use crate::script::programs::{Loader, ScriptProblem};

/// A project as it was loaded; a simulation never changes it.
#[derive(Clone)]
pub(crate) struct Project {
    pub config: Arc<Config>,
    pub programs: Arc<ProgramSet>,
    pub scripts_dir: PathBuf,
    pub library: PromptLibrary,
    /// Counts what the scripts reach, where they carry marks.
    pub coverage: Option<Arc<Coverage>>,
}

impl Project {
    /// Reads scripts and audio of a configuration.
    ///
    /// # Errors
    /// When the scripts folder cannot be listed, or no thread can be started.
    pub(crate) fn load(loaded: &Loaded) -> std::io::Result<Self> {
        let scripts_dir = loaded.resolve(&loaded.config.scripts.dir);
        let programs = Loader::new(&loaded.dir, &loaded.config).load()?.set;
        Self::new(loaded.config.clone(), programs, scripts_dir)
    }

    /// A project of these programs.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn new(config: Config, programs: Arc<ProgramSet>, scripts_dir: PathBuf) -> std::io::Result<Self> {
        let library = Audio::library(&scripts_dir)?;
        Ok(Self { config: Arc::new(config), programs, scripts_dir, library, coverage: None })
    }

    /// The same project with marks in its scripts, and what counts them.
    pub(crate) fn covered(&self) -> Self {
        let (coverage, programs) = Coverage::of(&self.programs);
        Self { programs: Arc::new(programs), coverage: Some(Arc::new(coverage)), ..self.clone() }
    }

    /// Files whose text cannot be run.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &ScriptProblem> {
        self.programs.problems()
    }

    /// The folders of the accounts' audio.
    pub(crate) fn folders(&self) -> Folders {
        Folders::beneath(&self.scripts_dir)
    }

    /// The password of a `[[user]]`.
    pub(crate) fn password_of(&self, user: &str) -> Option<String> {
        self.config.users.iter().find(|known| known.name == user).map(|user| user.password.expose().to_owned())
    }
}

/// Where the simulated engine listens for SIP.
pub(crate) fn engine_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5060))
}
