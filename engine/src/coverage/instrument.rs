//! What a script's text consists of, as far as coverage goes, and the text with marks in it.

use std::collections::BTreeMap;

use lockstep_ctx_api::js::MARK;
use oxc_allocator::Allocator;
use oxc_ast_visit::Visit;
use oxc_parser::Parser;
use oxc_semantic::SemanticBuilder;
use oxc_span::{SourceType, Span};

use super::columns::Columns;
use super::marker::Marker;
use crate::check::{line_column, parsing, source_type};
use crate::typescript;

/// A text with marks, and what they stand for. Marks are numbered from 0, in the order in which the tree is walked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instrumented {
    pub text: String,
    pub(super) columns: Columns,
    pub statements: Vec<Statement>,
    pub branches: Vec<Branch>,
    /// How many marks there are.
    pub marks: u32,
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub mark: u32,
    pub span: Span,
    /// From 1.
    pub line: u32,
}

/// A place where a script goes one of several ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub kind: BranchKind,
    /// Of the whole construct.
    pub span: Span,
    /// From 1.
    pub line: u32,
    pub column: u32,
    pub arms: Vec<Arm>,
    /// For [`BranchKind::Table`]: the mark that is passed with the key.
    pub key_mark: Option<u32>,
}

/// One way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arm {
    pub kind: ArmKind,
    pub mark: u32,
    /// Where it begins, from 1.
    pub line: u32,
}

/// What a branch is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BranchKind {
    If,
    /// `a ? b : c`
    Conditional,
    /// `a && b`, `a || b`, `a ?? b`
    Logical,
    Switch,
    /// `MENU[key]`, where `MENU` is an object written out in the script.
    Table,
    /// The way into a `catch`.
    Catch,
    /// The way into a loop.
    Loop,
}

/// When a way is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArmKind {
    Yes,
    No,
    /// The right-hand side of a logical operator counts.
    Right,
    /// The case of a `switch`, as written.
    Case(String),
    /// None of the cases.
    Default,
    /// The key of a table.
    Key(String),
    Caught,
    Entered,
}

impl std::fmt::Display for ArmKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No => f.write_str("no"),
            Self::Right => f.write_str("right-hand side"),
            Self::Case(value) => write!(f, "case {value}"),
            Self::Default => f.write_str("no case"),
            Self::Key(key) => write!(f, "[{key}]"),
            Self::Caught => f.write_str("caught"),
            Self::Entered => f.write_str("entered"),
        }
    }
}

/// Text that goes into a script's at an octet.
#[derive(Clone, Debug)]
pub(super) enum Insertion {
    /// A mark as a statement; its number.
    Statement(u32),
    /// `(mark, `: a mark before an expression's value.
    Before(u32),
    /// `mark(number, `: around a key.
    Key(u32),
    Text(&'static str),
}

/// Puts marks into a script; `first` is the number that its first mark is passed with. `None` for a text that does not parse.
pub(crate) fn instrument(file: &str, source: &str, first: u32) -> Option<Instrumented> {
    let allocator = Allocator::default();
    // What is left of TypeScript is JavaScript.
    let kind = if typescript::is_typescript(file) { SourceType::unambiguous() } else { source_type(file) };
    let parsed = Parser::new(&allocator, source, kind).with_options(parsing()).parse();
    if parsed.diagnostics.has_errors() {
        return None;
    }
    let scoping = SemanticBuilder::new_compiler().build(&parsed.program).semantic.into_scoping();
    let mut marker = Marker::new(source, &scoping);
    marker.visit_program(&parsed.program);
    let (mut made, insertions) = marker.finish();
    made.apply(source, insertions, first);
    Some(made)
}

impl Instrumented {
    fn apply(&mut self, source: &str, mut insertions: Vec<(u32, Insertion)>, first: u32) {
        // Those at one place stay in the order in which they were found.
        insertions.sort_by_key(|(at, _)| *at);
        let mut text = String::with_capacity(source.len() + insertions.len() * (MARK.len() + 8));
        let mut done = 0;
        for (at, insertion) in insertions {
            let at = at as usize;
            text.push_str(source.get(done..at).unwrap_or_default());
            done = at;
            let inserted = match insertion {
                Insertion::Statement(mark) => format!("{MARK}({});", first + mark),
                Insertion::Before(mark) => format!("({MARK}({}),", first + mark),
                Insertion::Key(mark) => format!("{MARK}({},", first + mark),
                Insertion::Text(text) => text.to_owned(),
            };
            let (line, column) = line_column(source, at);
            self.columns.insert(number(line), number(column), number(inserted.len()));
            text.push_str(&inserted);
        }
        text.push_str(source.get(done..).unwrap_or_default());
        self.text = text;
    }

    /// The keys of tables: the mark passed with the key, then each key with the mark it counts for.
    pub(super) fn keys(&self) -> BTreeMap<u32, Vec<(String, u32)>> {
        let tables = self.branches.iter().filter_map(|branch| Some((branch.key_mark?, &branch.arms)));
        let keys = |arms: &Vec<Arm>| {
            let keys = arms.iter().filter_map(|arm| match &arm.kind {
                ArmKind::Key(key) => Some((key.clone(), arm.mark)),
                _ => None,
            });
            keys.collect()
        };
        tables.map(|(mark, arms)| (mark, keys(arms))).collect()
    }
}

pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with marks, shortened: `§1;` a statement's, `(§1,` an expression's, `§1[` a key's.
    fn marked(source: &str) -> String {
        let made = instrument("a.js", source, 0).expect("it parses");
        (0..made.marks).rev().fold(made.text, |text, mark| {
            text.replace(&format!("({MARK}({mark}),"), &format!("(§{mark},"))
                .replace(&format!("{MARK}({mark});"), &format!("§{mark};"))
                .replace(&format!("{MARK}({mark},"), &format!("§{mark}["))
        })
    }

    #[test]
    fn statements_are_marked_and_declarations_of_functions_are_not() {
        assert_eq!(
            marked("'use strict'\na();\nb()\nfunction f() { return 1 }"),
            "'use strict'\n§0;a();\n§1;b()\nfunction f() { §2;return 1 }"
        );
        assert_eq!(marked("import a from 'a';\nexport const b = 1;"), "import a from 'a';\n§0;export const b = 1;");
    }

    #[test]
    fn both_ways_of_an_if_are_marked_even_one_that_is_not_written() {
        assert_eq!(marked("if (a) b(); else c();"), "§0;if (a) {§1;§3;b();} else {§2;§4;c();}");
        assert_eq!(marked("if (a) { b() }\nc()"), "§0;if (a) {§1; §3;b() }else{§2;}\n§4;c()");
        assert_eq!(marked("if (a) if (b) c()\nelse d()"), "§0;if (a) {§1;§3;if (b) {§4;§6;c()}\nelse {§5;§7;d()}}else{§2;}");
    }

    #[test]
    fn cases_are_marked_and_so_is_none_of_them() {
        assert_eq!(
            marked("switch (a) { case 1: case '2': b(); break; }"),
            "§0;switch (a) { default:§3;break;case 1:§1; case '2': §2;§4;b(); §5;break; }"
        );
        assert_eq!(marked("switch (a) { default: b() }"), "§0;switch (a) { default: §1;§2;b() }");
    }

    #[test]
    fn expressions_are_marked_where_they_divide() {
        assert_eq!(marked("x = a ? b : c"), "§0;x = a ? (§1,b) : (§2,c)");
        assert_eq!(marked("a && b || c"), "§0;a && (§2,b) || (§1,c)");
        assert_eq!(marked("on(x => f(x))"), "§0;on(x => (§1,f(x)))");
    }

    #[test]
    fn keys_of_a_table_are_told_apart() {
        let source = "const MENU = { 1: 'a', two: 'b' };\nf(MENU[key], other[key]);";
        let made = instrument("a.js", source, 0).unwrap();
        assert_eq!(marked(source), "§0;const MENU = { 1: 'a', two: 'b' };\n§1;f(MENU[§2[key)], other[key]);");
        let keys = made.keys();
        assert_eq!(keys[&2].iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["1", "two"]);
    }

    #[test]
    fn loops_and_handlers_are_ways_too() {
        assert_eq!(marked("for (;;) a();"), "§0;for (;;) {§1;§2;a();}");
        assert_eq!(marked("try { a() } catch { b() }"), "§0;try { §1;a() } catch {§2; §3;b() }");
        assert_eq!(marked("again: while (a) { continue again }"), "§0;again: while (a) {§1; §2;continue again }");
    }

    #[test]
    fn places_in_the_marked_text_lead_back() {
        let source = "if (a) b(); else throw new Error('ä' + c);";
        let made = instrument("a.js", source, 0).unwrap();
        for word in ["b()", "throw", "Error", "c)"] {
            let (line, column) = line_column(&made.text, made.text.find(word).unwrap());
            let (_, wanted) = line_column(source, source.find(word).unwrap());
            assert_eq!(made.columns.original(number(line), number(column)), number(wanted), "{word}");
        }
    }

    #[test]
    fn a_text_that_does_not_parse_gets_no_marks() {
        assert_eq!(instrument("a.js", "if (", 0), None);
    }
}
