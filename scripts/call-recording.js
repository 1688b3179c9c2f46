// @lockstep class5_destination=2004
// Tells the caller, records both sides in stereo, and leaves out what is said after the caller presses 8 until 9 is pressed.

export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/recorded.wav');

  const recording = await ctx.record(`recordings/${data.call_id}.wav`, { stereo: true });
  ctx.on('dtmf', ({ digit }) => {
    if (digit === '8') recording.pause();
    if (digit === '9') recording.resume();
  });

  const { status, duration_ms } = await ctx.bridge('1001', { timeout_ms: 30_000, continue_on: true });
  const saved = await recording.stop();
  ctx.log(`bridge ${status} after ${duration_ms} ms, recorded ${saved.duration_ms} ms in ${saved.file}`);
}
