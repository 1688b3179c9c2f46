//! All programs of an engine at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockstep_ctx_api::wire::{Location, ScriptType};

use super::loader::name_of;
use super::program::{Program, id_of, uuid_of};
use crate::config::{Class5Destination, DEFAULT_ACCOUNT, Wanted};

/// What new calls run. A set never changes; the next one replaces it.
#[derive(Clone, Debug, Default)]
pub struct ProgramSet {
    programs: BTreeMap<String, Arc<Program>>,
    /// Exact Class 5 destinations: of each account that has one its program. Callers of no account reach the first.
    exact: BTreeMap<String, Vec<Arc<Program>>>,
    /// Programs by file, in small letters, and by uuid.
    other_names: HashMap<String, Arc<Program>>,
    numbers: HashMap<u32, Arc<Program>>,
    /// Programs reached by a pattern, by name.
    patterns: Vec<Arc<Program>>,
    problems: BTreeMap<String, ScriptProblem>,
}

/// Why a file's newest text is not live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptProblem {
    pub file: String,
    pub message: String,
    pub at: Option<Location>,
}

impl std::fmt::Display for ScriptProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.at {
            Some(at) => write!(f, "{at}: {}", self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Whether a script in `file` would be known as `id`: by name, file, uuid or number, in any case of letters.
pub fn is_called(file: &str, id: &str) -> bool {
    let (name, id) = (name_of(file), id.to_lowercase());
    let uuid = uuid_of(&name);
    id == name || id == file.to_lowercase() || id == uuid || id.parse::<u32>() == Ok(id_of(&uuid))
}

/// Whether scripts in these two files would have the same name.
pub fn have_same_name(one: &str, other: &str) -> bool {
    name_of(one) == name_of(other)
}

/// Whether something that calls a script in `one` would call a script in `other`, too.
pub fn share_a_name(one: &str, other: &str) -> bool {
    let id = |file: &str| id_of(&uuid_of(&name_of(file)));
    is_called(one, &name_of(other)) || is_called(other, &name_of(one)) || id(one) == id(other)
}

impl ProgramSet {
    /// Of two programs of an account with the same exact destination the first by name is reached; the other is a problem.
    pub fn new(programs: impl IntoIterator<Item = Arc<Program>>, problems: Vec<ScriptProblem>) -> Self {
        Self::default().followed_by(programs, problems)
    }

    /// The set after this one: whoever has an exact destination here keeps it.
    pub fn followed_by(&self, programs: impl IntoIterator<Item = Arc<Program>>, problems: Vec<ScriptProblem>) -> Self {
        let is = |had: Option<&Arc<Program>>, program: &Program| had.is_some_and(|had| had.name == program.name);
        let mut set = Self {
            programs: programs.into_iter().map(|program| (program.name.clone(), program)).collect(),
            problems: problems.into_iter().map(|problem| (problem.file.clone(), problem)).collect(),
            ..Self::default()
        };
        for program in set.programs.values() {
            for name in [program.file.to_lowercase(), program.uuid.clone()] {
                set.other_names.entry(name).or_insert_with(|| Arc::clone(program));
            }
            set.numbers.entry(program.id).or_insert_with(|| Arc::clone(program));
            match &program.settings.class5_destination {
                None => {}
                Some(Class5Destination::Pattern { .. }) => set.patterns.push(Arc::clone(program)),
                Some(Class5Destination::Exact(destination)) => {
                    let holders = set.exact.entry(destination.clone()).or_default();
                    let Some(holder) = holders.iter_mut().find(|holder| holder.account == program.account) else {
                        holders.push(Arc::clone(program));
                        continue;
                    };
                    let other = match is(self.exact(destination, &program.account), program) {
                        true => std::mem::replace(holder, Arc::clone(program)),
                        false => Arc::clone(program),
                    };
                    let message = format!("class5_destination {destination} already belongs to {}", holder.file);
                    let problem = ScriptProblem { file: other.file.clone(), message, at: None };
                    set.problems.entry(other.file.clone()).or_insert(problem);
                }
            }
        }
        for (destination, holders) in &mut set.exact {
            let first = self.exact.get(destination).and_then(|holders| holders.first());
            holders.sort_by_key(|program| (program.account != DEFAULT_ACCOUNT, !is(first, program)));
        }
        set
    }

    /// The program that somebody calls `name`: its file, its uuid, its number or its name, in any case of letters. Names come last: they are made
    /// up, and one may look like the uuid of another script.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Program>> {
        let name = name.to_lowercase();
        let by_number = || name.parse().ok().and_then(|number| self.numbers.get(&number));
        self.other_names.get(&name).or_else(by_number).or_else(|| self.programs.get(&name))
    }

    /// The program of this very name, for what has found it before: others may be called what it is named. See [`Self::by_name`].
    pub fn named(&self, name: &str) -> Option<&Arc<Program>> {
        self.programs.get(name)
    }

    /// A program of another account than `account` that is called by something which would call a script in `file`.
    pub(super) fn mistaken_for(&self, file: &str, account: &str) -> Option<&Arc<Program>> {
        let name = name_of(file);
        let uuid = uuid_of(&name);
        let names = [file.to_owned(), id_of(&uuid).to_string(), uuid, name];
        names.iter().find_map(|name| self.by_name(name).filter(|program| program.account != account))
    }

    /// The program of an account whose exact destination this is.
    pub fn exact(&self, destination: &str, account: &str) -> Option<&Arc<Program>> {
        self.exact.get(destination)?.iter().find(|program| program.account == account)
    }

    /// The program that a caller of no account reaches by dialling `destination`: the operator's, else anybody's. An exact destination
    /// wins over a pattern; among patterns, the first by name.
    pub fn by_class5(&self, destination: &str) -> Option<&Arc<Program>> {
        let first = || self.exact.get(destination).and_then(|holders| holders.first());
        self.of(DEFAULT_ACCOUNT, destination).or_else(first).or_else(|| self.matching(destination).next())
    }

    /// The program that a caller of `account` reaches by dialling `destination`: the account's own, else the operator's. `None`: a
    /// caller of no account.
    pub fn dialled(&self, destination: &str, account: Option<&str>) -> Option<&Arc<Program>> {
        match account {
            Some(account) => self.of(account, destination).or_else(|| self.of(DEFAULT_ACCOUNT, destination)),
            None => self.by_class5(destination),
        }
    }

    /// The program of an account that `destination` is for.
    fn of(&self, account: &str, destination: &str) -> Option<&Arc<Program>> {
        let pattern = || self.matching(destination).find(|program| program.account == account);
        self.exact(destination, account).or_else(pattern)
    }

    /// The program that `class5:NAME` leads a call of `account` to: by what is dialled, else by its name. The operator's calls are
    /// led to anybody's, as are those of no account.
    pub fn led_to(&self, name: &str, account: Option<&str>) -> Option<&Arc<Program>> {
        let anybodys = || self.by_class5(name).or_else(|| self.by_name(name));
        let Some(account) = account else { return anybodys() };
        let is_theirs = |program: &&Arc<Program>| program.account == account || program.account == DEFAULT_ACCOUNT;
        let theirs = self.dialled(name, Some(account)).or_else(|| self.by_name(name).filter(is_theirs));
        if account == DEFAULT_ACCOUNT { theirs.or_else(anybodys) } else { theirs }
    }

    /// Those whose pattern this destination fits, by name.
    fn matching(&self, destination: &str) -> impl Iterator<Item = &Arc<Program>> {
        let fits = move |program: &&Arc<Program>| {
            program.settings.class5_destination.as_ref().is_some_and(|wanted| wanted.matches(destination))
        };
        self.patterns.iter().filter(fits)
    }

    /// Why a name in the configuration leads to no script; `None`: it leads to one.
    pub fn lacks(&self, wanted: &Wanted) -> Option<String> {
        let (name, expected, program) = match wanted {
            Wanted::File(file) => return self.lacks_file(file),
            Wanted::Script(name) => (name, "the name of a script", self.by_name(name)),
            Wanted::Class5 { name, account } => {
                let expected = "a Class 5 destination, or the name of a script";
                (name, expected, self.led_to(name, Some(account)))
            }
        };
        let of_file = || self.problems().find(|problem| name_of(&problem.file) == name_of(name) || problem.file == *name);
        match program {
            Some(program) if program.script_type == ScriptType::Worker => {
                Some(format!("expected {expected}, but `{name}` is of type worker: it is sent messages, not run"))
            }
            Some(_) => None,
            None => Some(match of_file() {
                Some(problem) => format!("the script `{name}` is not live: {problem}"),
                None => format!("expected {expected}, found `{name}`"),
            }),
        }
    }

    /// A file that is there and wrong has a problem of its own.
    fn lacks_file(&self, file: &str) -> Option<String> {
        let is_there = self.programs.values().any(|program| program.file == file) || self.problem(file).is_some();
        (!is_there).then(|| format!("expected a file of the scripts folder, found none called `{file}`"))
    }

    /// Every program, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Program>> {
        self.programs.values()
    }

    /// Files whose newest text is not live, by file name.
    pub fn problems(&self) -> impl Iterator<Item = &ScriptProblem> {
        self.problems.values()
    }

    /// Why the newest text of `file` is not live.
    pub fn problem(&self, file: &str) -> Option<&ScriptProblem> {
        self.problems.get(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_share_a_name_where_one_is_called_what_the_other_is() {
        let uuid = uuid_of("menu");
        for other in ["Menu.ts", "menu.js.js", &format!("{uuid}.js"), &format!("{}.js", id_of(&uuid))] {
            assert!(share_a_name("menu.js", other) && share_a_name(other, "menu.js"), "{other}");
        }
        assert!(!share_a_name("menu.js", "menu2.js"));
    }
}
