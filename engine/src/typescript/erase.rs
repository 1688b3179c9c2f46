//! Finds what is only there for types, and blanks it out.

use std::collections::BTreeSet;

use oxc_ast::ast::*;
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::{ScopeFlags, Scoping};
use oxc_span::{GetSpan, Span};

/// Words before the name of a class member that say nothing at run time.
const MODIFIERS: &[&str] = &["public", "protected", "private", "readonly", "override", "abstract", "declare"];

/// The text of `program` without its types.
///
/// # Errors
/// Everything that has a meaning at run time which JavaScript cannot express in its place.
pub(crate) fn erase(source: &str, program: &Program<'_>, scoping: &Scoping) -> Result<String, Vec<(Span, String)>> {
    let mut eraser =
        Eraser { source, scoping, text: source.as_bytes().to_vec(), refusals: Vec::new(), statement_starts: BTreeSet::new() };
    eraser.visit_program(program);
    if !eraser.refusals.is_empty() {
        return Err(eraser.refusals);
    }
    // Only whole characters were replaced, by ASCII.
    Ok(String::from_utf8(eraser.text).unwrap_or_else(|_| source.to_owned()))
}

struct Eraser<'s> {
    source: &'s str,
    scoping: &'s Scoping,
    text: Vec<u8>,
    refusals: Vec<(Span, String)>,
    /// Where a `{`, `function` or `class` would not be read as an expression.
    statement_starts: BTreeSet<u32>,
}

impl Eraser<'_> {
    fn blank(&mut self, span: Span) {
        let (start, end) = (span.start as usize, span.end as usize);
        for (at, c) in self.source.get(start..end).unwrap_or_default().char_indices().filter(|(_, c)| !breaks_line(*c)) {
            if let Some(octets) = self.text.get_mut(start + at..start + at + c.len_utf8()) {
                octets.fill(b' ');
            }
        }
    }

    fn put(&mut self, at: u32, octet: u8) {
        if let Some(place) = self.text.get_mut(at as usize) {
            *place = octet;
        }
    }

    /// Blanks a statement or a class member. The semicolon keeps its neighbours apart where lines were.
    fn blank_whole(&mut self, span: Span) {
        self.blank(span);
        self.put(span.start, b';');
    }

    fn refuse(&mut self, span: Span, message: impl Into<String>) {
        self.refusals.push((span, message.into()));
    }

    fn has_line_break(&self, span: Span) -> bool {
        self.source.get(span.start as usize..span.end as usize).is_some_and(|text| text.contains(breaks_line))
    }

    /// Offset and octet of the first token at or behind `from`.
    fn token(&self, from: u32) -> Option<(u32, u8)> {
        let mut at = from as usize;
        loop {
            let rest = self.source.get(at..)?;
            let first = rest.chars().next()?;
            if first.is_whitespace() || first == '\u{feff}' {
                at += first.len_utf8();
            } else if rest.starts_with("//") {
                at += rest.find(breaks_line)?;
            } else if let Some(comment) = rest.strip_prefix("/*") {
                at += comment.find("*/")? + 4;
            } else {
                return Some((at as u32, *rest.as_bytes().first()?));
            }
        }
    }

    /// Blanks `octet` if it is the next token behind `from`.
    fn blank_token(&mut self, from: u32, octet: u8) {
        if let Some((at, found)) = self.token(from)
            && found == octet
        {
            self.put(at, b' ');
        }
    }

    /// Blanks the words of `words` among the tokens from `from` to `to`; the first of them when it stands at `from`.
    fn blank_words(&mut self, from: u32, to: u32, words: &[&str]) -> Option<u32> {
        let mut at = from;
        let mut leading = None;
        while let Some((start, _)) = self.token(at).filter(|(start, _)| *start < to) {
            let rest = self.source.get(start as usize..to as usize).unwrap_or_default();
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len()).max(1);
            if rest.get(..length).is_some_and(|word| words.contains(&word)) {
                self.blank(Span::new(start, start + length as u32));
                leading = leading.or((start == from).then_some(start));
            }
            at = start + length as u32;
        }
        leading
    }

    /// Blanks what stands before the name of a class member, and the marks behind it.
    fn member(&mut self, span: Span, decorators: &[Decorator<'_>], key: &PropertyKey<'_>, mark: Option<u8>) {
        let start = decorators.last().and_then(|last| self.token(last.span.end)).map_or(span.start, |(at, _)| at);
        if let Some(first) = self.blank_words(start, key.span().start, MODIFIERS) {
            self.put(first, b';');
        }
        if let Some(mark) = mark {
            let mut end = key.span().end;
            // A computed name ends behind its bracket.
            if let Some((at, b']')) = self.token(end) {
                end = at + 1;
            }
            self.blank_token(end, mark);
        }
    }

    /// Blanks the specifiers of an import or export that name types; whether any is left.
    fn specifiers(&mut self, specifiers: &[(Span, bool)]) -> bool {
        if !specifiers.is_empty() && specifiers.iter().all(|(_, is_type)| *is_type) {
            return false;
        }
        for (span, _) in specifiers.iter().filter(|(_, is_type)| *is_type) {
            self.blank(*span);
            self.blank_token(span.end, b',');
        }
        true
    }

    /// Whether a name is used, and only as a type.
    fn is_type_only(&self, local: &BindingIdentifier<'_>) -> bool {
        let mut references = self.scoping.get_resolved_references(local.symbol_id()).peekable();
        references.peek().is_some() && references.all(|reference| !reference.is_value())
    }

    /// A type behind an expression. What follows on another line would become its arguments, its index or its template.
    fn blank_behind(&mut self, expression: Span, whole: Span) {
        let erased = Span::new(expression.end, whole.end);
        self.blank(erased);
        if let Some((next, b'(' | b'[' | b'`')) = self.token(whole.end)
            && self.has_line_break(Span::new(whole.end, next))
        {
            self.put(whole.end.saturating_sub(1), b';');
        }
    }
}

impl<'a> Visit<'a> for Eraser<'_> {
    // ---- types by themselves: nothing in them is looked at ------------------------------------------------------

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.blank(it.span);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.blank(it.span);
    }

    fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
        self.blank(it.span);
    }

    fn visit_ts_this_parameter(&mut self, it: &TSThisParameter<'a>) {
        self.blank(it.span);
        self.blank_token(it.span.end, b',');
    }

    fn visit_ts_index_signature(&mut self, it: &TSIndexSignature<'a>) {
        self.blank_whole(it.span);
    }

    fn visit_ts_type_alias_declaration(&mut self, it: &TSTypeAliasDeclaration<'a>) {
        self.blank_whole(it.span);
    }

    fn visit_ts_interface_declaration(&mut self, it: &TSInterfaceDeclaration<'a>) {
        self.blank_whole(it.span);
    }

    fn visit_ts_external_module_declaration(&mut self, it: &TSExternalModuleDeclaration<'a>) {
        self.blank_whole(it.span);
    }

    fn visit_ts_global_declaration(&mut self, it: &TSGlobalDeclaration<'a>) {
        self.blank_whole(it.span);
    }

    fn visit_ts_namespace_export_declaration(&mut self, it: &TSNamespaceExportDeclaration<'a>) {
        self.blank_whole(it.span);
    }

    // ---- types around expressions -------------------------------------------------------------------------------

    fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
        self.visit_expression(&it.expression);
        self.blank_behind(it.expression.span(), it.span);
    }

    fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
        self.visit_expression(&it.expression);
        self.blank_behind(it.expression.span(), it.span);
    }

    fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
        self.visit_expression(&it.expression);
        self.blank(Span::new(it.expression.span().end, it.span.end));
    }

    fn visit_ts_type_assertion(&mut self, it: &TSTypeAssertion<'a>) {
        let inner = it.expression.span();
        let erased = Span::new(it.span.start, inner.start);
        let text = self.source.get(inner.start as usize..).unwrap_or_default();
        let is_statement = ["{", "function", "class", "async"].iter().any(|word| text.starts_with(word));
        // `return <T>⏎x` would return nothing; `() => <T>{}` would have a body.
        if self.has_line_break(erased) || (is_statement && self.statement_starts.contains(&it.span.start)) {
            self.refuse(it.span, "a type assertion in angle brackets cannot be erased here: write `… as T`");
        }
        self.blank(erased);
        self.visit_expression(&it.expression);
    }

    fn visit_expression_statement(&mut self, it: &ExpressionStatement<'a>) {
        self.statement_starts.insert(it.span.start);
        walk::walk_expression_statement(self, it);
    }

    // ---- functions ----------------------------------------------------------------------------------------------

    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        // An overload, or one that is declared.
        if it.body.is_none() || it.declare {
            self.blank_whole(it.span);
        } else {
            walk::walk_function(self, it, flags);
        }
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        self.statement_starts.insert(it.body.span().start);
        walk::walk_arrow_function_expression(self, it);
        // No line may break before `=>`, nor behind `async`, `return`, `yield` or `throw`: the brackets move to where the types were.
        let params = it.params.span;
        if let Some(types) = &it.return_type
            && self.has_line_break(Span::new(params.end, types.span.end))
        {
            self.put(params.end.saturating_sub(1), b' ');
            self.put(types.span.end.saturating_sub(1), b')');
        }
        if let Some(types) = &it.type_parameters
            && self.has_line_break(Span::new(types.span.start, params.start))
        {
            self.put(params.start, b' ');
            self.put(types.span.start, b'(');
        }
    }

    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        if it.accessibility.is_some() || it.readonly || it.r#override {
            self.refuse(it.span, "a parameter property cannot be erased: declare the field and assign it in the constructor");
        }
        if it.optional {
            self.blank_token(it.pattern.span().end, b'?');
        }
        walk::walk_formal_parameter(self, it);
    }

    // ---- variables, classes, enums, namespaces ------------------------------------------------------------------

    fn visit_variable_declaration(&mut self, it: &VariableDeclaration<'a>) {
        if it.declare {
            self.blank_whole(it.span);
        } else {
            walk::walk_variable_declaration(self, it);
        }
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        if it.definite {
            self.blank_token(it.id.span().end, b'!');
        }
        walk::walk_variable_declarator(self, it);
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        if it.declare {
            return self.blank_whole(it.span);
        }
        if it.r#abstract {
            self.blank_words(it.span.start, it.id.as_ref().map_or(it.body.span.start, |id| id.span.start), &["abstract"]);
        }
        if let Some(last) = it.implements.last() {
            let heritage = it.heritage.as_ref().map(|heritage| {
                let arguments = heritage.type_arguments.as_ref().map(|arguments| arguments.span.end);
                arguments.unwrap_or(heritage.expression.span().end)
            });
            let named = it.type_parameters.as_ref().map(|types| types.span.end).or(it.id.as_ref().map(|id| id.span.end));
            let from = heritage.or(named).unwrap_or(it.span.start);
            self.blank_words(from, last.span.start, &["implements"]);
            for implemented in &it.implements {
                self.blank(implemented.span);
                if implemented.span != last.span {
                    self.blank_token(implemented.span.end, b',');
                }
            }
        }
        walk::walk_class(self, it);
    }

    fn visit_ts_class_implements_list(&mut self, _: &oxc_allocator::Vec<'a, TSClassImplements<'a>>) {}

    fn visit_method_definition(&mut self, it: &MethodDefinition<'a>) {
        if it.value.body.is_none() {
            return self.blank_whole(it.span);
        }
        self.member(it.span, &it.decorators, &it.key, it.optional.then_some(b'?'));
        walk::walk_method_definition(self, it);
    }

    fn visit_property_definition(&mut self, it: &PropertyDefinition<'a>) {
        if it.declare || it.r#type == PropertyDefinitionType::TSAbstractPropertyDefinition {
            return self.blank_whole(it.span);
        }
        let mark = if it.optional { Some(b'?') } else { it.definite.then_some(b'!') };
        self.member(it.span, &it.decorators, &it.key, mark);
        walk::walk_property_definition(self, it);
        // A field called `get` or `static` must not take the next line for what it is.
        if let Some(types) = it.type_annotation.as_ref().filter(|_| it.value.is_none()) {
            self.put(types.span.start, b';');
        }
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        self.refuse(it.span, "`accessor` is not a part of JavaScript yet: write a getter and a setter");
    }

    fn visit_decorator(&mut self, it: &Decorator<'a>) {
        self.refuse(it.span, "decorators are not a part of JavaScript yet");
    }

    fn visit_ts_enum_declaration(&mut self, it: &TSEnumDeclaration<'a>) {
        if !it.declare {
            self.refuse(it.span, format!("enum {0} cannot be erased: write `const {0} = {{ … }} as const`", it.id.name));
        }
        self.blank_whole(it.span);
    }

    fn visit_ts_namespace_declaration(&mut self, it: &TSNamespaceDeclaration<'a>) {
        if !it.declare {
            self.refuse(it.span, format!("namespace {} cannot be erased: write a module of its own", it.id.name));
        }
        self.blank_whole(it.span);
    }

    // ---- imports and exports ------------------------------------------------------------------------------------

    fn visit_import_declaration(&mut self, it: &ImportDeclaration<'a>) {
        let specifiers = it.specifiers.iter().flatten().map(|specifier| {
            let said = matches!(specifier, ImportDeclarationSpecifier::ImportSpecifier(named) if named.import_kind.is_type());
            (specifier.span(), said || self.is_type_only(specifier.local()))
        });
        let specifiers: Vec<_> = specifiers.collect();
        if it.import_kind.is_type() || !self.specifiers(&specifiers) && !specifiers.is_empty() {
            self.blank_whole(it.span);
        }
    }

    fn visit_export_named_declaration(&mut self, it: &ExportNamedDeclaration<'a>) {
        let specifiers: Vec<_> = it.specifiers.iter().map(|named| (named.span, named.export_kind.is_type())).collect();
        if it.export_kind.is_type() || !self.specifiers(&specifiers) && !specifiers.is_empty() {
            self.blank_whole(it.span);
        }
    }

    fn visit_export_from_declaration(&mut self, it: &ExportFromDeclaration<'a>) {
        let specifiers: Vec<_> = it.specifiers.iter().map(|named| (named.span, named.export_kind.is_type())).collect();
        if it.export_kind.is_type() || !self.specifiers(&specifiers) && !specifiers.is_empty() {
            self.blank_whole(it.span);
        }
    }

    fn visit_export_all_declaration(&mut self, it: &ExportAllDeclaration<'a>) {
        if it.export_kind.is_type() {
            self.blank_whole(it.span);
        }
    }

    fn visit_export_declaration(&mut self, it: &ExportDeclaration<'a>) {
        let erased = match &it.declaration {
            Declaration::VariableDeclaration(variables) => variables.declare,
            Declaration::FunctionDeclaration(function) => function.declare || function.body.is_none(),
            Declaration::ClassDeclaration(class) => class.declare,
            Declaration::TSTypeAliasDeclaration(_)
            | Declaration::TSInterfaceDeclaration(_)
            | Declaration::TSExternalModuleDeclaration(_)
            | Declaration::TSGlobalDeclaration(_) => true,
            Declaration::TSEnumDeclaration(declared) => declared.declare,
            Declaration::TSNamespaceDeclaration(namespace) => namespace.declare,
            Declaration::TSImportEqualsDeclaration(_) => false,
        };
        if erased {
            self.blank_whole(it.span);
        } else {
            walk::walk_export_declaration(self, it);
        }
    }

    fn visit_export_default_declaration(&mut self, it: &ExportDefaultDeclaration<'a>) {
        self.statement_starts.insert(it.declaration.span().start);
        match &it.declaration {
            ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => self.blank_whole(it.span),
            ExportDefaultDeclarationKind::FunctionDeclaration(function) if function.body.is_none() => self.blank_whole(it.span),
            _ => walk::walk_export_default_declaration(self, it),
        }
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &TSImportEqualsDeclaration<'a>) {
        if !it.import_kind.is_type() {
            self.refuse(it.span, "`import … = …` cannot be erased: write `import … from '…'`");
        }
        self.blank_whole(it.span);
    }

    fn visit_ts_export_assignment(&mut self, it: &TSExportAssignment<'a>) {
        self.refuse(it.span, "`export =` cannot be erased: write `export default`");
    }
}

fn breaks_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}
