// @lockstep class5_destination=126
export async function main(data, ctx) {
  await ctx.ring();
  try {
    await ctx.sleep(60_000);
  } catch (error) {
    ctx.log('cause ' + JSON.stringify([error.name, error.cause.by]));
  }
}
