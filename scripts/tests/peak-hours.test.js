import { test, expect, class4, time } from 'lockstep:test';

const routing = { cli: '441611234567', dest_number: '4915112345' };
const row = (...ids) => ({ gw: Object.fromEntries(ids.map((id) => [id, {}])) });

async function order(peak, rows = [row(7), row(8), row(9), row(10, 8)]) {
  const data = await class4({ routing, egress_routing: rows, ...(peak && { peak }) }, { script: 'peak-hours' });
  return data.egress_routing.map(({ gw }) => Object.keys(gw).join());
}

// A test begins at ten.
const AT = { cheap: ['7', '8', '9', '8', '10'], good: ['8', '8', '10', '7', '9'] };
const hours = (count) => time.advance(count * 3_600_000);

test('good gateways come first in busy hours, otherwise in their order', async () => {
  expect(await order({ from: 8, to: 18, gateways: [8] })).toEqual(AT.good);
});

test('the hours that are busy begin with one and end before the other', async () => {
  expect(await order({ from: 11, to: 12, gateways: [8] })).toEqual(AT.cheap);
  await hours(1);
  expect(await order({ from: 11, to: 12, gateways: [8] })).toEqual(AT.good);
  await hours(1);
  expect(await order({ from: 11, to: 12, gateways: [8] })).toEqual(AT.cheap);
});

test('from eight to six where the route says nothing', async () => {
  expect(await order({ gateways: [8] })).toEqual(AT.good);
  await hours(7);
  expect(await order({ gateways: [8] })).toEqual(AT.good);
  await hours(1);
  expect(await order({ gateways: [8] })).toEqual(AT.cheap);
  await hours(13);
  expect(await order({ gateways: [8] })).toEqual(AT.cheap);
  await hours(1);
  expect(await order({ gateways: [8] })).toEqual(AT.good);
});

test('without good gateways, or anything at all, nothing changes', async () => {
  expect(await order({})).toEqual(AT.cheap);
  expect(await order()).toEqual(AT.cheap);
});
