// @lockstep class5_destination=101
export async function main(data, ctx) {
  await ctx.answer();
  const result = await ctx.ivr('ivr/enter-pin.wav', 5, 4, 4, '#', {
    tries: 3, invalid_file: 'ivr/invalid-pin.wav', regexp: '^12..$',
  });
  ctx.log('result ' + JSON.stringify(result));
}
