//! A picture of what a script does with a call: its operations, and the ways it can go between them.
//!
//! [`chart`] reads the flow out of the syntax tree; [`layout`] gives everything its place; [`svg`] draws it. With the counts of
//! `lockstep test --coverage`, ways that no test has taken are marked.

mod chart;
mod expression;
mod label;
mod layout;
mod svg;

use crate::coverage::{Counts, Instrumented};

pub(crate) use svg::draw;

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chart {
    pub title: String,
    /// How the script is reached, if its text says so.
    pub subtitle: String,
    /// `main`, then functions with operations of their own.
    pub functions: Vec<Function>,
    /// Whether there are counts.
    pub is_covered: bool,
}

/// A function of the script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    pub name: String,
    pub body: Vec<Step>,
    pub count: Option<u64>,
}

/// One thing after another. `count`: how often it was come to, where that was counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Operation(Operation),
    /// Ways that part, and meet again unless they end.
    Fork {
        question: String,
        line: u32,
        ways: Vec<Way>,
        count: Option<u64>,
    },
    Loop {
        what: String,
        line: u32,
        body: Vec<Step>,
        entered: Option<u64>,
        count: Option<u64>,
    },
    /// What may fail, and what happens then.
    Guarded {
        body: Vec<Step>,
        handler: Way,
        line: u32,
    },
    /// Here the way ends.
    End {
        what: String,
        line: u32,
        count: Option<u64>,
        kind: EndKind,
    },
}

/// How a way ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndKind {
    /// The script, or the function, is over.
    Return,
    Throw,
    /// The loop is left.
    Break,
    /// The loop begins anew.
    Continue,
}

/// What a script asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    pub name: String,
    pub detail: String,
    pub line: u32,
    pub kind: OperationKind,
    pub count: Option<u64>,
    /// What the operation is asked for depends on these.
    pub choices: Vec<Choice>,
}

/// What an operation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationKind {
    Call,
    /// Ends or hands on the call.
    Final,
    /// A service or another host.
    Host,
    /// A function of the script, drawn on its own.
    Function,
}

/// A choice within an operation: each way, and whether it was taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub question: String,
    pub ways: Vec<(String, Option<u64>)>,
}

/// One of several ways.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    pub label: String,
    pub steps: Vec<Step>,
    pub count: Option<u64>,
}

impl Way {
    /// Steps of a way run no more often than it is taken: a tracefile counts by lines, and a line may hold the question, too.
    fn new(label: &str, steps: Vec<Step>, count: Option<u64>) -> Self {
        let steps = steps.into_iter().map(|step| step.at_most(count)).collect();
        Self { label: label.to_owned(), steps, count }
    }
}

impl Step {
    fn at_most(mut self, most: Option<u64>) -> Self {
        let count = match &mut self {
            Self::Operation(operation) => &mut operation.count,
            Self::Fork { count, .. } | Self::Loop { count, .. } | Self::End { count, .. } => count,
            Self::Guarded { .. } => return self,
        };
        *count = count.zip(most).map(|(count, most)| count.min(most)).or(*count);
        self
    }
}

/// The chart of a script; `None` when its text does not parse. `made` says where it divides, `counts` what its tests have reached.
pub(crate) fn chart(file: &str, source: &str, made: &Instrumented, counts: Option<&Counts>) -> Option<Chart> {
    chart::read(file, source, made, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::instrument;

    fn drawn(source: &str) -> Chart {
        let made = instrument("a.js", source, 0).expect("it parses");
        chart("a.js", source, &made, None).expect("it parses")
    }

    /// The steps in words.
    fn told(steps: &[Step]) -> String {
        let told = steps.iter().map(|step| match step {
            Step::Operation(one) => format!("{} {}", one.name, one.detail).trim().to_owned(),
            Step::Fork { question, ways, .. } => {
                let ways: Vec<String> = ways.iter().map(|way| format!("{}: {}", way.label, told(&way.steps))).collect();
                format!("{question} [{}]", ways.join(" | "))
            }
            Step::Loop { what, body, .. } => format!("{what} ({})", told(body)),
            Step::Guarded { body, handler, .. } => format!("try {{{}}} or {{{}}}", told(body), told(&handler.steps)),
            Step::End { what, .. } => what.clone(),
        });
        told.collect::<Vec<_>>().join(", ")
    }

    fn main(body: &str) -> String {
        let chart = drawn(&format!("export async function main(data, ctx) {{\n{body}\n}}"));
        told(&chart.functions[0].body)
    }

    #[test]
    fn a_menu_has_a_way_for_each_key() {
        let body = "await ctx.answer(); const { value } = await ctx.ivr('menu.wav', 5, 1, 1);
            switch (value) { case '1': case '2': await ctx.bridge('1001'); break; case '9': await ctx.hangup(); return; }
            await ctx.play('bye.wav');";
        assert_eq!(
            main(body),
            "answer, ivr 'menu.wav', value? ['1', '2': bridge '1001' | '9': hangup, return | otherwise: ], play 'bye.wav'"
        );
    }

    #[test]
    fn a_script_without_a_main_may_return() {
        let chart = drawn("if (vars.from === '0') { ctx.play('no.wav'); return; }\nctx.play('yes.wav');\n");
        assert_eq!(chart.functions[0].name, "when it is loaded");
    }

    #[test]
    fn loops_failures_and_ends_are_told_apart() {
        let body = "for (let i = 0; i < 3; i += 1) { if (await kv.get('x')) break; await ctx.play('a.wav'); }
            try { await ctx.bridge(to); } catch (error) { throw error; }
            await ctx.tts('x').catch(() => ctx.play('b.wav'));";
        assert_eq!(
            main(body),
            "while i < 3 (kv.get 'x', await kv.get('x')? [yes: leave the loop | no: ], play 'a.wav'), \
             try {bridge to} or {throw error}, try {tts 'x'} or {play 'b.wav'}"
        );
    }

    #[test]
    fn what_is_asked_for_may_depend_on_a_key() {
        let chart =
            drawn("const MENU = { 1: 'a', 2: 'b' };\nexport async function main(data, ctx) { await ctx.bridge(MENU[data.k]); }");
        let Step::Operation(bridge) = &chart.functions[0].body[0] else { panic!("{chart:?}") };
        let keys: Vec<&str> = bridge.choices[0].ways.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["1", "2"]);
    }

    #[test]
    fn functions_with_operations_are_drawn_on_their_own_and_others_are_not() {
        let chart = drawn(
            "function twice(x) { return x * 2; }\nasync function ask(ctx) { await ctx.play('a.wav'); }\n\
             module.exports = { main: async (data, ctx) => { await ask(ctx); ctx.on('dtmf', () => stop.abort()); } };",
        );
        let names: Vec<&str> = chart.functions.iter().map(|function| function.name.as_str()).collect();
        assert_eq!(names, ["main", "ask"]);
        assert!(matches!(&chart.functions[0].body[0], Step::Operation(ask) if ask.kind == OperationKind::Function), "{chart:?}");
    }

    #[test]
    fn a_way_that_no_test_took_is_marked() {
        let source = "export async function main(data, ctx) {\n  if (data.x) {\n    await ctx.play('<a>&.wav');\n  }\n  await ctx.hangup();\n}\n";
        let made = instrument("a.js", source, 0).unwrap();
        let yes = made.branches[0].arms[0].mark;
        let plays = made.statements.iter().find(|statement| statement.line == 3).unwrap().mark;
        let counts = Counts::from_fn(made.marks, |mark| u64::from(mark != yes && mark != plays));
        let svg = draw(&chart("a.js", source, &made, Some(&counts)).unwrap());
        assert!(svg.contains("yes · never") && svg.contains("no ×1"), "{svg}");
        assert!(svg.contains("&#39;&lt;a&gt;&amp;.wav") || svg.contains("'&lt;a&gt;&amp;.wav'"), "{svg}");
        assert_eq!(svg.matches("class=\"call missed\"").count(), 1);
    }
}
