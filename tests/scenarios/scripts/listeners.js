// @lockstep class5_destination=103
export async function main(data, ctx) {
  await ctx.answer();
  let all = '';
  ctx.on('dtmf', ({ digit }) => { all += digit; });
  const waits = [
    ctx.waitFor('12'),
    ctx.waitFor(/3(4)/),
    ctx.waitFor((digits) => digits.length === 3 && { digits }),
    ctx.waitFor(/never/, /4$/).catch((error) => error.name),
    ctx.waitFor(/never/, null, 0.1).catch((error) => error.name),
  ];
  const found = await Promise.all(waits);
  const { value } = await ctx.gather({ min: 4, max: 4 });
  ctx.log('found ' + JSON.stringify([...found, all, value]));
}
