//! A real softphone: baresip registers, calls a script, presses a key and is bridged to another baresip.

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

/// The loudest stretch of half a second.
fn loudest(samples: &[i16]) -> &[i16] {
    let energy = |part: &&[i16]| part.iter().map(|sample| i64::from(*sample).pow(2)).sum::<i64>();
    samples.chunks(4_000).max_by_key(energy).unwrap_or_default()
}

#[tokio::test]
async fn two_softphones_are_joined_by_a_key() {
    let body = "await ctx.answer();\n\
                const { value } = await ctx.ivr('ivr/main-menu.wav', 30, 1, 1);\n\
                ctx.log(`pressed ${value}`);\n\
                const { status } = await ctx.bridge('1002', { continue_on: true });\n\
                ctx.log(`bridge: ${status}`);";
    let engine = setup().main("100", body).start();
    let mut events = engine.events().await;
    let mut callee = Baresip::register(&engine, "1002", "callee", Audio::Echo).await;
    let mut caller = Baresip::register(&engine, "1001", "caller", Audio::Tone).await;

    caller.dial(&engine.uri("100")).await;
    let call = events.started("1001").await;
    caller.press('2').await;
    events.logged("pressed 2").await;
    callee.event("CALL_ESTABLISHED").await;
    // RTCP comes every few seconds: by then the tone has gone to the callee.
    callee.event("CALL_RTCP").await;
    caller.hang_up().await;
    callee.event("CALL_CLOSED").await;
    events.ended(&call).await;

    let heard = callee.heard();
    let share = share_of_440_hz(loudest(&heard));
    assert!(share > 0.9, "the callee heard {} samples, {share:.2} of the loudest part at 440 Hz", heard.len());
}

#[tokio::test]
async fn a_softphone_hears_the_script_and_is_hung_up() {
    let engine = setup().main("100", "await ctx.answer();\nawait ctx.play('tone:440,2000/0');\nawait ctx.hangup();").start();
    let mut phone = Baresip::register(&engine, "1001", "caller", Audio::Echo).await;
    phone.dial(&engine.uri("100")).await;
    phone.event("CALL_CLOSED").await;
    let heard = phone.heard();
    let share = share_of_440_hz(loudest(&heard));
    assert!(share > 0.9, "heard {} samples, {share:.2} of the loudest part at 440 Hz", heard.len());
}
