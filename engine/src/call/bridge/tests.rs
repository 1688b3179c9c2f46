use super::*;

const BUSY: (u16, &str) = (486, "Busy Here");

fn rules(targets: usize) -> BridgeRules {
    BridgeRules {
        ring_times: vec![Duration::from_secs(30); targets],
        strategy: BridgeStrategy::Parallel,
        early_media: true,
        screen: false,
        whisper: false,
        hangup_on: None,
        continue_on: ContinueOn::Always,
    }
}

/// A bridge whose targets each have one route, and a clock that only the test moves.
struct Switch {
    now: Instant,
    bridge: Bridge,
}

impl Switch {
    fn dial(rules: BridgeRules) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
        let now = Instant::now();
        Self { now, bridge: Bridge::start(now, rules, LegId(1)) }
    }

    fn steps(&mut self) -> Vec<BridgeStep> {
        std::iter::from_fn(|| self.bridge.poll_step()).collect()
    }

    fn resolve(&mut self, target: usize, routes: usize, hunt: Hunt) {
        self.bridge.resolved(self.now, target, Ok((routes, hunt)));
    }

    fn fails(&mut self, leg: u32, (code, reason): (u16, &str)) {
        self.bridge.leg_over(self.now, LegId(leg), code, reason, EndedBy::Callee);
    }

    fn answers(&mut self, leg: u32) {
        self.bridge.answered(self.now, LegId(leg));
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.bridge.handle_timeout(self.now);
    }
}

fn dialled(leg: u32, target: usize, route: usize) -> BridgeStep {
    BridgeStep::Dial { leg: LegId(leg), target, route }
}

fn dropped(leg: u32, elsewhere: bool) -> BridgeStep {
    BridgeStep::Drop { leg: LegId(leg), elsewhere }
}

fn result(step: Option<BridgeStep>) -> (BridgeStatus, u16, u64, bool) {
    match step {
        Some(BridgeStep::Done { result, goes_on, .. }) => (result.status, result.code, result.duration_ms, goes_on),
        other => panic!("expected the end of the bridge, got {other:?}"),
    }
}

#[test]
fn the_first_to_answer_wins_and_the_others_are_told_so() {
    let mut switch = Switch::dial(rules(2));
    assert_eq!(switch.steps(), [BridgeStep::Resolve { target: 0 }, BridgeStep::Resolve { target: 1 }]);
    switch.resolve(0, 1, Hunt::Together);
    switch.resolve(1, 2, Hunt::Together);
    assert_eq!(switch.steps(), [dialled(1, 0, 0), dialled(2, 1, 0), dialled(3, 1, 1)]);
    switch.answers(2);
    assert_eq!(switch.steps(), [dropped(1, true), dropped(3, true), BridgeStep::Join { leg: LegId(2) }]);
    assert_eq!(switch.bridge.poll_timeout(), None);
    switch.wait(90);
    switch.fails(2, (200, "OK"));
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::Completed, 200, 90_000, true));
}

#[test]
fn sequential_targets_ring_one_after_another() {
    let mut switch = Switch::dial(BridgeRules { strategy: BridgeStrategy::Sequential, ..rules(2) });
    assert_eq!(switch.steps(), [BridgeStep::Resolve { target: 0 }]);
    switch.resolve(0, 1, Hunt::Together);
    assert_eq!(switch.steps(), [dialled(1, 0, 0)]);
    switch.wait(30);
    assert_eq!(switch.steps(), [dropped(1, false), BridgeStep::Resolve { target: 1 }]);
    switch.resolve(1, 1, Hunt::Together);
    switch.fails(2, BUSY);
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::Busy, 486, 0, true));
}

#[test]
fn ringing_too_long_is_no_answer() {
    let mut switch = Switch::dial(BridgeRules { continue_on: ContinueOn::Completed, ..rules(1) });
    switch.resolve(0, 1, Hunt::Together);
    switch.wait(29);
    assert_eq!(switch.bridge.poll_timeout(), Some(switch.now + Duration::from_secs(1)));
    switch.wait(1);
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::NoAnswer, 408, 0, false));
}

#[test]
fn a_look_up_that_never_ends_is_no_answer_too() {
    let mut switch = Switch::dial(rules(1));
    switch.wait(30);
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::NoAnswer, 408, 0, true));
    switch.resolve(0, 1, Hunt::Together);
    assert_eq!(switch.steps(), []);
}

#[test]
fn a_failed_gateway_is_followed_by_the_next_but_a_busy_callee_is_not() {
    let mut switch = Switch::dial(rules(1));
    switch.resolve(0, 3, Hunt::InTurn { ring: None });
    switch.fails(1, (503, "Service Unavailable"));
    assert_eq!(switch.steps(), [BridgeStep::Resolve { target: 0 }, dialled(1, 0, 0), dialled(2, 0, 1)]);
    switch.fails(2, BUSY);
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::Busy, 486, 0, true));
}

#[test]
fn busy_is_told_before_no_answer_and_failures() {
    let mut switch = Switch::dial(rules(3));
    (0..3).for_each(|target| switch.resolve(target, 1, Hunt::Together));
    switch.fails(1, (503, "Service Unavailable"));
    switch.fails(2, BUSY);
    switch.fails(3, (480, "Temporarily Unavailable"));
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::Busy, 486, 0, true));
}

#[test]
fn a_decline_on_one_phone_silences_the_others_of_that_user_only() {
    let mut switch = Switch::dial(rules(2));
    switch.resolve(0, 2, Hunt::Together);
    switch.resolve(1, 1, Hunt::Together);
    switch.steps();
    switch.fails(1, (603, "Decline"));
    assert_eq!(switch.steps(), [dropped(2, false)]);
    switch.answers(3);
    assert_eq!(switch.steps(), [BridgeStep::Join { leg: LegId(3) }]);
}

#[test]
fn the_caller_hears_the_first_media_and_only_that() {
    let mut switch = Switch::dial(rules(2));
    (0..2).for_each(|target| switch.resolve(target, 1, Hunt::Together));
    switch.steps();
    switch.bridge.ringing(LegId(1));
    switch.bridge.ringing(LegId(2));
    switch.bridge.media_arrived(LegId(2));
    switch.bridge.media_arrived(LegId(1));
    assert_eq!(switch.steps(), [BridgeStep::Ringing, BridgeStep::EarlyMedia { leg: LegId(2) }]);
}

#[test]
fn early_media_that_comes_to_nothing_gives_way_to_that_of_another() {
    let mut switch = Switch::dial(rules(2));
    (0..2).for_each(|target| switch.resolve(target, 1, Hunt::Together));
    switch.bridge.media_arrived(LegId(1));
    switch.bridge.media_arrived(LegId(2));
    switch.steps();
    switch.fails(1, BUSY);
    assert_eq!(switch.steps(), [BridgeStep::EarlyMedia { leg: LegId(2) }]);
}

#[test]
fn early_media_that_comes_to_nothing_gives_way_to_the_ringing_of_another() {
    let mut switch = Switch::dial(BridgeRules { ring_times: [10, 30].map(Duration::from_secs).to_vec(), ..rules(2) });
    (0..2).for_each(|target| switch.resolve(target, 1, Hunt::Together));
    (1..=2).for_each(|leg| switch.bridge.ringing(LegId(leg)));
    switch.bridge.media_arrived(LegId(1));
    switch.steps();
    switch.wait(10);
    assert_eq!(switch.steps(), [dropped(1, false), BridgeStep::Ringing]);
}

#[test]
fn early_media_of_a_branch_that_is_gone_gives_way_to_ringing() {
    let mut switch = Switch::dial(rules(1));
    switch.resolve(0, 1, Hunt::Together);
    switch.bridge.ringing(LegId(1));
    switch.bridge.media_arrived(LegId(1));
    switch.steps();
    switch.bridge.branch_over(LegId(1));
    assert_eq!(switch.steps(), [BridgeStep::Ringing]);
    switch.bridge.media_arrived(LegId(1));
    assert_eq!(switch.steps(), [BridgeStep::EarlyMedia { leg: LegId(1) }]);
}

#[test]
fn after_early_media_of_a_failed_gateway_the_next_one_rings_audibly() {
    let mut switch = Switch::dial(rules(1));
    switch.resolve(0, 3, Hunt::InTurn { ring: Some(Duration::from_secs(5)) });
    switch.bridge.ringing(LegId(1));
    switch.bridge.media_arrived(LegId(1));
    switch.steps();
    switch.fails(1, (503, "Service Unavailable"));
    assert_eq!(switch.steps(), [dialled(2, 0, 1)]);
    switch.bridge.ringing(LegId(2));
    switch.bridge.media_arrived(LegId(2));
    assert_eq!(switch.steps(), [BridgeStep::Ringing, BridgeStep::EarlyMedia { leg: LegId(2) }]);
    switch.wait(5);
    assert_eq!(switch.steps(), [dropped(2, false), dialled(3, 0, 2)]);
    switch.bridge.ringing(LegId(3));
    assert_eq!(switch.steps(), [BridgeStep::Ringing]);
}

#[test]
fn a_decline_ends_the_ringing_of_the_same_user_for_the_caller_too() {
    let mut switch = Switch::dial(rules(1));
    switch.resolve(0, 2, Hunt::Together);
    (1..=2).for_each(|leg| switch.bridge.ringing(LegId(leg)));
    switch.bridge.media_arrived(LegId(1));
    switch.steps();
    switch.fails(1, (603, "Decline"));
    let steps = switch.steps();
    assert_eq!(steps.first(), Some(&dropped(2, false)));
    assert!(!steps.contains(&BridgeStep::Ringing), "{steps:?}");
}

#[test]
fn whoever_is_asked_is_not_heard_any_more_but_rings() {
    for screen in [true, false] {
        let mut switch = Switch::dial(BridgeRules { screen, whisper: !screen, ..rules(1) });
        switch.resolve(0, 1, Hunt::Together);
        switch.bridge.ringing(LegId(1));
        switch.bridge.media_arrived(LegId(1));
        switch.steps();
        switch.answers(1);
        let leg = LegId(1);
        let prompt = if screen { BridgeStep::Screen { leg } } else { BridgeStep::Whisper { leg } };
        assert_eq!(switch.steps(), [prompt, BridgeStep::Ringing]);
        switch.bridge.media_arrived(leg);
        assert_eq!(switch.steps(), []);
    }
}

#[test]
fn whoever_is_asked_must_press_a_key_before_the_others_stop_ringing() {
    let mut switch = Switch::dial(BridgeRules { screen: true, whisper: true, ..rules(2) });
    (0..2).for_each(|target| switch.resolve(target, 1, Hunt::Together));
    switch.steps();
    switch.answers(1);
    assert_eq!(switch.steps(), [BridgeStep::Screen { leg: LegId(1) }, BridgeStep::Ringing]);
    switch.bridge.far_digit(switch.now, LegId(1));
    assert_eq!(switch.steps(), [dropped(2, true), BridgeStep::Whisper { leg: LegId(1) }]);
    switch.bridge.prompt_ended(switch.now, LegId(1));
    assert_eq!(switch.steps(), [BridgeStep::Join { leg: LegId(1) }]);
}

#[test]
fn nobody_who_accepts_is_no_answer() {
    let mut switch = Switch::dial(BridgeRules { screen: true, ..rules(1) });
    switch.resolve(0, 1, Hunt::Together);
    switch.answers(1);
    switch.bridge.prompt_ended(switch.now, LegId(1));
    switch.steps();
    switch.wait(10);
    let steps = switch.steps();
    assert_eq!(steps.first(), Some(&dropped(1, false)));
    assert_eq!(result(steps.last().cloned()), (BridgeStatus::NoAnswer, 480, 0, true));
}

#[test]
fn hanging_up_during_the_whisper_ends_the_bridge() {
    let mut switch = Switch::dial(BridgeRules { whisper: true, ..rules(2) });
    (0..2).for_each(|target| switch.resolve(target, 1, Hunt::Together));
    switch.answers(1);
    switch.fails(1, (200, "OK"));
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::NoAnswer, 480, 0, true));
}

#[test]
fn the_callers_digit_ends_a_joined_bridge_as_completed() {
    let mut switch = Switch::dial(BridgeRules { hangup_on: Some("*".into()), ..rules(1) });
    switch.resolve(0, 1, Hunt::Together);
    assert!(!switch.bridge.ends_on('*'));
    switch.answers(1);
    switch.steps();
    assert!(switch.bridge.ends_on('*') && !switch.bridge.ends_on('1'));
    switch.bridge.end(switch.now);
    let steps = switch.steps();
    assert_eq!(steps.first(), Some(&dropped(1, false)));
    assert_eq!(result(steps.last().cloned()), (BridgeStatus::Completed, 200, 0, true));
}

#[test]
fn an_abandoned_bridge_drops_everybody_and_says_nothing_more() {
    let mut switch = Switch::dial(rules(2));
    (0..2).for_each(|target| switch.resolve(target, 1, Hunt::Together));
    switch.steps();
    switch.bridge.abandon();
    assert_eq!(switch.steps(), [dropped(1, false), dropped(2, false)]);
    switch.wait(60);
    assert_eq!(switch.steps(), []);
}

#[test]
fn a_target_that_nobody_knows_fails_with_its_code() {
    let mut switch = Switch::dial(BridgeRules { continue_on: ContinueOn::Never, ..rules(1) });
    switch.bridge.resolved(switch.now, 0, Err((404, "Not Found".into())));
    assert_eq!(result(switch.steps().pop()), (BridgeStatus::Failed, 404, 0, false));
}

#[test]
fn no_more_legs_are_dialled_than_the_bound() {
    let mut switch = Switch::dial(rules(1));
    switch.resolve(0, 1_000, Hunt::Together);
    let dials = switch.steps().into_iter().filter(|step| matches!(step, BridgeStep::Dial { .. })).count();
    assert_eq!(dials, MAX_ATTEMPTS);
}
