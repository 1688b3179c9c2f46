// @lockstep class5_destination=129
export async function main(data, ctx) {
  const own = ctx.get('caller_id_number') === data.from;
  ctx.log('read ' + JSON.stringify([
    ctx.get('sip_h_X-Card'), ctx.header('x-card'), own, ctx.get('destination_number'), ctx.get('nothing') ?? null,
  ]));
  await ctx.set('colour', 'red');
  const refused = [];
  for (const [name, value] of [['X-A', 'one\r\nX-B: two'], ['X-A\r\nX-B', '1'], ['X-A', 'a\nb']]) {
    await Promise.resolve().then(() => ctx.header(name, value)).catch((error) => refused.push(error.name));
  }
  ctx.log('refused ' + JSON.stringify([ctx.get('colour'), ...refused]));
  await ctx.header('X-Reply', 'ok');
  await ctx.reject(486);
}
