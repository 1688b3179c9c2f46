// @lockstep class5_destination=302
module.export = {
  main: async (data, ctx) => {
    await ctx.answer();
    await ctx.play('ivr/1.wav');
  },
};
