// @lockstep class5_destination=/2\d\d/
const WAYS = {
  200: ['1001', { continue_on: true, caller_id: '555', headers: { 'X-Ticket': '42' } }],
  201: ['1001', true],
  202: ['1001', false],
  203: ['1001', 'fail'],
  204: ['1001', 'completed'],
  205: [['1001', '1002', '1003'], { strategy: 'parallel', continue_on: true }],
  206: [['1001', { uri: '1002', timeout_ms: 300 }, '1003'], { strategy: 'sequential', continue_on: true }],
  207: ['1001', { timeout_ms: 300, continue_on: true }],
};

export async function main(data, ctx) {
  await ctx.answer();
  const { status, code } = await ctx.bridge(...WAYS[ctx.call.to]);
  ctx.log('result ' + JSON.stringify([status, code]));
  await ctx.play('ivr/goodbye.wav');
}
