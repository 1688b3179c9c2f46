//! Where a module's text imports another: QuickJS says what it cannot link, and not where.

/// A static `import … from '…'`, `import '…'` or `export … from '…'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Import<'a> {
    /// What stands between the keyword and the module's name.
    clause: &'a str,
    pub(super) module: &'a str,
    /// Offset of the module's name, in bytes.
    at: usize,
}

impl Import<'_> {
    /// Whether it asks for an export called `name`.
    pub(super) fn asks_for(&self, name: &str) -> bool {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        self.clause.split(|c| !is_part(c)).any(|word| word == name)
            || (name == "default" && self.clause.trim_start().starts_with(is_part))
    }

    /// Line and column, counted from 1; columns in UTF-16 code units.
    pub(super) fn place(&self, source: &str) -> (usize, usize) {
        let before = source.get(..self.at).unwrap_or(source);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.encode_utf16().count() + 1)
    }
}

/// The static imports of a module that compiles, by the look of its text: each begins a statement.
pub(super) fn imports(source: &str) -> impl Iterator<Item = Import<'_>> {
    let mut keywords: Vec<(usize, &str)> = source.match_indices("import").chain(source.match_indices("export")).collect();
    keywords.sort_unstable();
    keywords.into_iter().filter_map(|(at, keyword)| {
        let before = source.get(..at)?.trim_end_matches([' ', '\t', '\u{feff}']);
        if !(before.is_empty() || before.ends_with(['\n', ';', '}'])) {
            return None;
        }
        let rest = source.get(at + keyword.len()..)?;
        let quote_at = rest.find(['\'', '"'])?;
        let (clause, named) = rest.split_at(quote_at);
        let quote = named.chars().next()?;
        let module = named.get(1..)?.split(quote).next()?;
        let is_import = clause.trim_end().ends_with("from") || (keyword == "import" && clause.trim().is_empty());
        is_import.then_some(Import { clause, module, at: at + keyword.len() + quote_at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(&str, (usize, usize))> {
        imports(source).map(|import| (import.module, import.place(source))).collect()
    }

    #[test]
    fn every_form_is_found_at_its_place() {
        let source = "import a, { b as c } from 'one';\nimport \"two\"; export * from 'three'\nimport{d}from'four'\n";
        assert_eq!(found(source), [("one", (1, 27)), ("two", (2, 8)), ("three", (2, 29)), ("four", (3, 14))]);
    }

    #[test]
    fn what_only_looks_like_one_is_not() {
        let source = "// import a from 'one'\nconst from = import('two');\nexport const x = 'three';\n/* import 'four' */\n";
        assert_eq!(found(source), []);
    }

    #[test]
    fn an_import_tells_what_it_asks_for() {
        let import = imports("import a, { b as c } from 'one'").next().unwrap();
        assert!(import.asks_for("b") && import.asks_for("default"));
        assert!(!import.asks_for("bb"));
        assert!(!imports("import * as all from 'one'").next().unwrap().asks_for("default"));
    }
}
