//! Operations whose promise nobody listens to: they run all the same, in program order, but nobody learns how they ended, and
//! the script does not wait.

use std::collections::BTreeSet;

use oxc_semantic::Semantic;

use super::Remark;
use super::calls::{Calls, OperationCall};
use super::fate::{Fate, Lost, follow};

/// Finds them, in the order of the text; in a callback that nobody waits for, the first.
pub(super) fn find(semantic: &Semantic<'_>, calls: &Calls) -> Vec<Remark> {
    let mut callbacks = BTreeSet::new();
    let lost = calls.iter().filter_map(|(node, call)| Some((call, follow(semantic, node)?)));
    lost.filter(|(_, fate)| fate.callback.is_none_or(|callback| callbacks.insert(callback)))
        .map(|(call, fate)| (call.span, sentence(call, fate)))
        .collect()
}

fn sentence(call: &OperationCall, fate: Fate) -> String {
    let operation = call.display();
    let wrong = match fate.callback {
        Some(_) => "is awaited in a callback that nobody waits for",
        None => "is not awaited",
    };
    let why = match fate.lost {
        Lost::Dropped => return format!("{operation} {wrong}"),
        Lost::ArrayDropped => "an array of promises is thrown away".to_owned(),
        Lost::ArrayAwaited => "`await` does not wait for what an array holds; use Promise.all".to_owned(),
        Lost::Unread(name) => format!("`{name}` is never used"),
        Lost::Ignored(by) => format!("{by} ignores what its callback returns"),
        Lost::Misused(how) => how,
        Lost::Tested(how) => how.to_owned(),
    };
    format!("{operation} {wrong}: {why}")
}

#[cfg(test)]
mod tests {
    use crate::check::{Code, Modules, check};

    /// Findings of a body of `async main(data, ctx)`.
    fn floating(body: &str) -> Vec<String> {
        let source = format!("async function main(data, ctx) {{ {body} }}");
        let findings = check("a.js", &source, &Modules::none());
        assert!(findings.iter().all(|finding| finding.code == Code::Floating), "{findings:?}");
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_operation_on_its_own_floats() {
        assert_eq!(floating("ctx.play('a.wav'); await ctx.hangup();"), ["ctx.play() is not awaited"]);
    }

    #[test]
    fn what_is_awaited_returned_passed_on_or_waived_does_not() {
        for body in [
            "await ctx.play('a')",
            "return ctx.play('a')",
            "void ctx.play('a')",
            "ctx.play('a').then(() => {})",
            "ctx.play('a').catch(console.error)",
            "await Promise.all([ctx.play('a'), ctx.record('x')])",
            "const p = ctx.play('a'); await p",
            "let p; p = ctx.play('a'); await p",
            "const all = [ctx.play('a')]; await Promise.all(all)",
            "data.p = ctx.play('a')",
            "log(ctx.play('a'))",
            "const { status } = await ctx.ivr('a', 5, 1, 1)",
            "await (data.x ? ctx.play('a') : ctx.say('b'))",
            "for (const f of data.files) await ctx.play(f)",
            "await Promise.all(data.files.map((f) => ctx.play(f)))",
            "const hello = () => ctx.play('a'); await hello()",
            "let r = ctx.ivr('a', 5, 1, 1); r = await r; log(r.status)",
            "let p; await (p = ctx.play('a'))",
            "const p = ctx.play('a'); if (data.x) p.catch(log); else log(p.reason)",
            "const p = ctx.play('a'); data.list.forEach(async () => { await p; })",
            "let playing; ctx.on('dtmf', () => { if (!playing) playing = ctx.play('a'); })",
            "let a = ctx.play('a'), b = a; a = b; b = a",
            "await (ctx.play('a') || data.x)",
        ] {
            assert_eq!(floating(body), [""; 0], "{body}");
        }
    }

    #[test]
    fn settings_need_no_await() {
        assert_eq!(
            floating("ctx.set('a', 'b'); ctx.blockDtmf(); ctx.header('X-A', '1'); ctx.log('x'); ctx.on('dtmf', () => {})"),
            [""; 0]
        );
    }

    #[test]
    fn nested_functions_and_branches_are_seen() {
        assert_eq!(floating("const f = async () => { ctx.play('a'); }; await f();").len(), 1);
        assert_eq!(floating("if (data.x) ctx.play('a'); else ctx.play('b');").len(), 2);
        assert_eq!(floating("data.x && ctx.play('a');").len(), 1);
        assert_eq!(floating("data.x ? ctx.play('a') : ctx.play('b');").len(), 2);
        assert_eq!(floating("try { ctx.play('a') } finally { ctx.hangup() }").len(), 2);
        assert_eq!(floating("[ctx.play('a')];").len(), 1);
    }

    #[test]
    fn callbacks_whose_result_is_ignored_float() {
        assert_eq!(
            floating("data.files.forEach((f) => ctx.play(f));"),
            ["ctx.play() is not awaited: forEach ignores what its callback returns"]
        );
        assert_eq!(floating("ctx.on('dtmf', () => { return ctx.hangup(); });").len(), 1);
        assert_eq!(floating("setTimeout(() => ctx.hangup(), 1000);").len(), 1);
    }

    #[test]
    fn a_promise_in_place_of_its_result_floats() {
        assert_eq!(
            floating("const s = ctx.ivr('a', 5, 1, 1).status;"),
            ["ctx.ivr() is not awaited: a promise has no `status`; await it first"]
        );
        assert_eq!(floating("if (ctx.play('a')) {}"), ["ctx.play() is not awaited: a promise is always true"]);
        assert_eq!(floating("const { status } = ctx.ivr('a', 5, 1, 1);").len(), 1);
        assert_eq!(floating("const p = ctx.play('a');"), ["ctx.play() is not awaited: `p` is never used"]);
    }

    #[test]
    fn a_variable_is_not_listened_to_by_reading_members_of_it() {
        assert_eq!(
            floating("const res = ctx.ivr('a', 5, 1, 1); if (res.status === 'success') data.z = res.value;"),
            ["ctx.ivr() is not awaited: a promise has no `status`; await it first"]
        );
        for body in [
            "let res; res = ctx.ivr('a', 5, 1, 1); log(res.value)",
            "const res = ctx.ivr('a', 5, 1, 1); log(res?.value, res['status'])",
            "const res = ctx.ivr('a', 5, 1, 1); const { status } = res",
            "const res = ctx.ivr('a', 5, 1, 1), again = res; log(again.value)",
            "for (const f of data.files) { const r = ctx.play(f); if (r.reason) break; }",
            "const key = ctx.waitFor('1'); if (key === '1') log('one')",
            "const p = ctx.play('a'); if (p) log('played')",
        ] {
            assert_eq!(floating(body).len(), 1, "{body}");
        }
    }

    #[test]
    fn an_array_of_promises_wants_promise_all() {
        let awaited = "ctx.play() is not awaited: `await` does not wait for what an array holds; use Promise.all";
        assert_eq!(floating("await data.files.map((f) => ctx.play(f));"), [awaited]);
        assert_eq!(
            floating("data.files.map((f) => ctx.play(f));"),
            ["ctx.play() is not awaited: an array of promises is thrown away"]
        );
        assert_eq!(
            floating("const later = data.files.map((f) => ctx.play(f));"),
            ["ctx.play() is not awaited: `later` is never used"]
        );
        for body in [
            "await [ctx.play('a')]",
            "const all = [ctx.play('a')]; await all",
            "const all = data.files?.map(function (f) { return ctx.play(f); }); await all",
            "await Array.from(data.files, (f) => ctx.play(f))",
            "await data.files.flatMap((f) => [ctx.play(f)])",
            "data.files.forEach((f) => [ctx.play(f)])",
        ] {
            assert_eq!(floating(body).len(), 1, "{body}");
        }
        for body in [
            "await Promise.all(data.files?.map((f) => ctx.play(f)) ?? [])",
            "const all = data.files.map((f) => ctx.play(f)); log(all.length); await Promise.all(all)",
            "const all = data.files.map((f) => ctx.play(f)); for (const p of all) await p",
            "for (const p of data.files.map((f) => ctx.play(f))) await p",
            "await Promise.all([ctx.play('a'), ctx.say('b')].map((p) => p.catch(log)))",
            "void data.files.map((f) => ctx.play(f))",
            "await Promise.map(data.files, (f) => ctx.play(f))",
            "const [a, b] = [ctx.play('a'), ctx.play('b')]; await a; await b",
            "const [a, b] = data.files.map((f) => ctx.play(f)); await a; await b",
        ] {
            assert_eq!(floating(body), [""; 0], "{body}");
        }
    }

    #[test]
    fn an_async_callback_is_itself_to_be_waited_for() {
        assert_eq!(
            floating("data.files.forEach(async (f) => { await ctx.play(f); await ctx.say('next'); });"),
            ["ctx.play() is awaited in a callback that nobody waits for: forEach ignores what its callback returns"]
        );
        assert_eq!(
            floating("await data.files.map(async (f) => { await ctx.play(f); });"),
            [
                "ctx.play() is awaited in a callback that nobody waits for: `await` does not wait for what an array holds; use Promise.all"
            ]
        );
        assert_eq!(floating("const r = data.files.map(async (f) => { await ctx.play(f); });").len(), 1);
        for body in [
            "await Promise.all(data.files.map(async (f) => { await ctx.play(f); }))",
            "ctx.on('dtmf', async () => { await ctx.hangup(); })",
            "setTimeout(async () => { await ctx.hangup(); }, 1000)",
            "const go = async () => { await ctx.play('a'); }; await go()",
        ] {
            assert_eq!(floating(body), [""; 0], "{body}");
        }
    }

    #[test]
    fn other_names_for_ctx_are_followed() {
        assert_eq!(floating("const call = ctx; call.play('a');").len(), 1);
        assert_eq!(floating("const { play, say: speak } = ctx; play('a'); speak('b');").len(), 2);
        assert_eq!(floating("ctx?.play('a');").len(), 1);
        assert_eq!(floating("ctx['play']('a');").len(), 1);
        assert_eq!(floating("this.ctx.play('a');").len(), 1);
    }

    #[test]
    fn both_dialects_are_known() {
        let classic = "function main(data, call) { call.play('a'); }";
        let module = "import Server from 'cxC5Server'; const c = new Server(process.env.CORRELATION_ID); export async function main() { c.play('a'); }";
        let required = "const C5 = require('cxC5Server'); const c = new C5(); c.play('a');";
        for source in [classic, module, required] {
            let findings = check("a.js", source, &Modules::none());
            assert_eq!(findings.len(), 1, "{source}: {findings:?}");
        }
    }

    #[test]
    fn what_only_looks_like_an_operation_is_left_alone() {
        assert_eq!(floating("player.play('a'); data.answer(); play('x'); /* ctx.play() */ log('ctx.play()');"), [""; 0]);
    }
}
