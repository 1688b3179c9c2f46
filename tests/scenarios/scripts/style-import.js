// @lockstep class5_destination=305
import cxC5Server from 'cxC5Server';

export async function main() {
  const ctx = new cxC5Server(process.env.CORRELATION_ID);
  await ctx.answer();
  await ctx.play('ivr/1.wav');
}
