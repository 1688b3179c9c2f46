// @lockstep class5_destination=2007
// Plays the announcement of the day; when it cannot be read, says it with a synthetic voice, and failing that, plays a stock prompt.

const AUDIO = 'user/announcement.wav';
const TEXT = 'There is no announcement today.';

export async function main(data, ctx) {
  await ctx.answer();
  try {
    await ctx.play(AUDIO);
  } catch (error) {
    if (error.name !== 'NotFound' && error.name !== 'MediaError') throw error;
    ctx.log(`${AUDIO} cannot be played (${error.message}), speaking instead`);
    await ctx.tts(TEXT, { language: 'en' }).catch((reason) => {
      if (reason.name === 'CallEnded') throw reason;
      return ctx.play('ivr/unavailable.wav');
    });
  }
  await ctx.play('ivr/goodbye.wav');
}
