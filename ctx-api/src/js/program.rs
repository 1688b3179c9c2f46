//! The sources of a script and its siblings, compiled once for all runs of a worker.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::compile::{self, Unit};
use super::compiled::Compiled;
use super::packages::{self, CompiledPackages};
use super::tokens::{Token, Tokens};
use super::{prelude, shareable};
use crate::packages::Packages;
use crate::wire::{Bundle, ScriptError, ScriptErrorKind};

/// Extensions a script's name may be given without.
const EXTENSIONS: [&str; 5] = ["", ".js", ".mjs", ".cjs", ".ts"];
/// The built-in module that is the call itself, and no file of the prelude.
const CALL: &str = "cxC5Server";

/// What `require` or `import` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    BuiltIn(&'static str),
    /// File name in the bundle.
    Sibling(String),
    /// Resolved name of a package's module.
    Package(String),
}

impl Found {
    /// The canonical name of the module.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::BuiltIn(name) => name,
            Self::Sibling(name) | Self::Package(name) => name,
        }
    }
}

/// A bundle whose files are compiled when they are first needed.
#[derive(Debug)]
pub(super) struct Program {
    bundle: Arc<Bundle>,
    units: RefCell<BTreeMap<String, Result<Arc<Unit>, ScriptError>>>,
    compiled: Rc<CompiledPackages>,
    shared: Option<Compiled>,
    /// The files of runs that share a context, if they may, once that has been asked.
    sharing: OnceCell<Option<BTreeSet<String>>>,
    only_declares: OnceCell<bool>,
}

impl Program {
    pub(super) fn new(bundle: Arc<Bundle>) -> Rc<Self> {
        Self::with_compiled(bundle, Rc::default(), None)
    }

    /// A program that shares the compiled packages of its worker, and what other workers have compiled.
    pub(super) fn with_compiled(bundle: Arc<Bundle>, compiled: Rc<CompiledPackages>, shared: Option<Compiled>) -> Rc<Self> {
        Rc::new(Self {
            bundle,
            units: RefCell::default(),
            compiled,
            shared,
            sharing: OnceCell::new(),
            only_declares: OnceCell::new(),
        })
    }

    pub(super) fn entry(&self) -> &str {
        &self.bundle.entry
    }

    /// The compiled file, from the second run on out of the cache.
    pub(super) fn unit(&self, file: &str) -> Result<Arc<Unit>, ScriptError> {
        if let Some(unit) = self.units.borrow().get(file) {
            return unit.clone();
        }
        let unit = match (self.bundle.files.get(file), &self.shared) {
            (Some(source), Some(shared)) => shared.unit(file, source),
            (Some(source), None) => compile::compile(file, source).map(Arc::new),
            (None, _) => Err(not_found(format!("the bundle has no file '{file}'"))),
        };
        self.units.borrow_mut().insert(file.to_owned(), unit.clone());
        unit
    }

    /// Whether runs that own no call may share a context whose built-ins are frozen: nobody must be able to tell, since a run that
    /// goes on may be rebuilt in either kind of context.
    pub(super) fn can_share_a_context(&self) -> bool {
        self.sharing().is_some()
    }

    /// Names of the properties that its files may give to objects by assigning to them; `None`: any.
    pub(super) fn assigned(&self) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        for file in self.sharing()? {
            names.extend(shareable::assigned(self.source(file)?)?);
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    /// Global functions that its files may assign something else to.
    pub(super) fn assigned_functions(&self) -> BTreeSet<&'static str> {
        let files = self.sharing().into_iter().flatten();
        files.filter_map(|file| self.source(file)).flat_map(shareable::assigned_functions).collect()
    }

    /// The files that runs in a shared context consist of: the entry and the siblings that it requires, if they are classic, leave
    /// built-ins alone and use no packages, whose ways nobody knows.
    fn sharing(&self) -> Option<&BTreeSet<String>> {
        let files = self.sharing.get_or_init(|| {
            let mut files = BTreeSet::from([self.entry().to_owned()]);
            let mut left: Vec<String> = files.iter().cloned().collect();
            while let Some(file) = left.pop() {
                let source = self.source(&file).filter(|_| self.is_classic(&file));
                for name in shareable::plain_requires(source?)? {
                    match self.resolve(name) {
                        Ok(Found::BuiltIn(name)) if name != prelude::TEST_MODULE => {}
                        Ok(Found::Sibling(sibling)) => {
                            if files.insert(sibling.clone()) {
                                left.push(sibling);
                            }
                        }
                        Ok(Found::BuiltIn(_) | Found::Package(_)) | Err(_) => return None,
                    }
                }
            }
            Some(files)
        });
        files.as_ref()
    }

    /// Whether the entry does nothing but declare functions, and these are nothing but called: nobody can tell whether it has been
    /// evaluated once or for each run.
    pub(super) fn only_declares_functions(&self) -> bool {
        *self.only_declares.get_or_init(|| {
            let source = self.bundle.files.get(self.entry());
            source.is_some_and(|source| shareable::only_declares_functions(source)) && self.is_classic(self.entry())
        })
    }

    fn is_classic(&self, file: &str) -> bool {
        self.unit(file).is_ok_and(|unit| unit.kind == compile::Kind::Classic)
    }

    /// Whether a file names `exit`, or calls `err`.
    pub(super) fn names_exit(&self, file: &str) -> bool {
        let Some(source) = self.source(file) else { return false };
        let Tokens { tokens, is_certain } = Tokens::of(source);
        if !is_certain {
            return source.contains("exit") || source.contains("err(");
        }
        let calls_err = tokens.windows(2).any(|pair| pair == [Token::Word("err"), Token::Mark('(')]);
        calls_err || tokens.contains(&Token::Word("exit"))
    }

    /// Finds a module by the name a script gave. The error is the sentence the script's author reads.
    pub(super) fn resolve(&self, name: &str) -> Result<Found, String> {
        if name == prelude::TEST_MODULE && !is_test(self.entry()) {
            return Err(format!("'{name}' is for files named *.test.js, which `lockstep test` runs"));
        }
        find(name, self.bundle.files.keys().map(String::as_str), &self.bundle.packages)
    }

    /// The text of a file.
    pub(super) fn source(&self, file: &str) -> Option<&str> {
        self.bundle.files.get(file).map(|source| &**source)
    }

    /// The packages that the program carries.
    pub(super) fn packages(&self) -> &Packages {
        &self.bundle.packages
    }

    /// The compiled text of a package.
    pub(super) fn package(&self, name: &str) -> Result<Arc<Vec<u8>>, ScriptError> {
        self.compiled.get(&self.bundle.packages, name, self.shared.as_ref())
    }
}

/// A built-in, then a sibling, then a package.
fn find<'a>(name: &str, files: impl Iterator<Item = &'a str> + Clone, packages: &Packages) -> Result<Found, String> {
    if let Some(built_in) = built_in(name) {
        return Ok(Found::BuiltIn(built_in));
    }
    // Tests lie in a folder below the scripts.
    let wanted = name.strip_prefix("./").or_else(|| name.strip_prefix("../")).unwrap_or(name);
    let named = |same: fn(&str, &str) -> bool| {
        files.clone().find(|file| EXTENSIONS.iter().any(|extension| same(file, &format!("{wanted}{extension}"))))
    };
    match named(|file, wanted| file == wanted).or_else(|| named(|file, wanted| file.eq_ignore_ascii_case(wanted))) {
        Some(file) if is_requirable(file) => Ok(Found::Sibling(file.to_owned())),
        Some(file) => Err(format!(
            "Cannot require '{file}': the file name of a required script may hold only lowercase letters, digits, '-' and '_'"
        )),
        None => match packages::find(packages, name) {
            Some(found) => found.map(Found::Package),
            None => Err(format!("Cannot find module '{name}' (not on the allow-list; see docs/modules.md)")),
        },
    }
}

/// What a run would say of `require(name)` or `import … from name` in a bundle of `files` and `packages`; `None` when it would be found.
pub fn module_problem<'a>(name: &str, files: impl Iterator<Item = &'a str> + Clone, packages: &Packages) -> Option<String> {
    find(name, files, packages).err()
}

/// Whether a resolved name is that of a built-in module.
pub(super) fn is_built_in(name: &str) -> bool {
    built_in(name).is_some()
}

fn built_in(name: &str) -> Option<&'static str> {
    if name == CALL { Some(CALL) } else { prelude::module_names().find(|module| *module == name) }
}

/// Whether the file is a test of other files.
fn is_test(file: &str) -> bool {
    EXTENSIONS.iter().any(|extension| !extension.is_empty() && file.ends_with(&format!(".test{extension}")))
}

/// Whether siblings may require the file.
fn is_requirable(file: &str) -> bool {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    !stem.is_empty() && stem.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

pub(super) fn not_found(message: String) -> ScriptError {
    ScriptError { sip: None, kind: ScriptErrorKind::Load, message, at: None, stack: Vec::new() }
}

/// Compiles every file of a bundle and runs none: the syntax errors, each with its position.
pub fn check(bundle: &Bundle) -> Vec<ScriptError> {
    bundle.files.iter().filter_map(|(file, source)| compile::compile(file, source).err()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(files: &[&str]) -> Rc<Program> {
        let files = files.iter().map(|file| ((*file).to_owned(), "".into())).collect();
        Program::new(Arc::new(Bundle { entry: "main.js".to_owned(), files, ..Bundle::default() }))
    }

    #[test]
    fn siblings_are_found_whatever_the_case_and_extension() {
        let program = program(&["main.js", "filename.js", "data.mjs"]);
        for name in ["filename", "fileName", "./filename", "filename.js", "FILENAME.JS"] {
            assert_eq!(program.resolve(name), Ok(Found::Sibling("filename.js".to_owned())), "{name}");
        }
        assert_eq!(program.resolve("data"), Ok(Found::Sibling("data.mjs".to_owned())));
    }

    #[test]
    fn names_that_break_the_rule_are_refused_with_it() {
        let refused = program(&["main.js", "MyScript.js"]).resolve("./MyScript").expect_err("upper case");
        assert!(refused.contains("'MyScript.js'") && refused.contains("lowercase letters, digits, '-' and '_'"), "{refused}");
    }

    #[test]
    fn unknown_modules_are_named() {
        let refused = program(&["main.js"]).resolve("left-pad").expect_err("unknown");
        assert_eq!(refused, "Cannot find module 'left-pad' (not on the allow-list; see docs/modules.md)");
    }

    #[test]
    fn check_reports_the_position_of_every_syntax_error() {
        let files = [("good.js", "exports.a = 1"), ("bad.js", "function main() {\n  let = ;\n}")];
        let files = files.map(|(name, source)| (name.to_owned(), source.into())).into();
        let errors = check(&Bundle { entry: "good.js".to_owned(), files, ..Bundle::default() });
        assert_eq!(errors.len(), 1);
        let at = errors[0].at.as_ref().expect("a position");
        assert_eq!((&*at.file, at.line), ("bad.js", 2));
    }
}
