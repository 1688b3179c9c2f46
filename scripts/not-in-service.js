// @lockstep class5_destination=2010
// Tells the caller why before refusing the call: audio before answer costs the caller nothing.

export async function main(data, ctx) {
  await ctx.earlyMedia();
  await ctx.play(['ivr/error-tone.wav', 'ivr/call-failed.wav']);
  await ctx.reject(404, 'Not in service');
}
