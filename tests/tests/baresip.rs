//! A real softphone: baresip registers, calls a sample, presses a key and is bridged to another baresip.

use lockstep_tests::baresip::{Audio, Baresip};
use lockstep_tests::engine::{Engine, Setup};

fn setup() -> Setup {
    // This libre gives up on a challenge that offers anything but MD5.
    Engine::setup().config(
        "[sip]\ndigest = [\"md5\"]\n\
         [[user]]\nname = \"1001\"\npassword = \"caller\"\n\
         [[user]]\nname = \"1002\"\npassword = \"callee\"\n",
    )
}

/// How strong 440 Hz is in 8 kHz samples, as a share of all there is (Goertzel).
fn share_of_440_hz(samples: &[i16]) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * 440.0 / 8_000.0).cos();
    let (mut previous, mut before, mut energy) = (0.0, 0.0, 0.0);
    for sample in samples.iter().map(|sample| f64::from(*sample)) {
        let next = sample + coefficient * previous - before;
        before = previous;
        previous = next;
        energy += sample * sample;
    }
    let power = previous * previous + before * before - coefficient * previous * before;
    if energy == 0.0 { 0.0 } else { 2.0 * power / (energy * samples.len() as f64) }
}

/// How much of the purest quarter of a second is 440 Hz: the rest may be prompts, or what a machine that is late has left out.
fn purest_440_hz(samples: &[i16]) -> f64 {
    samples.windows(2_000).step_by(200).map(share_of_440_hz).fold(0.0, f64::max)
}

/// `scripts/`, as shipped.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");

#[tokio::test]
async fn a_sample_joins_two_softphones_by_a_key() {
    let engine = setup().variable("LOCKSTEP_SCRIPTS__DIR", SAMPLES).start();
    let mut events = engine.events().await;
    let mut callee = Baresip::register(&engine, "1002", "callee", Audio::Echo).await;
    let mut caller = Baresip::register(&engine, "1001", "caller", Audio::Tone).await;

    // scripts/main-menu.js: 2 is 1002.
    caller.dial(&engine.uri("1000")).await;
    let call = events.started("1001").await;
    caller.press('2').await;
    callee.event("CALL_ESTABLISHED").await;
    // RTCP comes every few seconds: by then the tone has gone to the callee, and has come back as its echo.
    callee.event("CALL_RTCP").await;
    caller.hang_up().await;
    callee.event("CALL_CLOSED").await;
    events.ended(&call).await;

    for (who, phone) in [("callee", &callee), ("caller", &caller)] {
        let heard = phone.heard();
        let share = purest_440_hz(&heard);
        assert!(share > 0.9, "the {who} heard {} samples, at most {share:.2} of a quarter of a second at 440 Hz", heard.len());
    }
}

#[tokio::test]
async fn a_softphone_hears_the_script_and_is_hung_up() {
    let engine = setup().main("100", "await ctx.answer();\nawait ctx.play('tone:440,2000/0');\nawait ctx.hangup();").start();
    let mut phone = Baresip::register(&engine, "1001", "caller", Audio::Echo).await;
    phone.dial(&engine.uri("100")).await;
    phone.event("CALL_CLOSED").await;
    let heard = phone.heard();
    let share = purest_440_hz(&heard);
    assert!(share > 0.9, "heard {} samples, at most {share:.2} of a quarter of a second at 440 Hz", heard.len());
}
