use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockstep_ctx_api::wire::ScriptType;

use super::*;
use crate::config::{Secret, Wanted};
use crate::script::programs::save::{SaveError, SaveScript};

/// A scripts folder that goes with the test.
struct Folder {
    path: PathBuf,
    writes: u64,
}

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("lockstep-programs-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(path.join("scripts")).unwrap();
        Self { path, writes: 0 }
    }

    fn write(&mut self, file: &str, text: &str) {
        let path = self.path.join("scripts").join(file);
        fs::write(&path, text).unwrap();
        // Two writes within one tick of the file system's clock must still look different.
        self.writes += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.writes);
        fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path.join("scripts").join(file)).unwrap();
    }

    fn loader(&self, config: &Config) -> Loader {
        Loader::new(&self.path, config)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind in the temporary folder at worst.
        let _ = fs::remove_dir_all(&self.path);
    }
}

const EMPTY: &str = "function main() {}";

#[test]
fn scripts_are_found_with_their_settings_and_other_files_are_not() {
    let mut folder = Folder::new();
    folder.write("Menu.js", "// @lockstep class5_destination=1000 memory_mb=16\nfunction main() {}");
    for other in ["menu.test.js", "ctx.d.ts", ".hidden.js", "readme.md", "js"] {
        folder.write(other, "not a script (");
    }
    let reload = folder.loader(&Config::default()).load().unwrap();
    let names: Vec<&str> = reload.set.iter().map(|program| program.name.as_str()).collect();
    assert_eq!(names, ["menu"]);
    assert_eq!(reload.set.problems().count(), 0);
    let menu = reload.set.by_class5("1000").unwrap();
    assert_eq!((menu.file.as_str(), menu.limits.memory_bytes), ("Menu.js", 16 << 20));
    assert_eq!(reload.set.by_name("MENU.JS").unwrap().uuid, menu.uuid);
    assert_eq!(reload.set.by_name(&menu.uuid).unwrap().name, "menu");
}

#[test]
fn a_time_zone_is_called_as_the_database_spells_it() {
    assert_eq!((zone_name("utc").as_deref(), zone_name("Nowhere/Land")), (Some("UTC"), None));
    if Path::new("/usr/share/zoneinfo/Europe/London").exists() {
        assert_eq!(zone_name("europe/LONDON").as_deref(), Some("Europe/London"));
    }
}

#[test]
fn siblings_of_a_file_that_does_not_compile_are_told_where() {
    let mut folder = Folder::new();
    folder.write("main.js", "const { a } = require('Syn'); function main() {}");
    folder.write("open.js", "exports.main = (name) => require(name)");
    folder.write("alone.js", EMPTY);
    folder.write("syn.js", "\nexport const a = ;");
    folder.write("other.js", "// @lockstep app=other\nconst { a } = require('syn'); function main() {}");
    let mut config = Config::default();
    config.apps.push(App { name: "other".into(), account: "default".into(), env: BTreeMap::new() });
    let mut loader = folder.loader(&config);
    let first = loader.load().unwrap();
    let text = |reload: &Reload, name: &str| reload.set.by_name(name).unwrap().bundle.files.get("syn.js").cloned();
    let told = text(&first, "main").unwrap();
    assert!(told.starts_with("\nthrow new Error(\"syn.js:2:18: SyntaxError: "), "{told}");
    assert_eq!(text(&first, "open").as_ref(), Some(&told), "it may ask for it");
    assert_eq!(text(&first, "alone"), None, "it does not name it");
    assert_eq!(text(&first, "other"), None, "it is of another app");
    assert!(first.set.by_name("syn").is_none());

    folder.write("syn.js", "export const a = 1; let b = ;");
    let second = loader.load().unwrap();
    assert!(text(&second, "main").unwrap().contains("syn.js:1:29"));
    let alone = |reload: &Reload| Arc::clone(reload.set.by_name("alone").unwrap());
    assert!(Arc::ptr_eq(&alone(&first), &alone(&second)), "it makes no difference to it");
    folder.remove("syn.js");
    assert_eq!(text(&loader.load().unwrap(), "main"), None, "the file is gone");
    folder.write("syn.js", "export const a = 1;");
    assert_eq!(text(&loader.load().unwrap(), "main").as_deref(), Some("export const a = 1;"));
}

#[test]
fn a_name_leads_to_the_sound_file_beside_one_that_does_not_compile() {
    let mut folder = Folder::new();
    folder.write("main.js", "const { a } = require('lib'); function main() {}");
    folder.write("lib.js", "exports.a = 1");
    folder.write("lib.cjs", "export const a = ;");
    let reload = folder.loader(&Config::default()).load().unwrap();
    let files: Vec<&String> = reload.set.by_name("main").unwrap().bundle.files.keys().collect();
    assert_eq!(files, ["lib.js", "main.js"]);
    assert!(reload.set.problem("lib.cjs").is_some());
}

#[test]
fn the_configuration_wins_over_the_header_comment() {
    let mut folder = Folder::new();
    folder.write("menu.js", "// @lockstep memory_mb=16 turn_ms=500\nfunction main() {}");
    let mut config = Config::default();
    config.script_entries.push(ScriptEntry { memory_mb: Some(32), ..ScriptEntry::new("menu.js") });
    let reload = folder.loader(&config).load().unwrap();
    let limits = reload.set.by_name("menu").unwrap().limits;
    assert_eq!((limits.memory_bytes, limits.turn_ms), (32 << 20, 500));
}

#[test]
fn a_change_makes_a_new_version_and_retires_the_old_one() {
    let mut folder = Folder::new();
    folder.write("menu.js", EMPTY);
    let mut loader = folder.loader(&Config::default());
    let first = loader.load().unwrap();
    let before = Arc::clone(first.set.by_name("menu").unwrap());
    assert!(loader.load().unwrap().retired.is_empty());
    assert!(Arc::ptr_eq(&before, loader.load().unwrap().set.by_name("menu").unwrap()), "unchanged is the same");

    folder.write("menu.js", "function main() { return 1 }");
    let second = loader.load().unwrap();
    let after = second.set.by_name("menu").unwrap();
    assert_eq!(second.retired, [before.bundle_id]);
    assert_ne!((after.bundle_id, &after.version), (before.bundle_id, &before.version));
    assert_eq!(after.uuid, before.uuid);
    assert_eq!(&*before.bundle.files["menu.js"], EMPTY, "live calls keep theirs");
}

#[test]
fn a_syntax_error_leaves_the_last_good_version_live_and_says_where() {
    let mut folder = Folder::new();
    folder.write("menu.js", EMPTY);
    let mut loader = folder.loader(&Config::default());
    let good = loader.load().unwrap();
    folder.write("menu.js", "function main() {\n  let = ;\n}");
    let reload = loader.load().unwrap();
    let live = reload.set.by_name("menu").unwrap();
    assert!(Arc::ptr_eq(live, good.set.by_name("menu").unwrap()));
    let problem = reload.set.problem("menu.js").unwrap();
    assert_eq!(problem.at.as_ref().map(|at| at.line), Some(2), "{problem}");
    assert!(problem.to_string().starts_with("menu.js:2:"), "{problem}");

    folder.write("menu.js", "function main() { return 2 }");
    assert_eq!(loader.load().unwrap().set.problems().count(), 0);
}

#[test]
fn a_text_that_cannot_be_run_at_the_start_leaves_the_kept_one_live() {
    let mut folder = Folder::new();
    folder.write("menu.js", "function main() {\n  let = ;\n}");
    folder.write("good.js", EMPTY);
    folder.write("lost.js", "function (");
    let kept = |file: &str| match file {
        "menu.js" => Some("// @lockstep class5_destination=1000\nfunction main() {}".to_owned()),
        "lost.js" => Some("nor was this (".to_owned()),
        _ => panic!("{file} has a text"),
    };
    let mut loader = folder.loader(&Config::default());
    let reload = loader.load_or(kept).unwrap();
    assert_eq!(reload.set.by_class5("1000").map(|program| program.name.as_str()), Some("menu"));
    assert!(reload.set.by_name("lost").is_none());
    let files = |problems: Vec<ScriptProblem>| problems.into_iter().map(|problem| problem.file).collect::<Vec<_>>();
    assert_eq!(files(reload.new_problems), ["lost.js", "menu.js"]);
    assert_eq!(reload.texts.iter().map(|text| text.file.as_str()).collect::<Vec<_>>(), ["good.js"]);

    folder.write("menu.js", "function main() { return 2 }");
    let mended = loader.load().unwrap();
    assert!(mended.set.by_class5("1000").is_none() && mended.set.by_name("menu").is_some());
}

#[test]
fn a_script_runs_as_before_until_something_that_it_gets_at_changes() {
    let mut folder = Folder::new();
    folder.write("worker.js", "// @lockstep type=worker\nconst { a } = require('./one'); function onMessage() {}");
    folder.write("one.js", "exports.a = require('two')");
    folder.write("two.js", EMPTY);
    folder.write("other.js", EMPTY);
    folder.write("open.js", "exports.main = (name) => require(name)");
    let mut loader = folder.loader(&Config::default());
    let mut now = loader.load().unwrap().set;
    let mut changed = |file: &str, text: &str| {
        folder.write(file, text);
        let before = std::mem::replace(&mut now, loader.load().unwrap().set);
        ["worker", "open"].map(|name| !now.by_name(name).unwrap().runs_as(before.by_name(name).unwrap()))
    };
    assert_eq!(changed("other.js", "function main() { return 1 }"), [false, true]);
    assert_eq!(changed("new.js", EMPTY), [false, true]);
    assert_eq!(changed("two.js", "function main() { return 1 }"), [true, true]);
    assert_eq!(changed("one.js", EMPTY), [true, true]);
    assert_eq!(changed("two.js", EMPTY), [false, true]);
    assert_eq!(changed("worker.js", "// @lockstep type=worker memory_mb=20\nfunction onMessage() {}"), [true, true]);
}

#[test]
fn a_problem_is_told_once_and_again_when_the_file_has_changed() {
    let mut folder = Folder::new();
    folder.write("bad.js", "function (");
    let mut loader = folder.loader(&Config::default());
    assert_eq!(loader.load().unwrap().new_problems.len(), 1);
    folder.write("good.js", EMPTY);
    let other = loader.load().unwrap();
    assert_eq!((other.new_problems.len(), other.set.problems().count()), (0, 1));
    folder.write("bad.js", "function (");
    assert_eq!(loader.load().unwrap().new_problems.len(), 1);
}

#[test]
fn a_header_key_without_effect_is_told() {
    let mut folder = Folder::new();
    folder.write("a.js", "// @lockstep type=worker run=first\nfunction onMessage() {}");
    let mut loader = folder.loader(&Config::default());
    let warnings = loader.load().unwrap().new_warnings;
    assert_eq!(warnings, ["a.js: @lockstep: run: has no effect on a worker: it is sent messages and routes no calls"]);
    assert!(loader.load().unwrap().new_warnings.is_empty());
}

fn saved(file: &str, source: &str) -> SaveScript {
    SaveScript { file: file.to_owned(), source: source.into(), must_be_new: false, account: None, version: None }
}

#[test]
fn a_text_is_saved_whole_or_refused_with_its_place() {
    let mut folder = Folder::new();
    let mut loader = folder.loader(&Config::default());
    let new = |file: &str| SaveScript { must_be_new: true, ..saved(file, EMPTY) };
    assert_eq!(loader.save(&saved("menu.js", EMPTY)).unwrap_err(), SaveError::NoSuchScript("menu.js".to_owned()));
    let reload = loader.save(&new("menu.js")).unwrap();
    assert_eq!((reload.set.by_name("menu").is_some(), reload.texts[0].source.as_ref()), (true, EMPTY));
    let refused = loader.save(&saved("menu.js", "function main() {\n  let = ;\n}")).unwrap_err();
    assert!(refused.to_string().starts_with("menu.js:2:"), "{refused}");
    assert_eq!(fs::read_to_string(folder.path.join("scripts/menu.js")).unwrap(), EMPTY);
    assert_eq!(loader.save(&new("menu.js")).unwrap_err(), SaveError::Exists("menu.js".to_owned()));
    assert_eq!(loader.save(&saved("Menu.mjs", EMPTY)).unwrap_err(), SaveError::Exists("menu.js".to_owned()));
    for name in ["../menu.js", "a/b.js", ".hidden.js", "menu.test.js", "menu", "me nu.js", "types.d.ts"] {
        assert_eq!(loader.save(&saved(name, EMPTY)).unwrap_err(), SaveError::Name(name.to_owned()));
    }
    assert!(loader.remove("menu.js").unwrap().set.by_name("menu").is_none());
    assert_eq!(loader.remove("menu.js").unwrap_err(), SaveError::NoSuchScript("menu.js".to_owned()));
    folder.write("other.js", EMPTY);
    let names: Vec<String> =
        fs::read_dir(folder.path.join("scripts")).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["other.js"], "nothing is left behind");
}

#[test]
fn a_text_belongs_to_the_account_of_its_app_and_to_no_other() {
    let folder = Folder::new();
    let mut config = Config::default();
    config.apps.push(App { name: "sales".into(), account: "north".into(), env: BTreeMap::new() });
    let mut loader = folder.loader(&config);
    let save = |account: &str, header: &str| SaveScript {
        account: Some(account.to_owned()),
        must_be_new: true,
        ..saved("menu.js", &format!("{header}\nfunction main() {{}}"))
    };
    assert_eq!(loader.save(&save("north", "")).unwrap_err(), SaveError::NotYours("default".to_owned()));
    assert_eq!(loader.save(&save("south", "// @lockstep app=sales")).unwrap_err(), SaveError::NotYours("north".to_owned()));
    assert!(loader.save(&save("north", "// @lockstep app=sales")).is_ok());
}

#[test]
fn a_script_is_found_by_uuid_number_and_file_whatever_others_are_named() {
    let mut folder = Folder::new();
    let mut config = Config::default();
    config.apps.push(App { name: "sales".into(), account: "north".into(), env: BTreeMap::new() });
    folder.write("shook.js", EMPTY);
    let mut loader = folder.loader(&config);
    loader.load().unwrap();
    let uuid = uuid_of("shook");
    let number = id_of(&uuid).to_string();
    let names = [uuid.clone(), number.clone(), format!("0{number}"), "shook.js".to_owned()];
    for name in &names {
        let new = SaveScript { must_be_new: true, ..saved(&format!("{name}.js"), "// @lockstep app=sales\nfunction main() {}") };
        let of_north = SaveScript { account: Some("north".to_owned()), ..new.clone() };
        assert_eq!(loader.save(&of_north).unwrap_err(), SaveError::NameTaken(new.file.clone()));
        loader.save(&new).unwrap();
    }
    for name in &names {
        assert_eq!(loader.set.by_name(name).unwrap().file, "shook.js", "{name}");
    }
    let saved_again = SaveScript { account: Some("north".to_owned()), ..saved(&format!("{uuid}.js"), "// @lockstep app=sales") };
    assert!(loader.save(&saved_again).is_ok(), "what is there stays its account's");
}

#[test]
fn a_new_script_that_does_not_compile_is_not_live_and_harms_no_sibling() {
    let mut folder = Folder::new();
    folder.write("bad.js", "function (");
    let good = "const bad = require('./bad'); function main() {}";
    folder.write("good.js", good);
    let reload = folder.loader(&Config::default()).load().unwrap();
    assert!(reload.set.by_name("bad").is_none());
    let files = &reload.set.by_name("good").unwrap().bundle.files;
    assert_eq!(&*files["good.js"], good);
    assert!(files["bad.js"].starts_with("throw new Error("), "what requires it is told: {files:?}");
}

#[test]
fn a_wrong_header_comment_names_its_line() {
    let mut folder = Folder::new();
    folder.write("menu.js", "// A menu.\n// @lockstep memory=16\nfunction main() {}");
    let reload = folder.loader(&Config::default()).load().unwrap();
    let problem = reload.set.problem("menu.js").unwrap().to_string();
    assert!(problem.starts_with("menu.js:2:1: @lockstep: "), "{problem}");
}

#[test]
fn a_second_header_comment_is_said_not_to_be_read() {
    let mut folder = Folder::new();
    folder.write("menu.js", "// @lockstep class5_destination=1000\n// @lockstep public=true\nfunction main() {}");
    let warnings = folder.loader(&Config::default()).load().unwrap().new_warnings;
    assert_eq!(warnings, ["menu.js:2: @lockstep: is not read: one comment says all, before any code"]);
}

#[test]
fn a_header_comment_cannot_name_an_app_that_the_configuration_does_not_know() {
    let mut folder = Folder::new();
    folder.write("menu.js", "// A menu.\n// @lockstep app=slaes class5_destination=1000\nfunction main() {}");
    folder.write("rate.js", "// @lockstep app=slaes\nfunction main() {}");
    let mut config = Config::default();
    config.apps.push(App { name: "sales".into(), account: "north".into(), env: BTreeMap::new() });
    config.script_entries.push(ScriptEntry { app: Some("sales".into()), ..ScriptEntry::new("rate.js") });
    let reload = folder.loader(&config).load().unwrap();
    let problems: Vec<String> = reload.set.problems().map(ToString::to_string).collect();
    assert_eq!(problems, ["menu.js:2:1: @lockstep: app: expected the name of an [[app]], found `slaes`"]);
    assert_eq!(reload.set.by_name("rate").unwrap().account, "north", "the configuration wins");
}

#[test]
fn a_wrong_pattern_is_refused_with_its_place() {
    let mut folder = Folder::new();
    for file in ["bad.js", "typed.ts"] {
        folder.write(file, "function main() {\n  return /(/.test('x');\n}");
    }
    let reload = folder.loader(&Config::default()).load().unwrap();
    let places: Vec<_> = reload.set.problems().map(|problem| problem.at.as_ref().map(|at| at.line)).collect();
    assert_eq!(places, [Some(2), Some(2)], "{:?}", reload.set);
}

#[test]
fn a_worker_that_calls_are_to_reach_is_refused_however_it_is_said() {
    let mut folder = Folder::new();
    folder.write("a.js", "// @lockstep type=worker class5_destination=5013\nfunction onMessage() {}");
    folder.write("b.js", "// @lockstep class5_destination=5014\nfunction onMessage() {}");
    let mut config = Config::default();
    config.script_entries.push(ScriptEntry { kind: Some(ScriptType::Worker), ..ScriptEntry::new("b.js") });
    let reload = folder.loader(&config).load().unwrap();
    assert_eq!(reload.set.iter().count(), 0);
    assert!(reload.set.problems().all(|problem| problem.message.contains("class5_destination")), "{:?}", reload.set);
}

#[test]
fn siblings_are_those_of_the_same_app() {
    let mut folder = Folder::new();
    folder.write("a.js", "// @lockstep app=sales\nfunction main() {}");
    folder.write("b.js", "// @lockstep app=sales\nfunction main() {}");
    folder.write("c.js", EMPTY);
    let mut loader = folder.loader(&Config::default()).with_any_app();
    let first = loader.load().unwrap();
    let files: Vec<&String> = first.set.by_name("a").unwrap().bundle.files.keys().collect();
    assert_eq!(files, ["a.js", "b.js"]);

    folder.write("b.js", "// @lockstep app=sales\nfunction main() { return 1 }");
    let second = loader.load().unwrap();
    let version = |reload: &Reload, name: &str| reload.set.by_name(name).unwrap().version.clone();
    assert_ne!(version(&first, "a"), version(&second, "a"), "a sibling is part of a script's version");
    assert_eq!(version(&first, "c"), version(&second, "c"));
}

#[test]
fn a_script_of_another_app_says_so_unless_it_is_another_accounts() {
    let mut folder = Folder::new();
    folder.write("rate.js", "// @lockstep app=sales\nrequire('calc'); require('./theirs'); require('cxKV'); function main() {}");
    folder.write("calc.js", "require('rate'); function main() {}");
    folder.write("cxkv.js", EMPTY);
    folder.write("theirs.js", "// @lockstep app=theirs\nfunction main() {}");
    let app = |name: &str, account: &str| App { name: name.into(), account: account.into(), env: BTreeMap::new() };
    let config = Config { apps: vec![app("sales", "default"), app("theirs", "other")], ..Config::default() };
    let mut loader = folder.loader(&config);
    let first = loader.load().unwrap();
    let files = |name: &str| first.set.by_name(name).unwrap().bundle.files.clone();
    let (rate, calc) = (files("rate"), files("calc"));
    let said =
        "throw new Error(\"Cannot require 'calc.js': it is of no app, and the script of app 'sales'; both must be of the same\")";
    assert_eq!(rate.keys().collect::<Vec<_>>(), ["calc.js", "rate.js"]);
    assert_eq!(rate.get("calc.js").map(|text| &**text), Some(said));
    assert!(calc.get("rate.js").is_some_and(|text| text.contains("it is of app 'sales', and the script of no app")), "{calc:?}");

    folder.write("calc.js", "// @lockstep app=sales\nfunction main() {}");
    let second = loader.load().unwrap();
    assert!(second.set.by_name("rate").unwrap().bundle.files.get("calc.js").is_some_and(|text| text.contains("function main")));
}

#[test]
fn the_environment_names_the_script_and_holds_the_apps_variables() {
    let mut folder = Folder::new();
    folder.write("a.js", "// @lockstep app=sales\nfunction main() {}");
    let mut config = Config::default();
    config.apps.push(App {
        name: "sales".into(),
        account: "default".into(),
        env: [("API_URL".to_owned(), Secret::literal("https://a.example"))].into(),
    });
    let reload = folder.loader(&config).load().unwrap();
    let program = reload.set.by_name("a").unwrap();
    let env = |key: &str| program.env.get(key).map(String::as_str);
    assert_eq!((env("API_URL"), env("APP_ID"), env("SCRIPTFORGE_NAME")), (Some("https://a.example"), Some("sales"), Some("a")));
    assert_eq!(env("SCRIPTFORGE_UUID"), Some(program.uuid.as_str()));
    assert_eq!(env("SCRIPTFORGE_ID"), Some(program.id.to_string().as_str()));
    assert!(env("EXEC_HOST").is_some_and(|host| host == super::host_name() && !host.is_empty()));
}

#[test]
fn a_removed_script_is_gone_and_its_bundle_is_retired() {
    let mut folder = Folder::new();
    folder.write("a.js", EMPTY);
    let mut loader = folder.loader(&Config::default());
    let bundle = loader.load().unwrap().set.by_name("a").unwrap().bundle_id;
    folder.remove("a.js");
    let reload = loader.load().unwrap();
    assert!(reload.set.by_name("a").is_none());
    assert_eq!(reload.retired, [bundle]);
}

#[test]
fn clashes_of_names_and_destinations_are_problems_of_the_second() {
    let mut folder = Folder::new();
    folder.write("a.js", "// @lockstep class5_destination=1\nfunction main() {}");
    folder.write("a.mjs", "export function main() {}");
    folder.write("b.js", "// @lockstep class5_destination=1\nfunction main() {}");
    let reload = folder.loader(&Config::default()).load().unwrap();
    assert_eq!(reload.set.by_class5("1").unwrap().file, "a.js");
    let problems: Vec<&str> = reload.set.problems().map(|problem| problem.file.as_str()).collect();
    assert_eq!(problems, ["a.mjs", "b.js"]);
}

#[test]
fn whoever_has_a_destination_keeps_it() {
    let mut folder = Folder::new();
    folder.write("menu.js", "// @lockstep class5_destination=1\nfunction main() {}");
    let mut loader = folder.loader(&Config::default());
    loader.load().unwrap();
    let claimed = "// @lockstep class5_destination=1\nfunction main() { /* another */ }";
    let first = SaveScript { must_be_new: true, ..saved("first.js", claimed) };
    assert_eq!(loader.save(&first).unwrap_err(), SaveError::Taken("1".to_owned()));
    assert!(loader.save(&saved("menu.js", claimed)).is_ok(), "its own");
    // A file may still be put there by hand, and comes first by name.
    folder.write("a.js", claimed);
    let reload = loader.load().unwrap();
    assert_eq!(reload.set.by_class5("1").unwrap().file, "menu.js");
    assert_eq!(reload.set.problem("a.js").unwrap().message, "class5_destination 1 already belongs to menu.js");
}

#[test]
fn accounts_have_the_same_destination_each_for_its_own_callers() {
    let mut folder = Folder::new();
    let app = |name: &str| App { name: name.into(), account: name.into(), env: BTreeMap::new() };
    let config = Config { apps: ["north", "south"].map(app).into(), ..Config::default() };
    let text =
        |app: &str, destination: &str| format!("// @lockstep class5_destination={destination} {app}\nfunction main() {{}}");
    folder.write("menu.js", &text("app=south", "1"));
    let mut loader = folder.loader(&config);
    loader.load().unwrap();
    loader.save(&SaveScript { must_be_new: true, ..saved("a.js", &text("app=north", "1")) }).unwrap();
    folder.write("any.js", &text("app=north", "/[0-9]/"));
    folder.write("shared.js", &text("", "/[12]/"));
    let set = loader.load().unwrap().set;
    assert_eq!(set.problems().count(), 0);
    for (account, reached) in [
        (Some("north"), ["a.js", "any.js", "any.js"]),
        (Some("south"), ["menu.js", "shared.js", "-"]),
        (Some("default"), ["shared.js", "shared.js", "-"]),
        (None, ["shared.js", "shared.js", "any.js"]),
    ] {
        let file = |dialled| set.dialled(dialled, account).map_or("-", |program| program.file.as_str());
        assert_eq!(["1", "2", "3"].map(file), reached, "{account:?}");
    }
}

#[test]
fn an_accounts_script_has_the_limits_that_the_configuration_gives_it() {
    let folder = Folder::new();
    let mut config = Config::default();
    config.apps.push(App { name: "sales".into(), account: "north".into(), env: BTreeMap::new() });
    config.script_entries.push(ScriptEntry { memory_mb: Some(500), ..ScriptEntry::new("tuned.js") });
    let mut loader = folder.loader(&config);
    loader.load().unwrap();
    let mut save = |account: Option<&str>, file: &str, limits: &str| {
        let source = format!("// @lockstep app=sales {limits}\nfunction main() {{}}");
        let account = account.map(str::to_owned);
        let is_new = loader.set.by_name(file.trim_end_matches(".js")).is_none();
        let saved = loader.save(&SaveScript { must_be_new: is_new, account, ..saved(file, &source) });
        saved.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for limits in ["memory_mb=101", "turn_ms=2001", "concurrency=2", "timeout_s=61"] {
        let refused = save(Some("north"), "a.js", limits);
        let (key, _) = limits.split_once('=').unwrap();
        assert!(refused.starts_with(&format!("a.js: {key}: expected at most ")), "{refused}");
        assert_eq!(save(None, "b.js", limits), "", "the operator's");
    }
    assert_eq!(save(Some("north"), "a.js", "memory_mb=16 turn_ms=500 concurrency=1 timeout_s=60"), "");
    assert_eq!(save(Some("north"), "tuned.js", "memory_mb=600"), "", "the entry wins");
    assert_eq!(loader.set.by_name("tuned").unwrap().limits.memory_bytes, 500 << 20);
}

#[test]
fn a_file_that_never_ran_is_mended_by_saving_it() {
    let mut folder = Folder::new();
    folder.write("menu.js", "function main( {}");
    let mut loader = folder.loader(&Config::default());
    loader.load().unwrap();
    let new = SaveScript { must_be_new: true, ..saved("menu.js", EMPTY) };
    let of_an_account = SaveScript { account: Some("default".to_owned()), ..new.clone() };
    assert_eq!(loader.save(&of_an_account).unwrap_err(), SaveError::Exists("menu.js".to_owned()));
    assert!(loader.save(&new).unwrap().set.by_name("menu").is_some());
}

#[test]
fn a_save_leaves_alone_what_others_are_writing() {
    let mut folder = Folder::new();
    folder.write("half.js", "function main() { return 1 }");
    let mut loader = folder.loader(&Config::default());
    loader.load().unwrap();
    folder.write("half.js", "function main() { return 2 }");
    let reload = loader.save(&SaveScript { must_be_new: true, ..saved("new.js", EMPTY) }).unwrap();
    assert!(reload.set.by_name("new").is_some());
    assert_eq!(reload.texts.iter().map(|text| text.file.as_str()).collect::<Vec<_>>(), ["new.js"]);
    assert!(reload.set.by_name("half").unwrap().bundle.files["half.js"].contains("return 1"));
    assert_eq!(loader.load().unwrap().texts[0].file, "half.js");
}

#[test]
fn an_exact_destination_wins_over_a_pattern() {
    let mut folder = Folder::new();
    folder.write("any.js", "// @lockstep class5_destination=/1.*/\nfunction main() {}");
    folder.write("one.js", "// @lockstep class5_destination=100\nfunction main() {}");
    let set = folder.loader(&Config::default()).load().unwrap().set;
    assert_eq!(set.by_class5("100").unwrap().name, "one");
    assert_eq!(set.by_class5("101").unwrap().name, "any");
    assert!(set.by_class5("200").is_none());
}

#[test]
fn an_entry_without_a_file_is_a_problem_and_a_missing_folder_is_empty() {
    let folder = Folder::new();
    let mut config = Config::default();
    config.script_entries.push(ScriptEntry::new("gone.js"));
    let reload = folder.loader(&config).load().unwrap();
    let lacks = reload.set.lacks(&Wanted::File("gone.js".to_owned()));
    assert_eq!(lacks.as_deref(), Some("expected a file of the scripts folder, found none called `gone.js`"));
    config.scripts.dir = "nowhere".into();
    assert_eq!(folder.loader(&config).load().unwrap().set.iter().count(), 0);
}

#[test]
fn the_watcher_reports_a_change_and_leaves_when_dropped() {
    let mut folder = Folder::new();
    folder.write("a.js", EMPTY);
    let mut loader = folder.loader(&Config::default());
    loader.load().unwrap();
    let mut watch = super::super::watch(loader).unwrap();
    folder.write("b.js", EMPTY);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut next = || runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), watch.changed()).await });
    let change = next().expect("the watcher sees the change").unwrap();
    assert!(change.reload.set.by_name("b").is_some());
    assert!(change.asked.is_none());
    drop(watch);
}
