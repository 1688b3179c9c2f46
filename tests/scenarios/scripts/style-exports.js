// @lockstep class5_destination=301
module.exports = async (data, ctx) => {
  await ctx.answer();
  await ctx.play('ivr/1.wav');
};
