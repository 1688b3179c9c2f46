use lockstep_media::io::{PoolEvent, RecordingError};

use super::lab::{Lab, PhoneId};
use crate::core::handle::{EngineError, Request};

fn call(script: &str) -> (Lab, PhoneId) {
    let mut lab = Lab::new("", &[("1000", script)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    (lab, caller)
}

pub(super) fn logged(lab: &Lab) -> Vec<String> {
    let entries = serde_json::to_value(&lab.past()[0].entries).unwrap();
    let lines = entries.as_array().unwrap().iter().filter(|entry| entry["kind"] == "log");
    lines.map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_silent_script_is_temporarily_unavailable() {
    let (mut lab, caller) = call("function main(data, ctx) {}");
    assert_eq!(lab.seen(caller), ["480 Temporarily Unavailable"]);
}

#[test]
fn a_thrown_reply_is_the_reply() {
    let (mut lab, caller) = call("function main() { throw '404 No Such Menu'; }");
    assert_eq!(lab.seen(caller), ["404 No Such Menu"]);
    let (mut lab, caller) = call("function main() { return Promise.reject([604, 'Number on DNC List']); }");
    assert_eq!(lab.seen(caller), ["604 Number on DNC List"]);
}

#[test]
fn a_thrown_reply_after_the_answer_is_a_bye_with_that_reason() {
    let (mut lab, caller) = call("async function main(data, ctx) { await ctx.answer(); throw new Error('486 Busy Here'); }");
    assert_eq!(lab.seen(caller), ["200", "bye SIP;cause=486;text=\"Busy Here\""]);
}

#[test]
fn any_other_error_is_a_script_error() {
    let (mut lab, caller) = call("function main(data, ctx) { data.missing.field; }");
    assert_eq!(lab.seen(caller), ["500 Script Error"]);
    assert!(logged(&lab)[0].contains("TypeError"), "{:?}", logged(&lab));
}

#[test]
fn what_was_not_awaited_runs_in_order_and_the_log_says_so() {
    let (mut lab, caller) =
        call("async function main(data, ctx) {\n  await ctx.answer();\n  ctx.play('user/x.wav');\n  ctx.hangup();\n}");
    assert_eq!(lab.seen(caller), ["200"]);
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["bye"]);
    let warnings: Vec<String> = logged(&lab).into_iter().filter(|line| line.contains("was not awaited")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("script-1000.js:3") && warnings[0].contains("ctx.play()"), "{warnings:?}");
}

#[test]
fn hanging_up_cuts_off_what_is_awaited() {
    let script = "async function main(data, ctx) {
      await ctx.answer();
      const playing = ctx.play('user/x.wav').catch(error => console.log(error.name));
      await ctx.sleep(0).catch(() => {});
      await playing;
    }
    ";
    let (mut lab, caller) = call(script);
    assert_eq!(lab.seen(caller), ["200"]);
    lab.hang_up(caller);
    assert!(logged(&lab).contains(&"CallEnded".to_owned()), "{:?}", logged(&lab));
}

#[test]
fn code_after_the_end_of_the_call_runs_and_nothing_stays_pending() {
    let script = "async function main(data, ctx) {
      await ctx.answer();
      const cause = await ctx.waitForHangup();
      console.log('ended by', cause.by);
      try { await ctx.play('user/x.wav'); } catch (error) { console.log(error.name); }
    }";
    let (mut lab, caller) = call(script);
    lab.hang_up(caller);
    assert_eq!(logged(&lab), ["ended by caller", "CallEnded"]);
}

#[test]
fn a_script_of_callbacks_goes_on_where_its_operations_lead() {
    let script = "function main(data, ctx) {
      ctx.answer().then(() => ctx.play('user/x.wav')).then(() => console.log('played'));
    }";
    let (mut lab, caller) = call(script);
    assert_eq!(lab.seen(caller), ["200"]);
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["bye"]);
    assert_eq!(logged(&lab), ["played"]);
}

#[test]
fn what_listens_for_the_end_of_the_call_may_do_its_errands_after_main_has_returned() {
    let script = "const { kv } = require('cxKV');
    async function main(data, ctx) {
      ctx.on('hangup', async () => { await kv.set('a', '1'); await kv.set('b', '2'); console.log('saved'); });
      await ctx.answer();
      ctx.play('user/x.wav').catch(() => {});
    }";
    let (mut lab, caller) = call(script);
    lab.hang_up(caller);
    assert_eq!(lab.past().len(), 0);
    lab.services_answer();
    assert_eq!(lab.past().len(), 0);
    lab.services_answer();
    assert_eq!(logged(&lab), ["saved"]);
    is_given_up(script);
}

#[test]
fn what_listens_for_the_end_of_the_call_may_do_its_errands_when_that_has_ended_main() {
    for listen in ["ctx.on('hangup', save)", "ctx.waitForHangup().then(save)", "follow(ctx.events())"] {
        let script = "const { kv } = require('cxKV');
        const save = async () => { await kv.set('a', '1'); await kv.set('b', '2'); console.log('saved'); };
        const follow = async events => { for await (const event of events) if (event.type === 'hangup') await save(); };
        async function main(data, ctx) {
          LISTEN;
          await ctx.answer();
          await ctx.play('user/x.wav', { loop: true });
        }";
        let script = script.replace("LISTEN", listen);
        let (mut lab, caller) = call(&script);
        lab.hang_up(caller);
        assert_eq!(lab.past().len(), 0, "{listen}");
        lab.services_answer();
        assert_eq!(lab.past().len(), 0, "{listen}");
        lab.services_answer();
        assert_eq!(logged(&lab), ["saved"], "{listen}");
        is_given_up(&script);
    }
}

#[test]
fn what_listens_for_the_end_of_the_call_may_do_its_errands_when_an_error_has_brought_it() {
    for (error, bye) in [("throw '486 Busy Here'", "cause=486"), ("data.missing.field", "cause=500")] {
        let script = "const { kv } = require('cxKV');
        async function main(data, ctx) {
          ctx.on('hangup', async () => { await kv.set('a', '1'); await kv.set('b', '2'); console.log('saved'); });
          await ctx.answer();
          ERROR;
        }";
        let (mut lab, caller) = call(&script.replace("ERROR", error));
        assert!(lab.seen(caller)[1].contains(bye), "{error}");
        for _ in ["a", "b"] {
            assert_eq!(lab.past().len(), 0, "{error}");
            lab.services_answer();
        }
        assert_eq!(logged(&lab).last().map(String::as_str), Some("saved"), "{error}");
    }
}

/// The script's stores are not waited for without end.
fn is_given_up(script: &str) {
    let (mut lab, caller) = call(script);
    lab.hang_up(caller);
    lab.wait(9_900);
    assert_eq!(lab.past().len(), 0);
    lab.wait(200);
    assert_eq!(logged(&lab), Vec::<String>::new());
}

#[test]
fn a_script_that_never_ends_is_stopped_after_its_grace() {
    let script = "async function main(data, ctx) { await ctx.answer(); await new Promise(() => {}); }";
    let (mut lab, caller) = call(script);
    lab.hang_up(caller);
    assert_eq!(lab.past().len(), 0);
    lab.wait(10_000);
    assert_eq!(lab.past().len(), 1);
}

#[test]
fn facts_and_variables_are_those_of_the_call() {
    let script = "async function main(data, ctx) {
      console.log(data.from, data.to, ctx.get('sip_from_user'), ctx.call.state);
      await ctx.answer();
      console.log(ctx.call.state, ctx.call.codec, typeof ctx.call.answered_at);
    }";
    let (lab, _) = call(script);
    assert_eq!(logged(&lab), ["caller 1000 caller new", "answered PCMU number"]);
}

#[test]
fn the_recordings_of_a_call_are_found_while_it_lives_and_afterwards() {
    let script = "async function main(data, ctx) {
      await ctx.answer();
      await ctx.record('first');
      await ctx.record('calls/second', { format: 'ogg' });
      await ctx.waitForHangup();
    }";
    let (mut lab, caller) = call(script);
    lab.recordings_start();
    lab.recordings_start();
    let id = lab.switch.ids.keys().next().unwrap().clone();
    let found = |lab: &mut Lab, number| {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        lab.switch.request(Request::Recording { id: id.clone(), number, reply });
        answer.try_recv().unwrap().map(|path| path.to_string_lossy().into_owned())
    };
    for _ in ["live", "past"] {
        assert_eq!(found(&mut lab, None).as_deref(), Ok("scripts/user/calls/second.ogg"));
        assert_eq!(found(&mut lab, Some(1)).as_deref(), Ok("scripts/user/first.wav"));
        assert_eq!(found(&mut lab, Some(3)), Err(EngineError::NoRecording(id.clone())));
        assert_eq!(found(&mut lab, Some(0)), Err(EngineError::NoRecording(id.clone())));
        if lab.past().is_empty() {
            lab.hang_up(caller);
        }
    }
    assert_eq!(lab.past().len(), 1);
}

#[test]
fn a_recording_that_cannot_be_written_is_in_the_log_of_its_call() {
    let script = "async function main(data, ctx) {
      await ctx.answer();
      await ctx.record('talk').catch(() => {});
      await ctx.waitForHangup();
    }";
    let (mut lab, caller) = call(script);
    lab.recordings_report(|leg, id| {
        let error = RecordingError { path: "talk.wav".into(), error: std::io::ErrorKind::StorageFull.into() };
        PoolEvent::RecordingFailed { leg, id, error }
    });
    lab.hang_up(caller);
    let [line] = &logged(&lab)[..] else { panic!("{:?}", logged(&lab)) };
    assert!(line.starts_with("record: cannot record to talk.wav"), "{line}");
}
