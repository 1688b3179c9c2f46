//! What a caller hears until somebody is joined, and what goes out with the INVITE.

use super::*;

const RINGING: &str = "await call.hears({ tone: '440+480' }, { at_least_ms: 500, timeout_ms: 2_500 });";
const EARLY_MEDIA: &str = "await call.hears({ tone: 600 }, { at_least_ms: 500 });";

/// Three who send audio before they answer: one is busy, one does not answer, one accepts by a key. And one who says what came.
const FAR_ENDS: [(&str, &str); 4] = [
    ("201", "async function main(data, ctx) { await ctx.play('tone:600,1000/0'); await ctx.reject(486); }"),
    ("202", "async function main(data, ctx) { await ctx.play('tone:700,5000/0'); await ctx.reject(480); }"),
    (
        "203",
        "async function main(data, ctx) {
          await ctx.play('tone:600,1000/0');
          await ctx.answer();
          await ctx.play('tone:880,2000/0');
          await ctx.sendDtmf('1');
          await ctx.play('tone:1200,1000/0');
        }",
    ),
    ("204", "async function main(data, ctx) { await ctx.reject(486, data.headers['X-A']); }"),
];

/// A test in which 1000 answers and does this.
#[track_caller]
fn passes(script: &str, body: &str) {
    let script = format!("async function main(data, ctx) {{ await ctx.answer(); {script} }}");
    let scripts: Vec<_> = [("1000", script.as_str())].into_iter().chain(FAR_ENDS).collect();
    let file = file_of(project_of(programs(&scripts)), &format!("test('it', async () => {{\n{body}\n}});")).expect("it loads");
    let report = run_one(&file, 0, &Plan::default());
    assert!(matches!(report.verdict, Verdict::Passed), "{script}\n{}", tap(1, &report));
}

/// A test in which a phone rings and declines after what `body` expects of the caller.
#[track_caller]
fn rings(script: &str, body: &str) {
    let body = format!(
        "const agent = phone.register('1001'); await agent.registered();
         const call = await phone.dial('1000');
         const b = await agent.incoming(); await b.ring();
         {body}
         await b.reject(486); await call.ended();"
    );
    passes(script, &body);
}

#[test]
fn the_callee_is_not_heard_before_accepting_whatever_it_sent_before_answering() {
    for asks in ["screen: 'tone:300,300/0'", "whisper: 'tone:300,1500/0'"] {
        let joined = "await call.hears({ tone: 1200 }, { at_least_ms: 500 }); await call.ended();";
        passes(&format!("await ctx.bridge('203', {{ {asks} }});"), &format!("{DIALLED} {EARLY_MEDIA} {RINGING} {joined}"));
    }
}

#[test]
fn it_rings_again_after_early_media_that_came_to_nothing() {
    for strategy in ["sequential", "parallel"] {
        let script = format!("await ctx.bridge(['201', '1001'], {{ strategy: '{strategy}' }});");
        rings(&script, &format!("{EARLY_MEDIA} {RINGING}"));
    }
}

#[test]
fn of_two_with_early_media_the_second_is_heard_after_the_first() {
    let other = "await call.hears({ tone: 700 }, { at_least_ms: 500, timeout_ms: 4_000 }); await call.ended();";
    passes("await ctx.bridge(['201', '202']);", &format!("{DIALLED} {EARLY_MEDIA} {other}"));
}

#[test]
fn a_ring_back_that_cannot_be_played_costs_a_warning_and_not_the_ringing() {
    let warned = "expect((await call.logs()).join()).toContain('user/nope.wav');";
    rings("await ctx.bridge('1001', { ringback: 'user/nope.wav' });", &format!("{RINGING} {warned}"));
}

#[test]
fn a_header_waits_for_the_first_invite() {
    let script = "ctx.header('X-Once', 'yes'); await ctx.bridge('1009', true); await ctx.bridge('1001');";
    rings(script, "expect(b.headers['X-Once']).toBe('yes');");
}

#[test]
fn of_a_header_set_in_several_places_the_narrowest_goes_out() {
    let script = "ctx.set('sip_h_X-A', 'broad'); ctx.header('X-A', 'broad');
      const target = { uri: '204', headers: { 'X-A': 'narrow' } };
      const { reason } = await ctx.bridge(target, { headers: { 'x-a': 'middle' }, continue_on: true });
      console.log(reason);";
    passes(script, &format!("{DIALLED} await call.ended(); expect((await call.logs()).join()).toContain('narrow');"));
}
