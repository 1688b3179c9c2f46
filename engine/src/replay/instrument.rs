//! Laying a script's variables open: every scope hands out functions that read its variables.
//!
//! ```text
//!   async function main(data, ctx) { const choice = …        the script
//!   async function main(data, ctx) {;globalThis.__lockstepScope?.("menu.js:1 main",{"data":()=>data,…}); const choice = …
//! ```
//!
//! Nothing is read until a turn has ended, so that the script runs as it would. Lines stay what they are; columns do not, which is
//! why operations are looked at in a run of the plain text.

use lockstep_ctx_api::wire::Bundle;
use oxc_allocator::Allocator;
use oxc_ast::ast::{
    ArrowFunctionBody, ArrowFunctionExpression, BindingIdentifier, BlockStatement, Class, Declaration, ForInStatement,
    ForOfStatement, ForStatement, FormalParameters, Function, FunctionBody, Program, Statement,
};
use oxc_ast_visit::{Visit, walk};
use oxc_parser::Parser;
use oxc_semantic::ScopeFlags;
use oxc_span::SourceType;

use crate::check::line_column;

/// The function that tells all variables, as JSON: scope → name → value.
pub(super) const VARIABLES: &str = "__lockstepVariables";
/// Scopes of one text that are laid open.
const MAX_SCOPES: usize = 1_000;

/// Defines what the scopes call. Shows data only: no getter of the script is run.
const HELPER: &str = "globalThis.__lockstepScope??=(()=>{const s={__proto__:null};\
const cut=(t)=>t.length>200?t.slice(0,200)+'\u{2026}':t;\
const show=(v,d)=>{switch(typeof v){case 'string':return cut(JSON.stringify(v));case 'bigint':return v+'n';\
case 'function':return '[function '+(v.name||'anonymous')+']';case 'object':break;default:return String(v)}\
if(v===null)return 'null';const t=Object.prototype.toString.call(v).slice(8,-1);\
if(t==='Date')return Number.isNaN(+v)?'Invalid Date':v.toISOString();if(t==='RegExp')return String(v);\
if(v instanceof Error)return cut(v.name+': '+v.message);\
if(t!=='Object'&&t!=='Array')return '['+t+']';if(d<0)return '['+t+']';\
const p=Object.getOwnPropertyDescriptors(v);const out=[];\
for(const k of Object.keys(v)){if(out.length===20){out.push('\u{2026}');break}\
const x='value' in p[k]?show(p[k].value,d-1):'[getter]';out.push(t==='Array'?x:(/^[A-Za-z_$][\\w$]*$/.test(k)?k:JSON.stringify(k))+': '+x)}\
return t==='Array'?'['+out.join(', ')+']':out.length?'{ '+out.join(', ')+' }':'{}'};\
globalThis.__lockstepVariables=()=>{const all={};for(const k in s){const o=all[k]={};\
for(const n in s[k]){try{o[n]=cut(show(s[k][n](),2))}catch{}}}return JSON.stringify(all)};\
return(k,g)=>{s[k]=g}})();";

/// The bundle with the variables of its scripts laid open; `None` when a text does not parse.
pub(super) fn bundle(plain: &Bundle) -> Option<Bundle> {
    let mut open = plain.clone();
    for (file, source) in &mut open.files {
        *source = text(file, source)?.into();
    }
    Some(open)
}

fn text(file: &str, source: &str) -> Option<String> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::mjs()).parse();
    let parsed =
        if parsed.diagnostics.has_errors() { Parser::new(&allocator, source, SourceType::cjs()).parse() } else { parsed };
    if parsed.diagnostics.has_errors() {
        return None;
    }
    let mut scopes = Scopes { file, source, function: String::new(), outer: Vec::new(), found: Vec::new() };
    scopes.visit_program(&parsed.program);
    let mut found = scopes.found;
    found.sort_by_key(|(offset, _)| *offset);
    let mut text = String::with_capacity(source.len() + HELPER.len());
    let mut taken = 0;
    for (offset, inserted) in found {
        text.push_str(source.get(taken..offset)?);
        text.push_str(&inserted);
        taken = offset;
    }
    text.push_str(source.get(taken..)?);
    Some(text)
}

struct Scopes<'s> {
    file: &'s str,
    source: &'s str,
    /// The name of the function that is looked at.
    function: String,
    /// Variables that the block to come has from the statement it is of.
    outer: Vec<String>,
    /// Where what is inserted.
    found: Vec<(usize, String)>,
}

impl Scopes<'_> {
    fn open(&mut self, offset: u32, mut names: Vec<String>, before: &str) {
        let offset = offset as usize;
        names.dedup();
        let mut inserted = format!(";{before}");
        if !names.is_empty() && self.found.len() < MAX_SCOPES {
            let (line, _) = line_column(self.source, offset);
            let scope = format!("{}:{line} {}", self.file, self.function);
            let getters: Vec<String> = names.iter().map(|name| format!("\"{name}\":()=>{name}")).collect();
            let scope = serde_json::Value::String(scope.trim_end().to_owned());
            inserted.push_str(&format!("globalThis.__lockstepScope?.({scope},{{{}}});", getters.join(",")));
        }
        if inserted.len() > 1 {
            self.found.push((offset, inserted));
        }
    }

    fn in_function(&mut self, name: Option<String>, visit: impl FnOnce(&mut Self)) {
        let name = name.unwrap_or_else(|| if self.function.is_empty() { String::new() } else { format!("{} ⟩", self.function) });
        let before = std::mem::replace(&mut self.function, name);
        visit(self);
        self.function = before;
    }

    fn body(&mut self, parameters: &FormalParameters<'_>, body: &FunctionBody<'_>) {
        let mut names = Names::default();
        names.visit_formal_parameters(parameters);
        names.statements(&body.statements);
        let offset = body.directives.last().map_or(body.span.start + 1, |directive| directive.span.end);
        self.open(offset, names.0, "");
    }
}

impl<'a> Visit<'a> for Scopes<'_> {
    fn visit_program(&mut self, program: &Program<'a>) {
        let mut names = Names::default();
        names.statements(&program.body);
        let start = program.hashbang.as_ref().map_or(0, |hashbang| hashbang.span.end);
        let offset = program.directives.last().map_or(start, |directive| directive.span.end);
        // What stands behind `#!…` is a comment.
        if program.hashbang.is_none() {
            self.open(offset, names.0, HELPER);
        }
        walk::walk_program(self, program);
    }

    fn visit_function(&mut self, function: &Function<'a>, flags: ScopeFlags) {
        self.in_function(function.id.as_ref().map(|id| id.name.to_string()), |scopes| {
            if let Some(body) = &function.body {
                scopes.body(&function.params, body);
            }
            walk::walk_function(scopes, function, flags);
        });
    }

    fn visit_arrow_function_expression(&mut self, arrow: &ArrowFunctionExpression<'a>) {
        self.in_function(None, |scopes| {
            if let ArrowFunctionBody::FunctionBody(body) = &arrow.body {
                scopes.body(&arrow.params, body);
            }
            walk::walk_arrow_function_expression(scopes, arrow);
        });
    }

    fn visit_block_statement(&mut self, block: &BlockStatement<'a>) {
        let mut names = Names(std::mem::take(&mut self.outer));
        names.statements(&block.body);
        self.open(block.span.start + 1, names.0, "");
        walk::walk_block_statement(self, block);
    }

    fn visit_for_statement(&mut self, statement: &ForStatement<'a>) {
        if matches!(statement.body, Statement::BlockStatement(_)) {
            let mut names = Names::default();
            if let Some(init) = &statement.init {
                names.visit_for_statement_init(init);
            }
            self.outer = names.0;
            self.visit_statement(&statement.body);
        } else {
            walk::walk_for_statement(self, statement);
        }
    }

    fn visit_for_of_statement(&mut self, statement: &ForOfStatement<'a>) {
        if matches!(statement.body, Statement::BlockStatement(_)) {
            let mut names = Names::default();
            names.visit_for_statement_left(&statement.left);
            self.visit_expression(&statement.right);
            self.outer = names.0;
            self.visit_statement(&statement.body);
        } else {
            walk::walk_for_of_statement(self, statement);
        }
    }

    fn visit_for_in_statement(&mut self, statement: &ForInStatement<'a>) {
        if matches!(statement.body, Statement::BlockStatement(_)) {
            let mut names = Names::default();
            names.visit_for_statement_left(&statement.left);
            self.outer = names.0;
            self.visit_statement(&statement.body);
        } else {
            walk::walk_for_in_statement(self, statement);
        }
    }
}

/// The variables that statements of one scope declare.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn statements(&mut self, statements: &[Statement<'_>]) {
        for statement in statements {
            match statement {
                Statement::VariableDeclaration(declaration) => self.visit_variable_declaration(declaration),
                Statement::ExportDeclaration(export) => {
                    if let Declaration::VariableDeclaration(declaration) = &export.declaration {
                        self.visit_variable_declaration(declaration);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_binding_identifier(&mut self, identifier: &BindingIdentifier<'a>) {
        self.0.push(identifier.name.to_string());
    }

    // What is declared in there is not of this scope.
    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}
    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}
    fn visit_class(&mut self, _: &Class<'a>) {}
}
