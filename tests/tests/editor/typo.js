const data = 5;

async function main(call, ctx) {
  await ctx.answer();
  return data;
}

module.export = { main };
