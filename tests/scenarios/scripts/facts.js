// @lockstep class5_destination=/room_[a-z]+/ vars={"greeting"="hello"}
export async function main(data, ctx) {
  await ctx.answer();
  const { id, direction, from, to, state, codec } = ctx.call;
  ctx.log('facts ' + JSON.stringify([
    id === data.call_id, direction, from === data.from, to, state, codec, data.vars.greeting, typeof process.env.CORRELATION_ID,
  ]));
}
