//! TypeScript runs as JavaScript: what is only there for types is blanked out.
//!
//! Every octet of it becomes a space and every line break stays, so that lines and columns of errors, logs and timelines are those
//! of the file. What would need code of its own (enums, namespaces, parameter properties) is refused.

mod apart;
mod erase;

use lockstep_ctx_api::wire::Location;
use oxc_allocator::Allocator;
use oxc_parser::Parser;
use oxc_semantic::SemanticBuilder;

use crate::check::{line_column, parsing, source_type};

pub(crate) use apart::{bound_process, serve, strip_apart};
pub(crate) use erase::erase;

/// Whether a file holds TypeScript, by its name.
pub(crate) fn is_typescript(file: &str) -> bool {
    file.ends_with(".ts")
}

/// Why a text cannot be run, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) at: Location,
    pub(crate) message: String,
}

/// The JavaScript in `source`, octet for octet where it was, of a file of either language.
///
/// # Errors
/// The first thing in the text that does not parse, or cannot be erased.
pub(crate) fn strip(file: &str, source: &str) -> Result<String, Refused> {
    let refused = |offset: u32, message: String| {
        let (line, column) = line_column(source, offset as usize);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Refused { at: Location { file: file.into(), line: number(line), column: number(column) }, message }
    };
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, source_type(file)).with_options(parsing()).parse();
    if let Some(error) = parsed.diagnostics.errors().next() {
        let offset = error.labels.first().map_or(0, |label| label.offset());
        return Err(refused(offset, format!("SyntaxError: {}", error.message)));
    }
    let scoping = SemanticBuilder::new_compiler().build(&parsed.program).semantic.into_scoping();
    erase(source, &parsed.program, &scoping).map_err(|refusals| {
        let (span, message) = refusals.into_iter().min_by_key(|(span, _)| span.start).unwrap_or_default();
        refused(span.start, message)
    })
}

#[cfg(test)]
mod tests;
