// @lockstep class5_destination=/16[0-4]/
export async function main(data, ctx) {
  switch (ctx.call.to) {
    case '160': throw new Error('486 Busy Here');
    case '161': throw '604 Nobody';
    case '162': throw new TypeError('no such thing');
    case '163': return ctx.reject(433, 'Anonymity Disallowed');
    default:
      await ctx.answer();
      throw new Error('480 Gone Home');
  }
}
