//! Which modules a script asks for, by the look of its text.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// A string right after `require(`, `import(`, `import` or `from`. One in a comment counts too, which costs a little memory.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?:\brequire\s*\(|\bimport\s*\(|\bimport|\bfrom)\s*['"`]([^'"`\s]{1,200})['"`]"#)
        .expect("the pattern is constant")
});

/// The same with something else than a plain string, from which the name comes only when it runs.
static COMPUTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(?:require|import)\s*\(\s*(?:[^'\x22`\s)]|`[^`]*\$\{|['\x22`][^'\x22`]*['\x22`]\s*[^\s),])")
        .expect("the pattern is constant")
});

/// The module that brings knex, which scripts do not name themselves.
const USERSPACE: &str = "cxUserspace";

/// Every module that `source` names.
pub fn named_modules(source: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        NAMED.captures_iter(source).filter_map(|found| Some(found.get(1)?.as_str().to_owned())).collect();
    if names.contains(USERSPACE) && source.contains("knex") {
        names.insert("knex".to_owned());
    }
    names
}

/// Whether `source` also asks for modules whose names it makes up.
pub fn computes_names(source: &str) -> bool {
    COMPUTED.is_match(source)
}

/// The package of a module's name: `csv-parse` of `csv-parse/lib/sync`, `@a/b` of `@a/b/c`.
pub(super) fn package_of(module: &str) -> &str {
    let parts = if module.starts_with('@') { 2 } else { 1 };
    let end = module.match_indices('/').nth(parts - 1).map_or(module.len(), |(at, _)| at);
    module.get(..end).unwrap_or(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        named_modules(source).into_iter().collect()
    }

    #[test]
    fn modules_are_found_in_both_dialects() {
        let source = r#"
            const a = require('axios'), b = require ( "csv-parse/lib/sync" );
            import c from 'moment'; import { d, e } from "tough-cookie"; import 'side'; export * from 'other';
            const f = await import(`soap`);
            const key = 'stripe', g = { from: 'ftp' };
        "#;
        assert_eq!(names(source), ["axios", "csv-parse/lib/sync", "moment", "other", "side", "soap", "tough-cookie"]);
    }

    #[test]
    fn knex_comes_with_the_module_that_has_it() {
        assert_eq!(names("const u = require('cxUserspace'); u.knex('db', 't')"), ["cxUserspace", "knex"]);
        assert_eq!(names("const u = require('cxUserspace'); u.read('a', 'b')"), ["cxUserspace"]);
    }

    #[test]
    fn names_that_are_made_up_are_noticed() {
        for source in ["require(name)", "await import( `./${name}` )", "require('./' + name)"] {
            assert!(computes_names(source), "{source}");
        }
        for source in ["require('a'), require(\"b\"), import(`c`)", "import a from 'a'", "function main() {}", "require()"] {
            assert!(!computes_names(source), "{source}");
        }
    }

    #[test]
    fn a_package_is_the_first_part_of_its_modules_names() {
        for (module, package) in [("axios", "axios"), ("csv-parse/lib/sync", "csv-parse"), ("@a/b/c", "@a/b"), ("@a/b", "@a/b")] {
            assert_eq!(package_of(module), package);
        }
    }
}
