// @lockstep class5_destination=151
export async function main(data, ctx) {
  ctx.log('nothing to do');
}
