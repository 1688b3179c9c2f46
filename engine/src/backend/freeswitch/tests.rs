//! Conversations of one channel, answered by hand, on a clock that only the test moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{
    AnswerArgs, BlockDtmfArgs, BridgeArgs, BridgeTarget, ContinueOn, Op, PlayArgs, SetArgs, SetHeaderArgs, SleepArgs, Vars,
};
use lockstep_ctx_api::{BackendOutput, CallBackend, CallState, EndedBy, ErrorCode, Event as CallEvent, OpId, OpResult, Outcome};

use super::{Channel, FreeSwitchBackend, Settings};
use crate::esl::{Command, Event, FrameReader, Limits, Message};

mod numbers;

struct Desk {
    now: Instant,
    backend: FreeSwitchBackend,
    sent: FrameReader,
    done: Vec<(u32, OpResult)>,
    warnings: Vec<String>,
    /// Variables that the script was told of.
    told: Vars,
    ended: Option<lockstep_ctx_api::CallEndedCause>,
}

impl Desk {
    fn new(socket_mode: &str, control: &str) -> Self {
        Self::with(socket_mode, control, Settings::default())
    }

    fn with(socket_mode: &str, control: &str, settings: Settings) -> Self {
        Self::on(&[("Socket-Mode", socket_mode), ("Control", control)], settings)
    }

    /// On a channel that has these headers besides the usual ones.
    #[expect(clippy::disallowed_methods, reason = "a test needs one moment to count from")]
    fn on(headers: &[(&str, &str)], settings: Settings) -> Self {
        let now = Instant::now();
        let mut event = Event::new("CHANNEL_DATA");
        for (name, value) in
            [("Unique-ID", "u-1"), ("Answer-State", "answered"), ("Caller-Context", "public")].iter().chain(headers)
        {
            event.push(name, value);
        }
        let settings = Settings { files: "/s".into(), dial: "loopback/{target}/{context}".into(), ..settings };
        let channel = Channel::of(&event).unwrap();
        let backend = FreeSwitchBackend::new("u-1".into(), channel, Arc::new(settings), (now, 0));
        let sent = FrameReader::of_commands(Limits::FROM_CLIENT);
        let mut desk = Self { now, backend, sent, done: Vec::new(), warnings: Vec::new(), told: Vars::new(), ended: None };
        for _ in desk.sent() {
            desk.reply("+OK");
        }
        desk
    }

    fn drain(&mut self) {
        loop {
            match self.backend.poll_output() {
                BackendOutput::Completed { id, result } => self.done.push((id.turn, result)),
                BackendOutput::Ended(cause) => self.ended = Some(cause),
                BackendOutput::Event(CallEvent::Facts(change)) => self.told.extend(change.vars),
                BackendOutput::Event(_) => {}
                BackendOutput::Warning(text) => self.warnings.push(text),
                BackendOutput::Timeout(_) => return,
            }
        }
    }

    fn submit(&mut self, turn: u32, op: Op) {
        self.backend.submit(self.now, OpId { turn, ordinal: 0 }, op);
        self.drain();
    }

    /// The commands that were sent since last asked, each as one line.
    fn sent(&mut self) -> Vec<String> {
        if let Some(bytes) = self.backend.take_transmit() {
            self.sent.push(&bytes);
        }
        let mut commands = Vec::new();
        while let Some(frame) = self.sent.poll_frame().unwrap() {
            let command = Command::parse(frame);
            let text = |name: &str| command.headers().get(name).unwrap_or_default().to_owned();
            commands.push(match command.verb() {
                "sendmsg" => format!("{} {} [{}]", text("execute-app-name"), text("execute-app-arg"), text("Event-UUID")),
                _ => command.line().to_owned(),
            });
        }
        commands
    }

    fn say(&mut self, message: &Message) {
        self.backend.handle_message(self.now, message);
        self.drain();
    }

    fn reply(&mut self, text: &str) {
        self.say(&Message::reply(text));
    }

    fn event(&mut self, name: &str, headers: &[(&str, &str)]) {
        let mut event = Event::new(name);
        event.push("Unique-ID", "u-1");
        for (name, value) in headers {
            event.push(name, value);
        }
        self.say(&Message::event_plain(&event));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.backend.handle_timeout(self.now);
        self.drain();
    }
}

fn play() -> Op {
    Op::Play(PlayArgs { sources: vec!["tone:400,1000/0".into()], ..PlayArgs::default() })
}

const COMPLETE: &str = "CHANNEL_EXECUTE_COMPLETE";

#[test]
fn a_completion_that_got_lost_is_asked_for() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, play());
    assert_eq!(desk.sent(), ["api uuid_setvar u-1 playback_terminators 'none'", "playback tone_stream://%(1000,0,400) [1.0]"]);
    desk.reply("+OK");
    desk.reply("+OK");
    desk.pass(Duration::from_secs(7));
    assert_eq!(desk.sent(), ["set lockstep_mark=true [mark/1]"]);
    assert!(desk.done.is_empty());
    desk.event(COMPLETE, &[("Application-UUID", "mark/1"), ("variable_playback_last_offset_pos", "8000")]);
    assert!(matches!(&desk.done[..], [(1, Ok(Outcome::Played(played)))] if played.played_ms == 1_000), "{:?}", desk.done);
    desk.event(COMPLETE, &[("Application-UUID", "1.0")]);
    assert_eq!(desk.done.len(), 1);
}

#[test]
fn an_event_before_its_answer_and_one_that_comes_twice_count_once() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, play());
    desk.event(COMPLETE, &[("Application-UUID", "1.0")]);
    assert_eq!(desk.done.len(), 1);
    desk.reply("+OK");
    desk.reply("+OK");
    desk.event(COMPLETE, &[("Application-UUID", "1.0")]);
    desk.event("CHANNEL_EXECUTE", &[("Application-UUID", "1.0")]);
    assert_eq!(desk.done.len(), 1);
    assert_eq!(desk.ended, None);
}

#[test]
fn an_aborted_operation_is_stopped_and_settles_once_even_when_nothing_confirms_it() {
    for confirmed in [true, false] {
        let mut desk = Desk::new("async", "full");
        desk.submit(1, play());
        desk.sent();
        desk.backend.cancel(desk.now, OpId { turn: 1, ordinal: 0 });
        desk.drain();
        assert_eq!(desk.sent(), ["api uuid_break u-1"]);
        assert!(desk.done.is_empty());
        if confirmed {
            desk.event(COMPLETE, &[("Application-UUID", "1.0")]);
        }
        desk.pass(Duration::from_secs(1));
        desk.event(COMPLETE, &[("Application-UUID", "1.0")]);
        assert_eq!(desk.done.len(), 1);
        assert_eq!(desk.done[0].1.as_ref().unwrap_err().code, ErrorCode::AbortError);
    }
}

#[test]
fn without_the_api_an_application_is_stopped_by_another_inside_it() {
    let mut desk = Desk::new("async", "single-channel");
    desk.submit(1, play());
    desk.sent();
    desk.backend.cancel(desk.now, OpId { turn: 1, ordinal: 0 });
    assert_eq!(desk.sent(), ["break  [break]"]);
}

#[test]
fn a_connection_that_breaks_settles_everything() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, play());
    desk.submit(2, Op::Set(SetArgs { key: "a".into(), value: Some("b".into()), skip_write: false }));
    desk.backend.connection_lost(desk.now, false);
    desk.drain();
    assert_eq!(desk.done.len(), 2);
    assert!(desk.done.iter().all(|(_, result)| result.as_ref().unwrap_err().code == ErrorCode::CallEnded));
    assert_eq!(desk.ended.as_ref().map(|cause| (cause.code, cause.by)), Some((503, EndedBy::Engine)));
    assert_eq!(desk.backend.state(), CallState::Ended);
    desk.submit(3, play());
    assert_eq!(desk.done[2].1.as_ref().unwrap_err().code, ErrorCode::InvalidState);
}

#[test]
fn a_script_that_finds_its_channel_answered_may_answer_it_once() {
    let mut desk = Desk::new("async", "full");
    desk.sent();
    desk.backend.has_new_script();
    for turn in [1, 2] {
        desk.submit(turn, Op::Answer(AnswerArgs::default()));
    }
    assert!(desk.sent().is_empty());
    let codes: Vec<_> = desk.done.iter().map(|(_, result)| result.as_ref().err().map(|error| error.code)).collect();
    assert_eq!(codes, [None, Some(ErrorCode::InvalidState)]);
}

#[test]
fn keys_that_a_script_has_blocked_are_the_next_ones_again() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, Op::BlockDtmf(BlockDtmfArgs { digits: "0123456789".into() }));
    assert_eq!(desk.sent(), ["block_dtmf  [1.0]"]);
    for sent in [&["unblock_dtmf  [unblock]"][..], &[]] {
        desk.backend.leaves_script(desk.now);
        assert_eq!(desk.sent(), sent);
    }
}

/// A connection that takes the place of another, and what is said over it.
fn back(desk: &mut Desk) -> Vec<String> {
    desk.backend.connection_lost(desk.now, true);
    assert!(desk.sent().is_empty(), "there is nobody to send it to");
    desk.backend.connection_back(desk.now);
    desk.drain();
    let sent = desk.sent();
    assert_eq!(sent.first().map(String::as_str), Some("filter Unique-ID u-1"));
    assert!(sent.get(1).is_some_and(|line| line.starts_with("event plain CHANNEL_EXECUTE ")), "{sent:?}");
    desk.reply("+OK");
    desk.reply("+OK");
    sent.into_iter().skip(2).collect()
}

const DUMP: &str = "Event-Name: CHANNEL_DATA\nUnique-ID: u-1\nAnswer-State: answered\nvariable_a: 1\n\n";

#[test]
fn what_was_never_confirmed_is_not_done_again_and_says_so() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, play());
    desk.sent();
    assert_eq!(back(&mut desk), ["api uuid_dump u-1", "set lockstep_mark=true [mark/1]"]);
    desk.say(&Message::api_response(DUMP));
    desk.reply("+OK");
    assert!(desk.done.is_empty());
    desk.event(COMPLETE, &[("Application-UUID", "mark/1")]);
    assert_eq!(desk.done[0].1.as_ref().unwrap_err().code, ErrorCode::NetworkError);
    assert_eq!(desk.ended, None);
}

#[test]
fn what_was_confirmed_is_over_when_the_marker_behind_it_is() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, play());
    desk.sent();
    desk.reply("+OK");
    desk.reply("+OK");
    assert_eq!(back(&mut desk), ["api uuid_dump u-1", "set lockstep_mark=true [mark/1]"]);
    desk.say(&Message::api_response(DUMP));
    desk.reply("+OK");
    desk.event(COMPLETE, &[("Application-UUID", "mark/1"), ("variable_playback_last_offset_pos", "8000")]);
    assert!(matches!(&desk.done[..], [(1, Ok(Outcome::Played(played)))] if played.played_ms == 1_000), "{:?}", desk.done);
}

#[test]
fn what_is_asked_for_meanwhile_comes_behind_and_settings_are_made_again() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, Op::Set(SetArgs { key: "a".into(), value: Some("b".into()), skip_write: false }));
    desk.sent();
    desk.backend.connection_lost(desk.now, true);
    desk.submit(2, play());
    desk.backend.connection_back(desk.now);
    let sent = desk.sent();
    assert_eq!(
        sent[2..],
        [
            "api uuid_dump u-1",
            "set lockstep_mark=true [mark/1]",
            "api uuid_setvar u-1 a 'b'",
            "api uuid_setvar u-1 playback_terminators 'none'",
            "playback tone_stream://%(1000,0,400) [2.0]"
        ]
    );
    for text in ["+OK", "+OK", DUMP, "+OK", "+OK"] {
        desk.say(&Message::api_response(text.to_owned()));
    }
    assert_eq!(desk.done, [(1, Ok(Outcome::Unit))]);
}

#[test]
fn a_media_server_that_falls_silent_is_asked_and_given_up() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, Op::Sleep(SleepArgs { duration_ms: 3_600_000 }));
    desk.pass(Duration::from_secs(30));
    assert_eq!(desk.sent(), ["api uuid_exists u-1"]);
    desk.say(&Message::api_response("true"));
    desk.pass(Duration::from_secs(30));
    assert_eq!(desk.sent(), ["api uuid_exists u-1"]);
    desk.pass(Duration::from_secs(10));
    assert_eq!(desk.ended.as_ref().map(|cause| cause.code), Some(503));
    assert_eq!(desk.done.len(), 1);
}

#[test]
fn a_channel_that_is_gone_without_a_word_ends_the_call() {
    let mut desk = Desk::new("async", "full");
    desk.pass(Duration::from_secs(30));
    desk.sent();
    desk.say(&Message::api_response("false"));
    assert_eq!(desk.ended.as_ref().map(|cause| cause.code), Some(200));
}

#[test]
fn events_of_other_channels_are_nobodys() {
    let mut desk = Desk::new("async", "full");
    let mut event = Event::new("CHANNEL_HANGUP");
    event.push("Unique-ID", "u-2");
    desk.say(&Message::event_plain(&event));
    assert_eq!(desk.ended, None);
}

#[test]
fn a_hangup_nobody_confirms_is_repeated_and_then_taken_for_done() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, Op::Hangup(lockstep_ctx_api::op::HangupArgs { code: Some(486), ..Default::default() }));
    assert_eq!(desk.sent(), ["api uuid_kill u-1 USER_BUSY"]);
    desk.pass(Duration::from_secs(3));
    assert_eq!(desk.sent(), ["api uuid_kill u-1 NORMAL_CLEARING"]);
    assert!(desk.done.is_empty());
    desk.pass(Duration::from_secs(3));
    assert_eq!(desk.done, [(1, Ok(Outcome::Unit))]);
    assert_eq!(desk.ended.as_ref().map(|cause| (cause.code, cause.by)), Some((486, EndedBy::Script)));
}

fn bridge(target: &str) -> BridgeArgs {
    BridgeArgs::to(vec![BridgeTarget { uri: target.to_owned(), ..BridgeTarget::default() }])
}

/// What the bridges so far have set and executed; every command is answered.
fn dialled(desk: &mut Desk) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let sent = desk.sent();
        if sent.is_empty() {
            return all;
        }
        for _ in &sent {
            desk.reply("+OK");
        }
        all.extend(sent);
    }
}

fn sets_header(desk: &mut Desk, turn: u32) {
    desk.submit(turn, Op::SetHeader(SetHeaderArgs { name: "X-Once".into(), value: "yes".into() }));
}

#[test]
fn a_header_waits_for_the_first_bridge_that_calls_anybody() {
    let mut desk = Desk::new("async", "full");
    sets_header(&mut desk, 1);
    desk.submit(2, Op::Bridge(bridge("a:_:b")));
    assert!(matches!(desk.done.last(), Some((2, Err(error))) if error.code == ErrorCode::RangeError), "{:?}", desk.done);
    desk.submit(3, Op::Bridge(bridge("1001")));
    let sent = dialled(&mut desk);
    assert!(sent.iter().any(|command| command.contains("sip_h_X-Once") && command.contains("yes")), "{sent:?}");
}

#[test]
fn what_one_bridge_shows_is_gone_after_it_and_what_the_dialplan_exports_stays() {
    let channel = [
        ("Socket-Mode", "async"),
        ("Control", "full"),
        ("variable_export_vars", "hold_music"),
        ("variable_effective_caller_id_number", "42"),
    ];
    let mut desk = Desk::on(&channel, Settings::default());
    let set = |sent: Vec<String>| -> Vec<(String, String)> {
        let set = sent.iter().filter_map(|command| command.strip_prefix("api uuid_setvar u-1 "));
        let set = set.map(|set| set.split_once(' ').map_or((set, ""), |(name, value)| (name, value.trim_matches('\''))));
        let shows = |name: &str| ["sip_h_", "effective_", "export_"].iter().any(|prefix| name.starts_with(prefix));
        set.filter(|(name, _)| shows(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    sets_header(&mut desk, 1);
    let shown = BridgeArgs { caller_id: Some("123".into()), from_name: Some("First".into()), ..bridge("1001") };
    desk.submit(2, Op::Bridge(BridgeArgs { continue_on: ContinueOn::Always, ..shown }));
    let lent = [
        ("sip_h_X-Once", "yes"),
        ("effective_caller_id_name", "First"),
        ("effective_caller_id_number", "123"),
        ("export_vars", "hold_music,sip_h_X-Once"),
    ];
    assert_eq!(set(dialled(&mut desk)), owned(&lent));
    let left = [("Application-UUID", "2.0"), ("variable_originate_disposition", "USER_BUSY"), ("variable_sip_h_X-Once", "yes")];
    desk.event(COMPLETE, &left);
    assert!(matches!(desk.done.last(), Some((2, Ok(Outcome::Bridged(_))))), "{:?}", desk.done);
    let before = [
        ("effective_caller_id_name", ""),
        ("effective_caller_id_number", "42"),
        ("export_vars", "hold_music"),
        ("sip_h_X-Once", ""),
    ];
    assert_eq!(set(dialled(&mut desk)), owned(&before));
    desk.event(COMPLETE, &[("Application-UUID", "set"), ("variable_sip_h_X-Once", "yes"), ("variable_mine", "1")]);
    let told: Vec<&str> = desk.told.keys().map(String::as_str).collect();
    assert_eq!(told, ["mine", "originate_disposition"], "what a bridge sets for itself is not for the script");
    desk.submit(3, Op::Bridge(bridge("1002")));
    assert_eq!(set(dialled(&mut desk)), []);
}

/// What a bridge with the header `x-ticket: ours` has its legs get, and what is set once it is over.
fn given_back(control: &str, variables: &[(&str, &str)], set: Option<(&str, &str)>) -> Vec<String> {
    let channel: Vec<_> = [("Socket-Mode", "async"), ("Control", control)].iter().chain(variables).copied().collect();
    let mut desk = Desk::on(&channel, Settings::default());
    if let Some((key, value)) = set {
        desk.submit(1, Op::Set(SetArgs { key: key.into(), value: Some(value.into()), skip_write: false }));
    }
    let headers = vec![("x-ticket".to_owned(), "ours".to_owned())];
    desk.submit(2, Op::Bridge(BridgeArgs { headers, continue_on: ContinueOn::Always, ..bridge("1001") }));
    let sent = dialled(&mut desk);
    assert!(sent.iter().any(|command| command.contains("sip_h_x-ticket") && command.contains("ours")), "{sent:?}");
    let export = sent.iter().find(|command| command.contains("export_vars") && command.contains("sip_h_x-ticket"));
    let left = [("Application-UUID", "2.0"), ("variable_originate_disposition", "USER_BUSY")];
    desk.event(COMPLETE, &left);
    assert!(matches!(desk.done.last(), Some((2, Ok(Outcome::Bridged(_))))), "{:?}", desk.done);
    export.cloned().into_iter().chain(dialled(&mut desk)).collect()
}

#[test]
fn names_of_variables_know_no_case_and_the_latest_exports_count() {
    let before = [("variable_sip_h_X-Ticket", "theirs"), ("variable_export_vars", "a")];
    let sent = given_back("full", &before, Some(("export_vars", "b")));
    assert_eq!(
        sent,
        [
            "api uuid_setvar u-1 export_vars 'b,sip_h_x-ticket'",
            "api uuid_setvar u-1 export_vars 'b'",
            "api uuid_setvar u-1 sip_h_X-Ticket 'theirs'"
        ]
    );
    let sent = given_back("full", &before, Some(("Sip_H_X-Ticket", "newer")));
    assert_eq!(sent.last().map(String::as_str), Some("api uuid_setvar u-1 Sip_H_X-Ticket 'newer'"));
}

#[test]
fn what_freeswitch_would_expand_is_given_back_only_where_it_does_not() {
    const COMMAND: &str = "${system(reboot)}";
    let before = [("variable_sip_h_X-Ticket", COMMAND), ("variable_export_vars", COMMAND)];
    let sent = given_back("single-channel", &before, None);
    assert_eq!(sent, ["set export_vars=sip_h_x-ticket [set]", "unset export_vars [set]", "unset sip_h_X-Ticket [set]"]);
    let sent = given_back("full", &before, None);
    assert_eq!(sent.last().map(String::as_str), Some("api uuid_setvar u-1 sip_h_X-Ticket '${system(reboot)}'"));
}

#[test]
fn a_variable_that_is_lent_twice_is_given_back_once_as_it_was() {
    let mut desk =
        Desk::on(&[("Socket-Mode", "async"), ("Control", "full"), ("variable_sip_h_X-Foo", "theirs")], Settings::default());
    for value in ["1", "2"] {
        let twice = [("sip_h_X-Foo", "0"), ("sip_h_x-foo", value)];
        desk.backend.lend(desk.now, twice.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).unwrap();
        desk.event(COMPLETE, &[("Application-UUID", "set"), ("variable_sip_h_x-foo", value)]);
    }
    desk.sent();
    desk.backend.give_back(desk.now);
    assert_eq!(desk.sent(), ["api uuid_setvar u-1 sip_h_X-Foo 'theirs'"]);
    assert_eq!(desk.told, Vars::new());
}

#[test]
fn whoever_is_asked_to_accept_is_not_heard_before() {
    for (screen, ignored) in [(None, "false"), (Some("ivr/press.wav"), "true")] {
        let mut desk = Desk::new("async", "full");
        desk.submit(1, Op::Bridge(BridgeArgs { screen: screen.map(str::to_owned), ..bridge("1001") }));
        let sent = dialled(&mut desk);
        let set = sent.iter().find(|command| command.contains("ignore_early_media")).unwrap();
        assert!(set.contains(ignored), "{set}");
    }
}

#[test]
fn ring_back_that_cannot_be_played_gives_way_to_the_usual_one() {
    let mut desk = Desk::new("async", "full");
    desk.submit(1, Op::Bridge(BridgeArgs { ringback: Some("tone:what".into()), ..bridge("1001") }));
    let sent = dialled(&mut desk);
    assert!(sent.iter().any(|command| command.contains("ringback") && command.contains("%(2000,4000,440,480)")), "{sent:?}");
    assert_eq!(desk.warnings.len(), 1, "{:?}", desk.warnings);
}
